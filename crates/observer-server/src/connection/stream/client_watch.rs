//! Watch for clients that close their connection while their request is in progress.
//!
//! hyper does not read while it waits for a response, since a client may close its sending side and
//! still wait. A query that takes long therefore watches the socket by itself: the stream hands a
//! second descriptor of it to whom asks, which costs other requests the load of a flag.

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::forward::forward;

/// Watch of a connection. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientWatch(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_wanted: AtomicBool,
    /// Second descriptor of the socket.
    socket: Mutex<Option<io::Result<OwnedFd>>>,
    /// Notified when `socket` is set.
    is_set: Notify,
}

impl ClientWatch {
    /// Waits until the client has closed the connection, or at least its sending side. If the
    /// socket can't be watched, it waits forever.
    pub(crate) async fn closed(&self) {
        if let Err(error) = self.watch().await {
            tracing::debug!(%error, "a connection can't be watched");
            pending::<()>().await;
        }
    }

    async fn watch(&self) -> io::Result<()> {
        self.0.is_wanted.store(true, Ordering::Relaxed);
        let socket = loop {
            // The stream is flushed after each poll of a request.
            self.0.is_set.notified().await;
            if let Some(socket) = self.take() {
                break socket?;
            }
        };
        // Only its readiness is used, so a Unix socket may be one as well.
        let socket = TcpStream::from_std(socket.into())?;
        loop {
            if socket.ready(Interest::READABLE).await?.is_read_closed() {
                return Ok(());
            }
            // Bytes of the next request stay in the socket; what counts is the next change.
            let unread = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = socket.try_io(Interest::READABLE, unread);
        }
    }

    fn take(&self) -> Option<io::Result<OwnedFd>> {
        self.0.socket.lock().expect("no thread panics while it holds the lock").take()
    }

    fn set(&self, socket: &impl AsFd) {
        let second = socket.as_fd().try_clone_to_owned();
        let mut socket = self.0.socket.lock().expect("no thread panics while it holds the lock");
        *socket = Some(second);
        self.0.is_set.notify_one();
    }
}

/// Socket that a [`ClientWatch`] can watch.
#[derive(Debug)]
pub(crate) struct WatchedStream<S> {
    stream: S,
    watch: ClientWatch,
}

impl<S> WatchedStream<S> {
    pub(crate) fn new(stream: S, watch: ClientWatch) -> Self {
        Self { stream, watch }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    forward!(poll_read);
}

impl<S: AsyncWrite + AsFd + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.0.is_wanted.load(Ordering::Relaxed) {
            self.watch.0.is_wanted.store(false, Ordering::Relaxed);
            self.watch.set(&self.stream);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    forward!(poll_write, poll_write_vectored, is_write_vectored, poll_shutdown);
}
