//! A request as it arrived.

use std::fmt;

use hyper::HeaderMap;
use observer_core::Uuid;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::Code;

use super::payload::Payload;

/// What carries OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// gRPC, over HTTP/2.
    Grpc,
    /// A POST of protobuf.
    Http,
}

/// One request, with what became of it.
#[derive(Clone)]
pub struct ReceivedRequest {
    /// How it came.
    pub transport: Transport,
    /// That of the gRPC method, or of the POST.
    pub path: String,
    /// All of them, which gRPC calls metadata.
    pub headers: HeaderMap,
    /// What it carries.
    pub payload: Payload,
    /// The bytes of the message as it came over the wire, compressed if it was.
    pub wire_size: usize,
    /// How it was compressed, such as `gzip`.
    pub compression: Option<String>,
    /// The gRPC code that it is answered with, or that its HTTP status stands for; `None` where it
    /// was cut off, got no answer, or one that knows nothing of OTLP.
    pub code: Option<Code>,
    pub(super) taken: Taken,
}

/// Which of a request's log records, spans or metrics the receiver has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Taken {
    Nothing,
    All,
    /// Those that are marked so.
    Some(Vec<bool>),
}

impl ReceivedRequest {
    /// A header's value as text, if it is there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The ids of the events of its log records or spans, in order, taken or not.
    #[must_use]
    pub fn event_ids(&self) -> Vec<Uuid> {
        self.payload.event_ids().into_iter().flatten().collect()
    }

    /// The log records that the receiver took.
    #[must_use]
    pub fn accepted_log_records(&self) -> Vec<&LogRecord> {
        self.taken(self.payload.log_records())
    }

    /// The spans that the receiver took.
    #[must_use]
    pub fn accepted_spans(&self) -> Vec<&Span> {
        self.taken(self.payload.spans())
    }

    /// The ids of the events whose log record or span the receiver took.
    #[must_use]
    pub fn accepted_event_ids(&self) -> Vec<Uuid> {
        self.taken(self.payload.event_ids()).into_iter().flatten().collect()
    }

    fn taken<T>(&self, items: Vec<T>) -> Vec<T> {
        match &self.taken {
            Taken::Nothing => Vec::new(),
            Taken::All => items,
            Taken::Some(marks) => items
                .into_iter()
                .zip(marks)
                .filter_map(|(item, is_taken)| is_taken.then_some(item))
                .collect(),
        }
    }
}

impl fmt::Debug for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedRequest")
            .field("transport", &self.transport)
            .field("path", &self.path)
            .field("wire_size", &self.wire_size)
            .field("code", &self.code)
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}
