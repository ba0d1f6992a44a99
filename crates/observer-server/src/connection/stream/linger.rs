//! Lingering close: the last response arrives although its request was not read to its end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::forward::forward;

/// Limit of the time for which the bytes after an unread request are discarded.
const MAX_TIME: Duration = Duration::from_secs(30);
/// Limit of the time without such bytes.
const MAX_IDLE: Duration = Duration::from_secs(5);
/// Limit of both times after the shutdown of the server has begun.
const MAX_DRAIN: Duration = Duration::from_millis(500);

/// Stream that discards input for a while after its shutdown, if its [`LingerFlag`] is set.
///
/// When a socket is closed while it holds unread bytes, the kernel resets the connection. The reset
/// may overtake the response that rejects those bytes: the client then sees a broken connection
/// instead of a 413.
#[derive(Debug)]
pub(crate) struct LingeringStream<S> {
    stream: S,
    linger: LingerFlag,
    /// Cancelled when the shutdown of the server begins.
    drain: CancellationToken,
    discard: Option<Discard>,
}

/// Times of an end that discards input.
#[derive(Debug)]
struct Discard {
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    is_draining: bool,
    /// Time after which nothing more is discarded.
    end: Instant,
    /// The same, or an earlier time if no bytes arrive until then.
    idle_end: Pin<Box<Sleep>>,
}

impl Discard {
    fn new(drain: CancellationToken) -> Self {
        let now = Instant::now();
        Self {
            draining: Box::pin(drain.cancelled_owned()),
            is_draining: false,
            end: now + MAX_TIME,
            idle_end: Box::pin(tokio::time::sleep_until(now + MAX_IDLE)),
        }
    }

    /// Completes when nothing more is to be discarded.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_draining && self.draining.as_mut().poll(cx).is_ready() {
            self.is_draining = true;
            self.end = self.end.min(Instant::now() + MAX_DRAIN);
            let idle_end = self.idle_end.deadline().min(self.end);
            self.idle_end.as_mut().reset(idle_end);
        }
        self.idle_end.as_mut().poll(cx)
    }

    /// Notes that bytes have arrived.
    fn extend(&mut self) {
        let idle_end = self.end.min(Instant::now() + MAX_IDLE);
        self.idle_end.as_mut().reset(idle_end);
    }
}

/// Flag of a connection whose request was not read to its end before the response. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct LingerFlag(Arc<AtomicBool>);

impl LingerFlag {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> LingeringStream<S> {
    pub(crate) fn new(stream: S, linger: LingerFlag, drain: CancellationToken) -> Self {
        Self { stream, linger, drain, discard: None }
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let discard = self.discard.get_or_insert_with(|| Discard::new(self.drain.clone()));
        let mut space = [0; 8 << 10];
        loop {
            if discard.poll_end(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
            discard.extend();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LingeringStream<S> {
    forward!(poll_read);
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LingeringStream<S> {
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Called again after `poll_discard` was pending; a second shutdown of a socket is not an
        // error.
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if self.linger.0.load(Ordering::Relaxed) {
            ready!(self.poll_discard(cx));
        }
        Poll::Ready(Ok(()))
    }

    forward!(poll_write, poll_write_vectored, is_write_vectored, poll_flush);
}
