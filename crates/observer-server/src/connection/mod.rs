//! Connections, from their acceptance to their end.
//!
//! [`listener`] accepts a TCP connection and acquires a permit for it; [`slots`] selects idle
//! connections to close when no permit is left. If none is idle, a reserve serves one request of
//! probes, metrics and small bodies, and [`reject`] responds with 503 to others. On a TLS address a
//! [`handshake`] follows. The [`admin_socket`] is a Unix socket with permits of its own. [`http`]
//! then serves the requests until the connection ends, each by the [`service`].
//!
//! - Input: [`unread_body`] reads the short rest of a refused request; after a longer one,
//!   [`linger`] lets the response arrive before the connection closes.
//! - Output: [`write_progress`] ends connections whose client accepts no bytes, and
//!   [`response_memory`] counts what they hold. [`lasting`] responses keep their connections busy. [`error_body`] adds a body to every error, [`http2`]
//!   responds to clients that speak HTTP/2, and [`client_watch`] notices a client that is gone
//!   before its response. [`socket`] stacks the streams.
//!
//! Shutdown has two stages: after `drain` no further request begins; after `cut` connections are
//! closed whatever they are doing.

pub(crate) mod admin_socket;
pub(crate) mod bind;
pub(crate) mod client_watch;
mod context;
mod error_body;
mod handshake;
mod http;
mod http2;
mod lasting;
mod linger;
pub(crate) mod listener;
mod reject;
pub(crate) mod response_memory;
mod service;
mod slots;
mod socket;
mod unread_body;
mod write_progress;

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
