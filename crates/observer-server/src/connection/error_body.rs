//! Reasons for answers that have none.
//!
//! hyper itself answers a request whose head can't be read, and says nothing but the status.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use observer_pipeline::RejectReason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::linger::Wanted;
use crate::connection::refuse;
use crate::problem::Problem;

/// How many fields a head may have: what hyper has room for.
const MAX_FIELDS: usize = 100;

/// A connection on which hyper's own answers get a body.
#[derive(Debug)]
pub(crate) struct Explained<S> {
    stream: S,
    linger: Wanted,
    max_head: usize,
    /// What is sent in place of what hyper wants to send, and how much of it is.
    answer: Option<(Vec<u8>, usize)>,
}

impl<S: AsyncWrite + Unpin> Explained<S> {
    /// `max_head` is how many bytes hyper reads of a head.
    pub(crate) fn new(stream: S, linger: Wanted, max_head: usize) -> Self {
        Self { stream, linger, max_head, answer: None }
    }

    /// Begin or go on to send something else, if this is an answer of hyper's own.
    fn poll_explain(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Option<io::Result<usize>>> {
        if self.answer.is_none() {
            let Some(status) = own_answer(bytes) else { return Poll::Ready(None) };
            self.linger.set();
            self.answer = Some((refuse::answer(self.problem(status)), 0));
        }
        while let Some((answer, sent)) = &mut self.answer {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &answer[*sent..])) {
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into()))),
                Ok(written) => *sent += written,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if *sent == answer.len() {
                self.answer = None;
            }
        }
        Poll::Ready(Some(Ok(bytes.len())))
    }

    fn problem(&self, status: StatusCode) -> Problem {
        let detail = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => format!(
                "the head of a request may have {} bytes and {MAX_FIELDS} fields, and this one has more; that is no setting",
                self.max_head
            ),
            _ => "the head of the request is not that of an HTTP/1.1 request".to_owned(),
        };
        Problem::new(status, detail).reason(RejectReason::Malformed)
    }
}

/// The status, if these bytes are the head of an answer that says no and has no body. None of ours
/// are.
fn own_answer(bytes: &[u8]) -> Option<StatusCode> {
    let status =
        bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let is_empty = || {
        bytes.windows(21).any(|window| window.eq_ignore_ascii_case(b"\r\ncontent-length: 0\r\n"))
    };
    if status[0] == b'4' && is_empty() { StatusCode::from_bytes(status).ok() } else { None }
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.poll_explain(cx, bytes)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.first().map_or(&[][..], |slice| slice);
        match ready!(self.poll_explain(cx, first)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
