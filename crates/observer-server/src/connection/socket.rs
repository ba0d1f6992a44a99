//! Streams of connections, from the socket up to what TLS or HTTP uses.

use std::os::fd::AsFd;

use tokio::io::{AsyncRead, AsyncWrite};

use super::client_watch::{Flags, WatchedStream};
use super::context::ConnectionContext;
use super::linger::LingeringStream;
use super::write_progress::ProgressStream;

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
