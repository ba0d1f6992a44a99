//! Connection that can be closed after a known number of written bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

/// Control over a connection: the number of bytes written, and a request to close it.
#[derive(Debug, Default)]
pub(super) struct ConnectionControl {
    written: watch::Sender<u64>,
    close: Notify,
}

impl ConnectionControl {
    /// Returns the number of bytes written so far.
    pub(super) fn written(&self) -> u64 {
        *self.written.borrow()
    }

    /// Waits until this number of bytes is written.
    pub(super) async fn has_written(&self, bytes: u64) {
        let mut written = self.written.subscribe();
        written.wait_for(|written| *written >= bytes).await.expect("`self` owns the sender");
    }

    /// Requests that the connection is closed at once.
    pub(super) fn close(&self) {
        self.close.notify_one();
    }

    /// Waits for [`close`](Self::close).
    pub(super) async fn close_requested(&self) {
        self.close.notified().await;
    }
}

/// Stream that counts the bytes that it writes.
#[derive(Debug)]
pub(super) struct CountingStream {
    stream: TcpStream,
    control: Arc<ConnectionControl>,
}

impl CountingStream {
    pub(super) fn new(stream: TcpStream, control: Arc<ConnectionControl>) -> Self {
        Self { stream, control }
    }
}

impl AsyncRead for CountingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for CountingStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.control.written.send_modify(|written| *written += count as u64);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
