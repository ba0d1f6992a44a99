//! Request bodies that a handler leaves unread.
//!
//! A request is often refused before its body is read: for its path, its media type, or its token.
//! The next request on the connection begins after that body. A short rest is therefore read and
//! discarded. Otherwise the response announces that the connection closes (RFC 9112, section 9.6).

use std::error::Error;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::request::body::ShuttingDown;

/// Limit of the bytes of a rest that is read.
const MAX_REST: u64 = 64 << 10;
/// Limit of the time that reading a rest takes. The response is sent afterwards.
const MAX_TIME: Duration = Duration::from_millis(500);

/// Body that the current request of a connection left unread. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct UnreadBody(Arc<State>);

#[derive(Debug, Default)]
struct State {
    rest: Mutex<Option<Incoming>>,
    is_aborted: AtomicBool,
}

/// Body of a request. It becomes the [`UnreadBody`] if it is dropped before its end.
#[derive(Debug)]
pub(super) struct RequestBody {
    incoming: Option<Incoming>,
    unread: UnreadBody,
}

impl UnreadBody {
    /// Returns the body of a request, whose rest this then keeps.
    pub(super) fn keep_rest_of(&self, incoming: Incoming) -> RequestBody {
        RequestBody { incoming: Some(incoming), unread: self.clone() }
    }

    /// Discards what is unread, and reads a short rest if `may_read`. Returns whether nothing is
    /// left, so that the next request can follow.
    ///
    /// Reading asks a client that waits for `100 Continue` for its body.
    pub(super) async fn discard(&self, may_read: bool) -> bool {
        let Some(body) = self.take() else { return true };
        if !may_read || body.size_hint().lower() > MAX_REST {
            return false;
        }
        tokio::time::timeout(MAX_TIME, read_to_end(body)).await.unwrap_or(false)
    }

    /// Ends the body of the current request with an error, if more of it is awaited. The task of
    /// the connection has to be woken.
    pub(super) fn abort(&self) {
        self.0.is_aborted.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> Option<Incoming> {
        self.0.rest.lock().expect("no thread panics while it holds the lock").take()
    }
}

/// Returns whether the body ended within the limit.
async fn read_to_end(mut body: Incoming) -> bool {
    let mut left = MAX_REST;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(rest) = left.checked_sub(length) else { return false };
        left = rest;
    }
    true
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = Pin::new(incoming).poll_frame(cx).map_err(Into::into);
        if frame.is_pending() && self.unread.0.is_aborted.load(Ordering::Relaxed) {
            return Poll::Ready(Some(Err(ShuttingDown.into())));
        }
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.incoming = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take().filter(|incoming| !incoming.is_end_stream())
            && let Ok(mut unread) = self.unread.0.rest.lock()
        {
            *unread = Some(incoming);
        }
    }
}
