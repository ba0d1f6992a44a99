//! Requests as they are recorded.

use std::fmt;

use hyper::HeaderMap;
use observer_core::Uuid;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::Code;

use super::payload::Payload;

/// Transport of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// OTLP/gRPC, over HTTP/2.
    Grpc,
    /// OTLP/HTTP: a POST of Protobuf.
    Http,
}

impl Transport {
    /// All transports.
    pub const ALL: [Self; 2] = [Self::Grpc, Self::Http];
}

/// Request that a receiver recorded, with the status of its response.
#[derive(Clone)]
pub struct ReceivedRequest {
    /// Transport of the request.
    pub transport: Transport,
    /// Path of the gRPC method or of the POST.
    pub path: String,
    /// All headers; over gRPC the metadata.
    pub headers: HeaderMap,
    /// Decoded message.
    pub payload: Payload,
    /// Size of the message on the wire in bytes, before decompression.
    pub wire_size: usize,
    /// Compression of the message, such as `gzip`.
    pub compression: Option<String>,
    /// gRPC code of the response, or the one that its HTTP status stands for.
    ///
    /// It is `None` if the request gets no response, or one without OTLP.
    pub code: Option<Code>,
    pub(super) accepted: Accepted,
}

/// Log records, spans or metrics of a request that the receiver accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Accepted {
    Nothing,
    All,
    /// For each item in order, whether it was accepted.
    Marked(Vec<bool>),
}

impl ReceivedRequest {
    /// Returns the value of a header, if it is there and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the event ids of all log records or spans in order, accepted or not.
    #[must_use]
    pub fn event_ids(&self) -> Vec<Uuid> {
        self.payload.event_ids().into_iter().flatten().collect()
    }

    /// Returns the log records that the receiver accepted.
    #[must_use]
    pub fn accepted_log_records(&self) -> Vec<&LogRecord> {
        self.accepted(self.payload.log_records())
    }

    /// Returns the spans that the receiver accepted.
    #[must_use]
    pub fn accepted_spans(&self) -> Vec<&Span> {
        self.accepted(self.payload.spans())
    }

    /// Returns the event ids of the log records or spans that the receiver accepted.
    #[must_use]
    pub fn accepted_event_ids(&self) -> Vec<Uuid> {
        self.accepted(self.payload.event_ids()).into_iter().flatten().collect()
    }

    fn accepted<T>(&self, items: Vec<T>) -> Vec<T> {
        match &self.accepted {
            Accepted::Nothing => Vec::new(),
            Accepted::All => items,
            Accepted::Marked(marks) => items
                .into_iter()
                .zip(marks)
                .filter_map(|(item, is_accepted)| is_accepted.then_some(item))
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
            .field("accepted", &self.accepted)
            .finish_non_exhaustive()
    }
}
