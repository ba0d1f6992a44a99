//! The HTTP client with the settings that all destinations share.

use std::time::Duration;

use observer_core::{SinkError, report};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

use crate::Tls;

/// Time without a frame after which a ping is sent over an HTTP/2 connection with open requests.
///
/// Together with [`KEEP_ALIVE_TIMEOUT`] it is shorter than the default timeout of a sink. gRPC
/// servers close connections with frequent pings: at this interval, after a minute without a
/// response.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Time within which a ping must be answered.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest number of headers in a response.
const MAX_HEADERS: usize = 1000;

/// Returns the default of `connect_timeout`, the longest time to establish a connection: 10 s.
#[must_use]
pub fn default_connect_timeout() -> Duration {
    Duration::from_secs(10)
}

/// Returns the builder of a client that follows no redirects. Without `tls`, the client can't
/// connect to https URLs.
///
/// An HTTP/2 connection whose peer answers no ping is closed. Malformed headers of a response are
/// ignored, since the status is what counts.
///
/// Reads the files of `tls`: call it through [`run_blocking`] from asynchronous code.
///
/// # Errors
/// If a file of `tls` can't be read or doesn't contain what it should: of kind
/// [`Blocked`](observer_core::ErrorKind::Blocked).
pub fn client_builder(
    tls: Option<&Tls>,
    connect_timeout: Duration,
) -> Result<ClientBuilder, SinkError> {
    // reqwest panics without a default provider. The error means that one is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .user_agent(concat!("observer/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        .referer(false)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .http1_max_headers(MAX_HEADERS)
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .redirect(Policy::none());
    match tls {
        Some(tls) => tls.configure(client),
        // A client for plain HTTP must also work on a system without certificate authorities,
        // such as a small container.
        None => Ok(client.tls_certs_only([])),
    }
}

/// Builds the client.
///
/// # Errors
/// If the client certificate doesn't belong to its key, or TLS is needed on a system without
/// certificate authorities: of kind [`Blocked`](observer_core::ErrorKind::Blocked).
pub fn build_client(client: ClientBuilder) -> Result<Client, SinkError> {
    client
        .build()
        .map_err(|error| SinkError::blocked(format!("TLS can't be set up: {}", report(&error))))
}

/// Runs blocking work in the runtime's blocking pool and returns its result.
///
/// # Errors
/// If the work panicked or the runtime shuts down: of kind
/// [`Transient`](observer_core::ErrorKind::Transient).
///
/// # Cancel safety
/// The work runs to its end even if this future is dropped.
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SinkError> {
    tokio::task::spawn_blocking(work).await.map_err(SinkError::transient)
}
