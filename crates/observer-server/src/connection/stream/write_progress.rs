//! Progress of writing: a client that accepts no more bytes of its responses.
//!
//! Such a connection ends after a while, and until then no further request of it begins, so that
//! it holds one response and not those of all requests that it pipelines.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::forward::forward;

/// State of writing to a connection. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteProgress(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_stalled: AtomicBool,
    /// Notified when the client accepts bytes again.
    resumed: Notify,
}

impl WriteProgress {
    /// Waits while the client accepts no bytes.
    pub(crate) async fn accepting(&self) {
        while self.0.is_stalled.load(Ordering::Relaxed) {
            self.0.resumed.notified().await;
        }
    }
}

/// Stream whose writes fail if the client accepts no byte for a while.
#[derive(Debug)]
pub(crate) struct ProgressStream<S> {
    stream: S,
    progress: WriteProgress,
    timeout: Duration,
    /// Time until which the client has to accept a byte, while it accepts none.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> ProgressStream<S> {
    pub(crate) fn new(stream: S, progress: WriteProgress, timeout: Duration) -> Self {
        Self { stream, progress, timeout, deadline: None }
    }

    /// Passes a result of writing on, or the timeout.
    fn checked<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.deadline.take().is_some() {
                self.progress.0.is_stalled.store(false, Ordering::Relaxed);
                self.progress.0.resumed.notify_one();
            }
            return written;
        }
        let timeout = self.timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        self.progress.0.is_stalled.store(true, Ordering::Relaxed);
        deadline.as_mut().poll(cx).map(|()| {
            let error = format!(
                "the client accepted no bytes for {} s (`write_timeout`)",
                timeout.as_secs_f64()
            );
            Err(io::Error::new(io::ErrorKind::TimedOut, error))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ProgressStream<S> {
    forward!(poll_read);
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ProgressStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.checked(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.checked(cx, written)
    }

    // Flushing a socket does nothing, so it is no progress.
    forward!(is_write_vectored, poll_flush, poll_shutdown);
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn write_fails_only_if_no_byte_is_accepted_in_time() {
        let (mut client, server) = duplex(1);
        let progress = WriteProgress::default();
        let mut stream = ProgressStream::new(server, progress.clone(), TIMEOUT);
        let slow = tokio::spawn(async move {
            let mut byte = [0];
            for _ in 0..5 {
                tokio::time::sleep(TIMEOUT - Duration::from_secs(1)).await;
                client.read_exact(&mut byte).await.unwrap();
            }
            client
        });
        stream.write_all(b"123456").await.unwrap();
        timeout(Duration::ZERO, progress.accepting()).await.expect("all bytes were accepted");
        let _client = slow.await.unwrap();
        let started = tokio::time::Instant::now();
        let error = stream.write_all(b"7").await.unwrap_err();
        assert_eq!(error.to_string(), "the client accepted no bytes for 10 s (`write_timeout`)");
        assert_eq!(started.elapsed(), TIMEOUT);
        assert!(timeout(TIMEOUT, progress.accepting()).await.is_err(), "no request may begin");
    }

    #[tokio::test(start_paused = true)]
    async fn request_begins_once_the_client_accepts_bytes_again() {
        let (mut client, server) = duplex(1);
        let progress = WriteProgress::default();
        let mut stream = ProgressStream::new(server, progress.clone(), TIMEOUT);
        let writing = tokio::spawn(async move { stream.write_all(b"ab").await });
        tokio::task::yield_now().await;
        let waiting = tokio::spawn(async move { progress.accepting().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        client.read_exact(&mut [0, 0]).await.unwrap();
        waiting.await.unwrap();
        writing.await.unwrap().unwrap();
    }
}
