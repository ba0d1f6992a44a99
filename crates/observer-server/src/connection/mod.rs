//! Connections, from their acceptance to their end.

pub(crate) mod bind;
mod error_body;
mod handshake;
mod http;
mod linger;
pub(crate) mod listener;
mod refuse;
mod shared;
mod slots;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use self::listener::{Door, accept};
use self::shared::Shared;
use crate::options::ServerOptions;
use crate::state::ServerState;

/// Serves connections from those listeners until it is dropped or drained.
pub(crate) struct Connections {
    accepting: JoinSet<()>,
    shared: Arc<Shared>,
}

impl Connections {
    pub(crate) fn serve(
        doors: impl Iterator<Item = Door>,
        api: Arc<ServerState>,
        options: &ServerOptions,
    ) -> Self {
        let shared = Shared::new(api, options);
        let mut accepting = JoinSet::new();
        for door in doors {
            accepting.spawn(accept(door, shared.clone()));
        }
        Self { accepting, shared }
    }

    /// Accept nothing more, let requests in flight be answered, and close what is idle; after the
    /// deadline, close everything.
    pub(crate) async fn drain(mut self, deadline: Duration) {
        self.accepting.shutdown().await;
        let tasks = &self.shared.tasks;
        self.shared.drain.cancel();
        tasks.close();
        if timeout(deadline, tasks.wait()).await.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "requests took too long to end; their connections are cut"
            );
            self.shared.cut.cancel();
            tasks.wait().await;
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.shared.cut.cancel();
        self.shared.drain.cancel();
    }
}
