//! What a receiver of OTLP can do with a request.

use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use tonic::metadata::{AsciiMetadataKey, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::payload::Payload;
use super::request::Taken;
use crate::delay::{Gate, Wait};

/// How a receiver answers one request, whichever way it came.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) act: Act,
    pub(super) wait: Wait,
}

#[derive(Debug, Clone)]
pub(super) enum Act {
    Content(Content),
    /// Refuse messages of more bytes.
    LargerThan(usize),
    /// Refuse what holds the marker, and take the rest.
    Refusing {
        marker: String,
        message: String,
    },
    /// Refuse the whole of a request that holds the marker.
    Poisoned {
        marker: String,
        status: Status,
    },
    /// Read to the end, and hang up.
    CutBeforeAnswer,
    /// Begin an answer, and hang up in the middle of it.
    CutAnswer,
    /// Hang up while the request is read.
    CutRequest,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Taken {
        rejected: usize,
        message: String,
    },
    Status(Status),
    /// A status that HTTP has one of its own for.
    TooLarge(Status),
    /// Of something between that knows nothing of OTLP.
    Plain(Plain),
}

#[derive(Debug, Clone)]
pub(super) struct Plain {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl Reply {
    /// All is taken.
    #[must_use]
    pub fn accept() -> Self {
        Self::partial_success(0, "")
    }

    /// All is taken, with something to say about it: a partial success of which nothing was
    /// rejected.
    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self::partial_success(0, message)
    }

    /// Partial success: the last so many log records, spans or metrics are rejected, and the rest
    /// is taken.
    #[must_use]
    pub fn partial_success(rejected: usize, message: impl Into<String>) -> Self {
        Self::new(Act::Content(Content::Taken { rejected, message: message.into() }))
    }

    /// Partial success: the log records, spans or metrics that hold `marker` are rejected, and the
    /// rest is taken.
    #[must_use]
    pub fn reject_items_containing(marker: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Act::Refusing { marker: marker.into(), message: message.into() })
    }

    /// This status, and nothing is taken. Over HTTP it is the body, and the HTTP status is the one
    /// that the OpenTelemetry collector gives for it.
    #[must_use]
    pub fn status(code: Code, message: impl Into<String>) -> Self {
        Self::new(Act::Content(Content::Status(Status::new(code, message))))
    }

    /// This HTTP status and nothing of OTLP, as something between gives it. Nothing is taken.
    #[must_use]
    pub fn http(status: u16) -> Self {
        Self::new(Act::Content(Content::Plain(Plain {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        })))
    }

    /// `RESOURCE_EXHAUSTED` without `RetryInfo` (over HTTP, 413) for messages of more than so many
    /// bytes when decompressed, as with a server's `max_recv_msg_size`; all others are taken.
    #[must_use]
    pub fn reject_messages_larger_than(bytes: usize) -> Self {
        Self::new(Act::LargerThan(bytes))
    }

    /// This code for each request with `marker` in it: one poison event takes its whole batch with
    /// it. All others are taken.
    #[must_use]
    pub fn fail_requests_containing(marker: impl Into<String>, code: Code) -> Self {
        let status = Status::new(code, "a value that can't be stored");
        Self::new(Act::Poisoned { marker: marker.into(), status })
    }

    /// No answer, ever; the connection stays open.
    #[must_use]
    pub fn hang() -> Self {
        Self { wait: Wait::ForEver, ..Self::accept() }
    }

    /// Take the request, and hang up before there is an answer.
    #[must_use]
    pub fn close_before_response() -> Self {
        Self::new(Act::CutBeforeAnswer)
    }

    /// Take the request, and hang up in the middle of the answer's message.
    #[must_use]
    pub fn close_mid_response() -> Self {
        Self::new(Act::CutAnswer)
    }

    /// Hang up while the request is read, and take nothing.
    #[must_use]
    pub fn close_mid_request() -> Self {
        Self::new(Act::CutRequest)
    }

    /// With a `RetryInfo` in the status; over HTTP with a `Retry-After`, too, in whole seconds.
    /// Other answers stay as they are.
    #[must_use]
    pub fn with_retry_after(mut self, pause: Duration) -> Self {
        if let Act::Content(Content::Status(status)) | Act::Poisoned { status, .. } = &mut self.act
        {
            let details = ErrorDetails::with_retry_info(Some(pause));
            *status = Status::with_error_details(status.code(), status.message(), details);
        }
        self
    }

    /// With this as the body of an answer by [`http`](Self::http). Other answers stay as they are.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        if let Act::Content(Content::Plain(plain)) = &mut self.act {
            plain.body = body.into();
        }
        self
    }

    /// With one more header, or gRPC metadata, of a status. Other answers stay as they are.
    ///
    /// # Panics
    /// If the name or the value can't be sent.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        match &mut self.act {
            Act::Content(Content::Plain(plain)) => plain.headers.push((name, value.into())),
            Act::Content(Content::Status(status)) | Act::Poisoned { status, .. } => {
                let value =
                    MetadataValue::try_from(value.into()).expect("a header's value is ASCII");
                status.metadata_mut().insert(AsciiMetadataKey::from_static(name), value);
            }
            _ => {}
        }
        self
    }

    /// After so long: a receiver that is slow.
    #[must_use]
    pub fn delayed_by(self, pause: Duration) -> Self {
        Self { wait: Wait::Some(pause), ..self }
    }

    /// When the test says so, without a clock.
    #[must_use]
    pub fn gated(self) -> (Self, Gate) {
        let (gate, wait) = Gate::shut();
        (Self { wait, ..self }, gate)
    }

    fn new(act: Act) -> Self {
        Self { act, wait: Wait::No }
    }

    /// What becomes of a request: the reply, if it gets one, and what is taken of it. `message` is
    /// the payload before it was decoded.
    pub(super) fn judge(&self, payload: &Payload, message: &[u8]) -> (Option<Content>, Taken) {
        let accepted =
            || (Some(Content::Taken { rejected: 0, message: String::new() }), Taken::All);
        match (&self.act, &self.wait) {
            (_, Wait::ForEver) | (Act::CutRequest, _) => (None, Taken::Nothing),
            (Act::CutBeforeAnswer | Act::CutAnswer, _) => (None, Taken::All),
            (Act::Content(reply @ Content::Taken { rejected, .. }), _) => {
                let count = payload.count();
                let taken = (0..count).map(|index| index + rejected < count).collect();
                (Some(reply.clone()), Taken::Some(taken))
            }
            (Act::Content(reply), _) => (Some(reply.clone()), Taken::Nothing),
            (Act::LargerThan(most), _) if message.len() > *most => {
                // What grpc-go says.
                let text = format!(
                    "grpc: received message larger than max ({} vs. {most})",
                    message.len()
                );
                (Some(Content::TooLarge(Status::resource_exhausted(text))), Taken::Nothing)
            }
            (Act::Refusing { marker, message }, _) => {
                let taken: Vec<_> = payload.holding(marker).iter().map(|is_bad| !is_bad).collect();
                let rejected = taken.iter().filter(|is_taken| !**is_taken).count();
                let message = if rejected == 0 { String::new() } else { message.clone() };
                (Some(Content::Taken { rejected, message }), Taken::Some(taken))
            }
            (Act::Poisoned { marker, status }, _)
                if memmem::find(message, marker.as_bytes()).is_some() =>
            {
                (Some(Content::Status(status.clone())), Taken::Nothing)
            }
            (Act::LargerThan(_) | Act::Poisoned { .. }, _) => accepted(),
        }
    }
}

impl Content {
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Self::Taken { .. } => Some(Code::Ok),
            Self::Status(status) | Self::TooLarge(status) => Some(status.code()),
            Self::Plain(_) => None,
        }
    }

    /// What it says, for a person.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Taken { message, .. } => message.clone(),
            Self::Status(status) | Self::TooLarge(status) => status.message().to_owned(),
            Self::Plain(plain) => String::from_utf8_lossy(&plain.body).into_owned(),
        }
    }
}
