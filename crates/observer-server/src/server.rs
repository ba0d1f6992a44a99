//! The server as others see it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use observer_pipeline::Pipeline;
use prometheus::Registry;
use tokio::net::TcpListener;

use crate::api::Api;
use crate::bind::{BindError, bind};
use crate::connections::Connections;
use crate::options::ServerOptions;
use crate::reload::Reload;
use crate::settings::LiveSettings;

/// Listens, and serves once it is [run](Self::run).
///
/// Until it is dropped or has run, its metrics are in the registry. Several servers in one process need a registry each.
#[must_use]
pub struct Server {
    listeners: Vec<TcpListener>,
    local_addrs: Vec<SocketAddr>,
    api: Arc<Api>,
    options: ServerOptions,
}

impl Server {
    /// Take the addresses. Connections that come before [`run`](Self::run) wait.
    ///
    /// # Errors
    /// When an address can't be had, or the registry has the metrics of another server. A missing IPv6 loopback is a warning
    /// as long as there is another address.
    pub async fn bind(options: ServerOptions, pipeline: Pipeline, registry: Registry) -> Result<Self, BindError> {
        let listeners = bind(&options.listen).await?;
        let local = |listener: &TcpListener| {
            listener.local_addr().map_err(|source| BindError::Listen { address: ([0; 4], 0).into(), source })
        };
        let local_addrs = listeners.iter().map(local).collect::<Result<_, _>>()?;
        let api = Api::new(&options, pipeline, registry)?;
        Ok(Self { listeners, local_addrs, api, options })
    }

    /// Where it listens, with the ports that were taken for port 0.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// What can be changed while it runs.
    #[must_use]
    pub fn settings(&self) -> LiveSettings {
        LiveSettings(self.api.settings.clone())
    }

    /// Whom to ask on `POST /-/reload`. Only the first one counts.
    pub fn on_reload(&self, reload: Arc<dyn Reload>) {
        let _ = self.api.reload.set(reload);
    }

    /// Serve until `shutdown` resolves. Then nothing is accepted any more, idle connections are closed, and requests in flight are
    /// answered, for up to `deadline`. The pipeline runs on: it is to be shut down after this.
    pub async fn run(self, shutdown: impl Future<Output = ()>, deadline: Duration) {
        let Self { listeners, api, options, .. } = self;
        let connections = Connections::serve(listeners, api, &options);
        shutdown.await;
        connections.drain(deadline).await;
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("local_addrs", &self.local_addrs).finish_non_exhaustive()
    }
}
