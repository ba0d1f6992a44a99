//! The client that makes the connections.

use std::time::Duration;

use observer_core::{SinkError, report};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

use crate::Tls;

/// A client of the observer's, which follows no redirects. Without `tls` it can't do https.
///
/// It reads the files of `tls`, so it is not for the threads of a runtime.
///
/// # Errors
/// A file that can't be used.
pub fn client_builder(
    tls: Option<&Tls>,
    connect_timeout: Duration,
) -> Result<ClientBuilder, SinkError> {
    // reqwest panics without a provider. An error says that there is one already, which will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .user_agent(concat!("observer/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        .referer(false)
        .redirect(Policy::none());
    match tls {
        Some(tls) => tls.configure(client),
        // A system without authorities, such as a small container's, has to be good enough.
        None => Ok(client.tls_certs_only([])),
    }
}

/// The client, once all is said.
///
/// # Errors
/// A certificate and a key that don't belong together, or a system without authorities where one is
/// needed.
pub fn build_client(client: ClientBuilder) -> Result<Client, SinkError> {
    client
        .build()
        .map_err(|error| SinkError::blocked(format!("there can be no TLS: {}", report(&error))))
}

/// Work that may block, on a thread for that.
///
/// # Errors
/// The work panicked, or the runtime ends.
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SinkError> {
    tokio::task::spawn_blocking(work).await.map_err(SinkError::transient)
}
