//! Replies of an OTLP receiver.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use tonic::metadata::{AsciiMetadataKey, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::request::{Accepted, ReceivedRequest};
use crate::delay::{Delay, Gate};

/// Reply to one request over either transport: a response, or a closed connection.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) action: Action,
    pub(super) delay: Delay,
}

#[derive(Clone)]
pub(super) enum Action {
    /// Sends this response.
    Respond(Content),
    /// Rejects messages of more bytes.
    RejectLargerThan(usize),
    /// Rejects the items that contain the marker.
    RejectItems { marker: String, message: String },
    /// Rejects a request that contains the marker.
    FailRequests { marker: String, status: Status },
    /// Gives another reply, which depends on the request.
    Choose(Arc<Choose>),
    /// Reads the request, and closes the connection.
    CloseBeforeResponse,
    /// Begins a response, and closes the connection in the middle of it.
    CloseMidResponse,
    /// Closes the connection in the middle of the request.
    CloseMidRequest,
    /// Reads the request, and resets its stream.
    ResetStream,
}

type Choose = dyn Fn(&ReceivedRequest) -> Reply + Send + Sync;

/// Content of a response, before it is encoded for a transport.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Full success, or partial success if items are rejected or there is a message.
    Success { rejected: usize, message: String },
    /// Failure with the HTTP status that the OpenTelemetry collector returns for the code.
    Status(Status),
    /// Failure with the HTTP status 413.
    TooLarge(Status),
    /// HTTP response without OTLP, over both transports.
    Plain(Plain),
}

#[derive(Debug, Clone)]
pub(super) struct Plain {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl Reply {
    /// Accepts the request: full success.
    #[must_use]
    pub fn accept() -> Self {
        Self::partial_success(0, "")
    }

    /// Accepts the request with a warning: a partial success without rejected items.
    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self::partial_success(0, message)
    }

    /// Responds with a partial success: the last `rejected` log records, spans or metrics are
    /// rejected.
    #[must_use]
    pub fn partial_success(rejected: usize, message: impl Into<String>) -> Self {
        Self::new(Action::Respond(Content::Success { rejected, message: message.into() }))
    }

    /// Responds with a partial success: log records, spans or metrics that contain `marker` are
    /// rejected.
    #[must_use]
    pub fn reject_items_containing(marker: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Action::RejectItems { marker: marker.into(), message: message.into() })
    }

    /// Rejects the request with this status.
    ///
    /// Over HTTP the status is the body, and the HTTP status is the one that the OpenTelemetry
    /// collector returns for the code.
    #[must_use]
    pub fn status(code: Code, message: impl Into<String>) -> Self {
        Self::new(Action::Respond(Content::Status(Status::new(code, message))))
    }

    /// Responds with an HTTP status without OTLP, as a proxy does. Nothing is accepted.
    #[must_use]
    pub fn http(status: u16) -> Self {
        let plain = Plain { status, headers: Vec::new(), body: Bytes::new() };
        Self::new(Action::Respond(Content::Plain(plain)))
    }

    /// Rejects messages that are larger than this number of bytes after decompression, and accepts
    /// all others, as a server with `max_recv_msg_size` does.
    ///
    /// The status is `RESOURCE_EXHAUSTED` without `RetryInfo`; over HTTP it is 413.
    #[must_use]
    pub fn reject_messages_larger_than(bytes: usize) -> Self {
        Self::new(Action::RejectLargerThan(bytes))
    }

    /// Rejects requests that contain `marker` with this code, and accepts all others.
    ///
    /// One poison event fails the whole batch.
    #[must_use]
    pub fn fail_requests_containing(marker: impl Into<String>, code: Code) -> Self {
        let status = Status::new(code, "a value that can't be stored");
        Self::new(Action::FailRequests { marker: marker.into(), status })
    }

    /// Gives the reply that `choose` returns for the request.
    ///
    /// The request is decoded, and has no code yet.
    #[must_use]
    pub fn choose(choose: impl Fn(&ReceivedRequest) -> Self + Send + Sync + 'static) -> Self {
        Self::new(Action::Choose(Arc::new(choose)))
    }

    /// Never responds, and keeps the connection open.
    #[must_use]
    pub fn hang() -> Self {
        Self { delay: Delay::Forever, ..Self::accept() }
    }

    /// Accepts the request, and closes the connection before the response.
    #[must_use]
    pub fn close_before_response() -> Self {
        Self::new(Action::CloseBeforeResponse)
    }

    /// Accepts the request, and closes the connection in the middle of the response's message.
    #[must_use]
    pub fn close_mid_response() -> Self {
        Self::new(Action::CloseMidResponse)
    }

    /// Closes the connection in the middle of the request, and accepts nothing.
    #[must_use]
    pub fn close_mid_request() -> Self {
        Self::new(Action::CloseMidRequest)
    }

    /// Resets the stream of the request with INTERNAL_ERROR, and keeps the connection open. Nothing
    /// is accepted.
    ///
    /// Over HTTP/1.1 it closes the connection.
    #[must_use]
    pub fn reset_stream() -> Self {
        Self::new(Action::ResetStream)
    }

    /// Adds a `RetryInfo` to a status, and over HTTP also a `Retry-After` in whole seconds.
    ///
    /// It has no effect on other replies.
    #[must_use]
    pub fn with_retry_after(mut self, pause: Duration) -> Self {
        if let Action::Respond(Content::Status(status)) | Action::FailRequests { status, .. } =
            &mut self.action
        {
            let details = ErrorDetails::with_retry_info(Some(pause));
            *status = Status::with_error_details(status.code(), status.message(), details);
        }
        self
    }

    /// Sets the body of a reply by [`http`](Self::http). It has no effect on other replies.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        if let Action::Respond(Content::Plain(plain)) = &mut self.action {
            plain.body = body.into();
        }
        self
    }

    /// Adds a header, or gRPC metadata, to a status. It has no effect on other replies.
    ///
    /// # Panics
    /// If the name or the value is not valid in a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        match &mut self.action {
            Action::Respond(Content::Plain(plain)) => plain.headers.push((name, value.into())),
            Action::Respond(Content::Status(status)) | Action::FailRequests { status, .. } => {
                let value =
                    MetadataValue::try_from(value.into()).expect("a header's value is ASCII");
                status.metadata_mut().insert(AsciiMetadataKey::from_static(name), value);
            }
            _ => {}
        }
        self
    }

    /// Delays the reply, as a slow receiver does.
    #[must_use]
    pub fn delayed_by(self, pause: Duration) -> Self {
        Self { delay: Delay::For(pause), ..self }
    }

    /// Holds the reply back until the test opens the gate.
    #[must_use]
    pub fn gated(self) -> (Self, Gate) {
        let (gate, delay) = Gate::closed();
        (Self { delay, ..self }, gate)
    }

    fn new(action: Action) -> Self {
        Self { action, delay: Delay::None }
    }

    /// Returns the reply to a decoded request.
    pub(super) fn resolved(self, request: &ReceivedRequest) -> Self {
        match self.action {
            Action::Choose(choose) => choose(request).resolved(request),
            _ => self,
        }
    }

    /// Returns the response to a request, if it gets one, and the items that are accepted.
    ///
    /// `message` is the encoded payload.
    pub(super) fn evaluate(
        &self,
        request: &ReceivedRequest,
        message: &[u8],
    ) -> (Option<Content>, Accepted) {
        let payload = &request.payload;
        let accepted =
            || (Some(Content::Success { rejected: 0, message: String::new() }), Accepted::All);
        match (&self.action, &self.delay) {
            (_, Delay::Forever) | (Action::CloseMidRequest | Action::ResetStream, _) => {
                (None, Accepted::Nothing)
            }
            (Action::CloseBeforeResponse | Action::CloseMidResponse, _) => (None, Accepted::All),
            (Action::Respond(content @ Content::Success { rejected, .. }), _) => {
                let count = payload.count();
                let accepted = (0..count).map(|index| index + rejected < count).collect();
                (Some(content.clone()), Accepted::Marked(accepted))
            }
            (Action::Respond(content), _) => (Some(content.clone()), Accepted::Nothing),
            (Action::RejectLargerThan(max), _) if message.len() > *max => {
                // Message of grpc-go.
                let text =
                    format!("grpc: received message larger than max ({} vs. {max})", message.len());
                (Some(Content::TooLarge(Status::resource_exhausted(text))), Accepted::Nothing)
            }
            (Action::RejectItems { marker, message }, _) => {
                let accepted: Vec<_> =
                    payload.contains(marker).iter().map(|is_marked| !is_marked).collect();
                let rejected = accepted.iter().filter(|is_accepted| !**is_accepted).count();
                let message = if rejected == 0 { String::new() } else { message.clone() };
                (Some(Content::Success { rejected, message }), Accepted::Marked(accepted))
            }
            (Action::FailRequests { marker, status }, _)
                if memmem::find(message, marker.as_bytes()).is_some() =>
            {
                (Some(Content::Status(status.clone())), Accepted::Nothing)
            }
            (Action::Choose(choose), _) => choose(request).evaluate(request, message),
            (Action::RejectLargerThan(_) | Action::FailRequests { .. }, _) => accepted(),
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Respond(content) => content.fmt(f),
            Self::RejectLargerThan(bytes) => write!(f, "reject messages larger than {bytes}"),
            Self::RejectItems { marker, .. } => write!(f, "reject items containing {marker:?}"),
            Self::FailRequests { marker, status } => {
                write!(f, "fail requests containing {marker:?} with {status:?}")
            }
            Self::Choose(_) => f.write_str("choose a reply"),
            Self::CloseBeforeResponse => f.write_str("close before the response"),
            Self::CloseMidResponse => f.write_str("close mid response"),
            Self::CloseMidRequest => f.write_str("close mid request"),
            Self::ResetStream => f.write_str("reset stream"),
        }
    }
}

impl Content {
    /// Returns the gRPC code, if the response is one of OTLP.
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Self::Success { .. } => Some(Code::Ok),
            Self::Status(status) | Self::TooLarge(status) => Some(status.code()),
            Self::Plain(_) => None,
        }
    }

    /// Returns the message for a reader.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Success { message, .. } => message.clone(),
            Self::Status(status) | Self::TooLarge(status) => status.message().to_owned(),
            Self::Plain(plain) => String::from_utf8_lossy(&plain.body).into_owned(),
        }
    }
}
