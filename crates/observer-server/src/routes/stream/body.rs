//! Body of a stream: the bytes that its reader has ready, until the reader ends.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::Frame;

use super::reader::Reader;

/// Body of a stream.
pub(super) struct StreamBody(State);

enum State {
    /// The reader may have bytes.
    Ready(Box<Reader>),
    /// The reader waits for events.
    Waiting(Pin<Box<dyn Future<Output = Option<Box<Reader>>> + Send>>),
    Ended,
}

impl StreamBody {
    pub(super) fn new(reader: Reader) -> Self {
        Self(State::Ready(Box::new(reader)))
    }
}

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            match std::mem::replace(&mut self.0, State::Ended) {
                State::Ready(mut reader) => {
                    if let Some(bytes) = reader.pop() {
                        self.0 = State::Ready(reader);
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    let turn = async move { reader.turn().await.then_some(reader) };
                    self.0 = State::Waiting(Box::pin(turn));
                }
                State::Waiting(mut turn) => match turn.as_mut().poll(cx) {
                    Poll::Ready(Some(reader)) => self.0 = State::Ready(reader),
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => {
                        self.0 = State::Waiting(turn);
                        return Poll::Pending;
                    }
                },
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}
