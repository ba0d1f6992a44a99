//! The server as others see it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use observer_pipeline::Pipeline;
use prometheus::Registry;
use tokio::net::TcpListener;

use crate::connection::Connections;
use crate::connection::bind::{BindError, bind};
use crate::connection::listener::Door;
use crate::connection::tls::TlsHandle;
use crate::options::ServerOptions;
use crate::reload::ReloadHandler;
use crate::routes::document;
use crate::settings::SettingsHandle;
use crate::state::ServerState;

/// Listens, and serves once it is [run](Self::run).
///
/// Until it is dropped or has run, its metrics are in the registry. Several servers in one process
/// need a registry each.
#[must_use]
pub struct Server {
    listeners: Vec<TcpListener>,
    local_addrs: Vec<SocketAddr>,
    tls_listeners: Vec<TcpListener>,
    local_tls_addrs: Vec<SocketAddr>,
    tls: Option<TlsHandle>,
    api: Arc<ServerState>,
    options: ServerOptions,
}

/// A server's metrics, for as long as this is there.
#[must_use]
pub struct MetricsGuard(#[expect(dead_code, reason = "it is there to be held")] Arc<ServerState>);

impl Server {
    /// Take the addresses. Connections that come before [`run`](Self::run) wait.
    ///
    /// # Errors
    /// When an address can't be had, a file for TLS can't be used, or the registry has the metrics
    /// of another server. A missing IPv6 loopback is a warning as long as there is another address.
    pub async fn bind(
        options: ServerOptions,
        pipeline: Pipeline,
        registry: Registry,
    ) -> Result<Self, BindError> {
        let tls = options.tls.as_ref().map(TlsHandle::load).transpose()?;
        let tls_listeners = match &options.tls {
            Some(tls) => bind(&tls.listen).await?,
            None => Vec::new(),
        };
        let listeners = match options.listen.as_slice() {
            [] if tls.is_some() => Vec::new(),
            listen => bind(listen).await?,
        };
        let (local_addrs, local_tls_addrs) =
            (local_addrs(&listeners)?, local_addrs(&tls_listeners)?);
        let api = ServerState::new(&options, pipeline, registry, document())?;
        Ok(Self { listeners, local_addrs, tls_listeners, local_tls_addrs, tls, api, options })
    }

    /// Where it listens for plain HTTP, with the ports that were taken for port 0.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// What can be changed while it runs.
    #[must_use]
    pub fn settings(&self) -> SettingsHandle {
        SettingsHandle(self.api.settings.clone())
    }

    /// Whom to ask on `POST /-/reload`. Only the first one counts.
    pub fn set_reload_handler(&self, reload: Arc<dyn ReloadHandler>) {
        let _ = self.api.reload.set(reload);
    }

    /// Where it listens for TLS, with the ports that were taken for port 0.
    #[must_use]
    pub fn local_tls_addrs(&self) -> &[SocketAddr] {
        &self.local_tls_addrs
    }

    /// What TLS connections are begun with, where TLS is listened for: it can be reloaded while the
    /// server runs.
    #[must_use]
    pub fn tls(&self) -> Option<TlsHandle> {
        self.tls.clone()
    }

    /// Keeps its metrics in the registry for as long as this is there, also after it has run.
    pub fn metrics_guard(&self) -> MetricsGuard {
        MetricsGuard(self.api.clone())
    }

    /// Serve until `shutdown` resolves. Then nothing is accepted any more, idle connections are
    /// closed, and requests in flight are answered, for up to `deadline`. The pipeline runs on: it
    /// is to be shut down after this.
    pub async fn run(self, shutdown: impl Future<Output = ()>, deadline: Duration) {
        let Self { listeners, tls_listeners, tls, api, options, .. } = self;
        let plain = listeners.into_iter().map(|listener| Door { listener, tls: None });
        let encrypted =
            tls_listeners.into_iter().map(|listener| Door { listener, tls: tls.clone() });
        let connections = Connections::serve(plain.chain(encrypted), api, &options);
        shutdown.await;
        connections.drain(deadline).await;
    }
}

fn local_addrs(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, BindError> {
    let local = |listener: &TcpListener| {
        listener
            .local_addr()
            .map_err(|source| BindError::Listen { address: ([0; 4], 0).into(), source })
    };
    listeners.iter().map(local).collect()
}

impl std::fmt::Debug for MetricsGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsGuard").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("local_addrs", &self.local_addrs)
            .field("local_tls_addrs", &self.local_tls_addrs)
            .finish_non_exhaustive()
    }
}
