//! The client of one destination, and the replacement of its connections.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use observer_core::SinkError;
use reqwest::Client;

use crate::run_blocking;

/// Client of one destination, built on first use.
///
/// A request that ends without a response may have met a connection that a firewall or a stopped
/// process has left open. HTTP/2 would use that connection for all later requests, too. After
/// [`exchange`](Self::exchange) was dropped, the next request therefore opens a new connection.
///
/// ```
/// use std::time::Duration;
///
/// use observer_http_client::{Connections, build_client, client_builder};
///
/// let connections = Connections::new(|| build_client(client_builder(None, Duration::from_secs(10))?));
/// # let _ = connections;
/// ```
pub struct Connections {
    build: Arc<dyn Fn() -> Result<Client, SinkError> + Send + Sync>,
    /// `None` before the first use, and after `close`.
    client: Mutex<Option<Client>>,
}

impl Connections {
    /// Creates the connections of clients that `build` returns. It may block, since it reads the
    /// files of `tls`.
    pub fn new(build: impl Fn() -> Result<Client, SinkError> + Send + Sync + 'static) -> Self {
        Self { build: Arc::new(build), client: Mutex::default() }
    }

    /// Creates the connections as [`new`](Self::new) does, and builds the first client at once.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn built(
        build: impl Fn() -> Result<Client, SinkError> + Send + Sync + 'static,
    ) -> Result<Self, SinkError> {
        let client = Mutex::new(Some(build()?));
        Ok(Self { client, ..Self::new(build) })
    }

    /// Returns the present client, or builds one.
    ///
    /// # Errors
    /// Those of the function that builds a client.
    pub async fn client(&self) -> Result<Client, SinkError> {
        let client = self.lock().clone();
        match client {
            Some(client) => Ok(client),
            None => self.renew().await,
        }
    }

    /// Replaces the client and its connections, and reads the files of `tls` again.
    ///
    /// # Errors
    /// Those of the function that builds a client.
    pub async fn renew(&self) -> Result<Client, SinkError> {
        let build = self.build.clone();
        let client = run_blocking(move || build()).await??;
        *self.lock() = Some(client.clone());
        Ok(client)
    }

    /// Drops the client and its idle connections. The next request opens a new one.
    pub fn close(&self) {
        *self.lock() = None;
    }

    /// Awaits an exchange of a request and its response. If this future is dropped before that, as
    /// after a timeout, the next request opens a new connection.
    pub async fn exchange<T>(&self, exchange: impl Future<Output = T>) -> T {
        let mut unfinished = CloseOnDrop(Some(self));
        let result = exchange.await;
        unfinished.0 = None;
        result
    }

    fn lock(&self) -> MutexGuard<'_, Option<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct CloseOnDrop<'a>(Option<&'a Connections>);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(connections) = self.0 {
            connections.close();
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("is_open", &self.lock().is_some()).finish()
    }
}
