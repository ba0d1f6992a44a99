//! Connections, from their acceptance to their end.
//!
//! [`listener`] accepts a TCP connection and acquires a permit for it; [`slots`] selects idle
//! connections to close when no permit is left. If none is idle, a reserve serves one request of
//! probes, metrics and small bodies, and [`reject`] responds with 503 to others. On a TLS address a
//! [`handshake`] follows. The [`admin_socket`] is a Unix socket with permits of its own. [`http`]
//! then serves the requests until the connection ends, over a [`stream`] that notices clients which
//! accept no bytes or are gone.
//!
//! Shutdown has two stages: after `drain` no further request begins; after `cut` connections are
//! closed whatever they are doing.

pub(crate) mod admin_socket;
pub(crate) mod bind;
mod context;
mod handshake;
pub(crate) mod http;
pub(crate) mod listener;
mod reject;
mod slots;
pub(crate) mod stream;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use self::context::ConnectionContext;
use self::listener::{Listener, accept};
use crate::options::ServerOptions;
use crate::state::ServerState;

/// Serves the connections of some listeners until it is dropped or drained.
pub(crate) struct Connections {
    accepting: JoinSet<()>,
    context: Arc<ConnectionContext>,
}

impl Connections {
    pub(crate) fn serve(
        listeners: impl Iterator<Item = Listener>,
        state: Arc<ServerState>,
        options: &ServerOptions,
    ) -> Self {
        let context = ConnectionContext::new(state, options);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(listener, context.clone()));
        }
        Self { accepting, context }
    }

    /// Stops accepting, closes idle connections, and waits until requests in flight have their
    /// responses.
    /// After the deadline it closes all connections.
    pub(crate) async fn drain(mut self, deadline: Duration) {
        self.accepting.shutdown().await;
        let tasks = &self.context.tasks;
        self.context.drain.cancel();
        tasks.close();
        if timeout(deadline, tasks.wait()).await.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "requests exceeded the shutdown deadline; closing their connections"
            );
            self.context.cut.cancel();
            tasks.wait().await;
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.context.cut.cancel();
        self.context.drain.cancel();
    }
}
