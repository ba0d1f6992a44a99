//! Connections, from their acceptance to their end.
//!
//! [`listener`] accepts a TCP connection and reserves a slot for it; [`slots`] finds an idle
//! connection to close when all are taken, and [`refuse`] answers 503 when none is idle. On a TLS
//! address a [`handshake`] follows. [`http`] then serves requests until the connection ends:
//! [`linger`] and [`error_body`] wrap its stream so that clients receive answers to requests that
//! were not read to their end, and a body with every error.
//!
//! Shutdown has two stages: after `drain` no further request begins; after `cut` connections are
//! closed whatever they are doing.

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

use self::listener::{Listener, accept};
use self::shared::Shared;
use crate::options::ServerOptions;
use crate::state::ServerState;

/// Serves the connections of some listeners until it is dropped or drained.
pub(crate) struct Connections {
    accepting: JoinSet<()>,
    shared: Arc<Shared>,
}

impl Connections {
    pub(crate) fn serve(
        listeners: impl Iterator<Item = Listener>,
        state: Arc<ServerState>,
        options: &ServerOptions,
    ) -> Self {
        let shared = Shared::new(state, options);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(listener, shared.clone()));
        }
        Self { accepting, shared }
    }

    /// Stops accepting, closes idle connections, and waits until requests in flight are answered.
    /// After the deadline it closes all connections.
    pub(crate) async fn drain(mut self, deadline: Duration) {
        self.accepting.shutdown().await;
        let tasks = &self.shared.tasks;
        self.shared.drain.cancel();
        tasks.close();
        if timeout(deadline, tasks.wait()).await.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "requests exceeded the shutdown deadline; closing their connections"
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
