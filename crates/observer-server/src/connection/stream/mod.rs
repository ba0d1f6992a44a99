//! Streams of connections, from the socket up to what TLS or HTTP uses.
//!
//! Each wraps another one and changes some of its methods: [`client_watch`] notices a client that
//! is gone before its response, [`write_progress`] ends connections whose client accepts no bytes,
//! and [`linger`] lets the response to a request that was not read to its end arrive before the
//! connection closes. [`forward`] implements the other methods.

pub(crate) mod client_watch;
pub(super) mod forward;
pub(super) mod linger;
mod write_progress;

use std::os::fd::AsFd;

use tokio::io::{AsyncRead, AsyncWrite};

use self::client_watch::{ClientWatch, WatchedStream};
use self::linger::{LingerFlag, LingeringStream};
use self::write_progress::{ProgressStream, WriteProgress};
use super::context::ConnectionContext;

/// State that the stream of a connection and its requests share.
#[derive(Debug, Default)]
pub(super) struct Flags {
    pub(super) linger: LingerFlag,
    pub(super) watch: ClientWatch,
    pub(super) writes: WriteProgress,
}

/// Socket that can be watched, whose writes must make progress, and that lingers when it closes.
pub(super) type SocketStream<S> = LingeringStream<ProgressStream<WatchedStream<S>>>;

/// Wraps the socket of a connection.
pub(super) fn socket_stream<S: AsyncRead + AsyncWrite + AsFd + Unpin>(
    socket: S,
    flags: &Flags,
    context: &ConnectionContext,
) -> SocketStream<S> {
    let stream = WatchedStream::new(socket, flags.watch.clone());
    let stream = ProgressStream::new(stream, flags.writes.clone(), context.write_timeout);
    LingeringStream::new(stream, flags.linger.clone(), context.drain.clone())
}
