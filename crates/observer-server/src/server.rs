//! The server.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use observer_pipeline::Pipeline;
use prometheus::Registry;
use tokio::net::TcpListener;

use crate::connection::Connections;
use crate::connection::admin_socket::AdminSocket;
use crate::connection::bind::{BindError, InheritedSockets, adopt_or_bind};
use crate::connection::listener::Listener;
use crate::event_store::EventStoreHandle;
use crate::options::ServerOptions;
use crate::reload::ReloadHandler;
use crate::routes::openapi_json;
use crate::settings::SettingsHandle;
use crate::state::ServerState;
use crate::tls::TlsHandle;

/// HTTP server that is bound to its addresses and serves while it [runs](Self::run).
///
/// Its metrics are in the registry until it is dropped or has run. Several servers in one process
/// need a registry each.
#[must_use]
pub struct Server {
    listeners: Vec<TcpListener>,
    local_addrs: Vec<SocketAddr>,
    tls_listeners: Vec<TcpListener>,
    local_tls_addrs: Vec<SocketAddr>,
    tls: Option<TlsHandle>,
    admin_socket: Option<AdminSocket>,
    state: Arc<ServerState>,
    options: ServerOptions,
}

/// Keeps a server's metrics in the registry until it is dropped.
#[must_use]
pub struct MetricsGuard(
    #[expect(dead_code, reason = "held for its registration")] Arc<ServerState>,
);

impl Server {
    /// Binds the addresses. Connections wait in the backlog until [`run`](Self::run).
    ///
    /// # Errors
    /// If an address can't be bound, a TLS file can't be used, or the registry has the metrics of
    /// another server. A missing IPv6 loopback is only a warning if another address can be bound,
    /// and so is an admin socket that can't be bound.
    pub async fn bind(
        options: ServerOptions,
        pipeline: Pipeline,
        registry: Registry,
    ) -> Result<Self, BindError> {
        Self::with_sockets(options, InheritedSockets::default(), pipeline, registry).await
    }

    /// Binds the addresses, or takes sockets that another process opened in their place.
    ///
    /// # Errors
    /// If a socket can't be used, there is one for TLS and TLS isn't configured, or the reasons
    /// given for [`bind`](Self::bind) apply.
    pub async fn with_sockets(
        options: ServerOptions,
        sockets: InheritedSockets,
        pipeline: Pipeline,
        registry: Registry,
    ) -> Result<Self, BindError> {
        let tls = options.tls.as_ref().map(TlsHandle::load).transpose()?;
        let tls_listeners = match &options.tls {
            Some(tls) => adopt_or_bind(sockets.tls, &tls.listen).await?,
            None if sockets.tls.is_empty() => Vec::new(),
            None => return Err(BindError::InheritedWithoutTls),
        };
        let listeners = match options.listen.as_slice() {
            [] if tls.is_some() && sockets.plain.is_empty() => Vec::new(),
            listen => adopt_or_bind(sockets.plain, listen).await?,
        };
        let (local_addrs, local_tls_addrs) =
            (local_addrs(&listeners)?, local_addrs(&tls_listeners)?);
        let state = ServerState::new(
            &options,
            pipeline,
            registry,
            EventStoreHandle::default(),
            openapi_json(),
        )?;
        if let Some(tls) = &tls {
            state.metrics.certificate.set(tls.clone());
        }
        let admin_socket = match &options.admin_socket {
            Some(path) => AdminSocket::bind_or_warn(path).await,
            None => None,
        };
        Ok(Self {
            listeners,
            local_addrs,
            tls_listeners,
            local_tls_addrs,
            tls,
            admin_socket,
            state,
            options,
        })
    }

    /// Returns the addresses of plain HTTP, with the selected ports in place of port 0.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Returns the handle to the settings that can change while the server runs.
    #[must_use]
    pub fn settings(&self) -> SettingsHandle {
        SettingsHandle {
            settings: self.state.settings.clone(),
            pipeline: self.state.pipeline.clone(),
        }
    }

    /// Returns the handle to the store that answers queries. At first there is none.
    #[must_use]
    pub fn event_store(&self) -> EventStoreHandle {
        self.state.event_store.clone()
    }

    /// Sets the handler of `POST /-/reload`. Later calls have no effect.
    pub fn set_reload_handler(&self, reload: Arc<dyn ReloadHandler>) {
        let _ = self.state.reload.set(reload);
    }

    /// Returns the addresses of TLS, with the selected ports in place of port 0.
    #[must_use]
    pub fn local_tls_addrs(&self) -> &[SocketAddr] {
        &self.local_tls_addrs
    }

    /// Returns the path of the admin socket, or `None` if none is configured or it could not be
    /// bound.
    #[must_use]
    pub fn admin_socket(&self) -> Option<&Path> {
        self.admin_socket.as_ref().map(AdminSocket::path)
    }

    /// Returns the handle to the TLS configuration, if TLS is configured. It can be reloaded while
    /// the server runs.
    #[must_use]
    pub fn tls(&self) -> Option<TlsHandle> {
        self.tls.clone()
    }

    /// Keeps the metrics in the registry until the guard is dropped, also after the server has run.
    pub fn metrics_guard(&self) -> MetricsGuard {
        MetricsGuard(self.state.clone())
    }

    /// Serves until `shutdown` resolves.
    ///
    /// Then the server stops accepting, closes idle connections, and serves the requests in flight
    /// for up to `deadline`, after which it closes all connections. The pipeline keeps running;
    /// shut it down afterwards. Dropping the future closes all connections at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>, deadline: Duration) {
        let Self { listeners, tls_listeners, tls, admin_socket, state, options, .. } = self;
        let plain = listeners.into_iter().map(Listener::Plain);
        let encrypted = tls_listeners
            .into_iter()
            .filter_map(|tcp| tls.clone().map(|tls| Listener::Tls(tcp, tls)));
        let admin = admin_socket.into_iter().map(Listener::Admin);
        let connections = Connections::serve(plain.chain(encrypted).chain(admin), state, &options);
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
            .field("admin_socket", &self.admin_socket())
            .finish_non_exhaustive()
    }
}
