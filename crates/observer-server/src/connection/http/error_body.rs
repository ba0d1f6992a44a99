//! Bodies for hyper's own error responses.
//!
//! hyper itself responds to a request whose head can't be parsed, with a status and no body.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use observer_pipeline::RejectReason;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::reject;
use crate::connection::stream::forward::forward;
use crate::connection::stream::linger::LingerFlag;
use crate::metrics::requests::RouteResponses;
use crate::problem::Problem;

/// Number of header fields that hyper accepts.
const MAX_FIELDS: usize = 100;

/// Stream that replaces hyper's own error responses with problem details.
#[derive(Debug)]
pub(crate) struct ErrorBodyStream<S> {
    stream: S,
    linger: LingerFlag,
    max_head: usize,
    responses: Arc<RouteResponses>,
    /// Response that replaces hyper's, and the number of its bytes that were sent.
    response: Option<(Vec<u8>, usize)>,
}

impl<S: AsyncWrite + Unpin> ErrorBodyStream<S> {
    /// Wraps a stream. `max_head` is the limit of a head in bytes, as hyper is configured. The
    /// replaced responses are counted in `responses`.
    pub(crate) fn new(
        stream: S,
        linger: LingerFlag,
        max_head: usize,
        responses: Arc<RouteResponses>,
    ) -> Self {
        Self { stream, linger, max_head, responses, response: None }
    }

    /// Sends the replacement if `bytes` are an error response of hyper's own. Returns `None` if
    /// they are to be sent unchanged.
    fn poll_replace(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Option<io::Result<usize>>> {
        if self.response.is_none() {
            let Some(status) = own_response(bytes) else { return Poll::Ready(None) };
            self.linger.set();
            self.responses.count(status);
            self.response = Some((reject::response_bytes(self.problem(status)), 0));
        }
        while let Some((response, sent)) = &mut self.response {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &response[*sent..])) {
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into()))),
                Ok(written) => *sent += written,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if *sent == response.len() {
                self.response = None;
            }
        }
        Poll::Ready(Some(Ok(bytes.len())))
    }

    fn problem(&self, status: StatusCode) -> Problem {
        let detail = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => format!(
                "the head of the request exceeds the fixed limit of {} bytes or {MAX_FIELDS} \
                 fields",
                self.max_head
            ),
            _ => "the head of the request is not valid HTTP/1.1".to_owned(),
        };
        Problem::new(status, detail).reason(RejectReason::Malformed)
    }
}

/// Returns the status if the bytes are the head of a 4xx response without a body. The routes send
/// none.
fn own_response(bytes: &[u8]) -> Option<StatusCode> {
    let status =
        bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let is_empty = || {
        bytes.windows(21).any(|window| window.eq_ignore_ascii_case(b"\r\ncontent-length: 0\r\n"))
    };
    if status[0] == b'4' && is_empty() { StatusCode::from_bytes(status).ok() } else { None }
}

impl<S: AsyncRead + Unpin> AsyncRead for ErrorBodyStream<S> {
    forward!(poll_read);
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ErrorBodyStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.poll_replace(cx, bytes)) {
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
        match ready!(self.poll_replace(cx, first)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    forward!(is_write_vectored, poll_flush, poll_shutdown);
}
