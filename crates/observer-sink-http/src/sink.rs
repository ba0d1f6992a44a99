//! The sink: requests, and the resolution of their responses.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use observer_core::{
    Batch, BuildError, Envelope, ErrorKind, EventSink, Receipt, Rejected, SinkError, Timestamp,
};
use observer_http_client::{Connections, Refusal, SizeLimit, run_blocking, transport_error};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, StatusCode};

use crate::config::{Check, Compression, HttpConfig};
use crate::items::{self, FailedItem};
use crate::response::{Response, StatusClass};
use crate::settings::Settings;
use crate::{client, encode, sign};

/// Largest body that is compressed on a thread of the runtime, in bytes. A larger one takes
/// milliseconds and goes to the blocking pool.
const MAX_INLINE_COMPRESSION: usize = 16 << 10;

/// Sink that sends events in HTTP requests.
pub struct HttpSink {
    settings: Arc<Settings>,
    connections: Connections,
    size_limit: SizeLimit,
}

/// Request that carries events.
struct Request {
    builder: RequestBuilder,
    /// Size of the body before compression.
    bytes: usize,
    events: usize,
}

impl HttpSink {
    /// Creates a sink. Neither reads files nor connects; both happen before the first request.
    ///
    /// # Errors
    /// If a value of the configuration is invalid.
    pub fn new(config: &HttpConfig) -> Result<Self, BuildError> {
        let settings = Arc::new(Settings::new(config)?);
        let connections = Connections::new({
            let settings = settings.clone();
            move || client::build(&settings)
        });
        Ok(Self { settings, connections, size_limit: SizeLimit::default() })
    }

    /// Encodes the events as one request.
    ///
    /// # Errors
    /// If the client can't be built, or the destination is known to refuse a request of this size.
    async fn request(&self, events: &[&Arc<Envelope>]) -> Result<Request, SinkError> {
        let Settings { url, method, headers, templates, compression, destination, .. } =
            &*self.settings;
        let body = self.body(events)?;
        let bytes = body.len();
        if self.size_limit.must_split(bytes, events.len()) {
            return Err(SinkError::too_large(format!(
                "a request of {bytes} bytes is larger than {} accepts; see `batch`",
                destination.origin()
            )));
        }
        let client = self.connections.client().await?;
        let mut request = client.request(method.clone(), url.clone()).headers(headers.clone());
        if let [envelope] = events {
            for (name, template) in templates {
                request = request.header(name, template.render(envelope));
            }
        }
        let body = compress(*compression, body).await?;
        let request = self.with_message_id(request, &encode::message_id(events), &body);
        Ok(Request { builder: request.body(Bytes::from(body)), bytes, events: events.len() })
    }

    /// Returns the body before compression.
    fn body(&self, events: &[&Arc<Envelope>]) -> Result<Vec<u8>, SinkError> {
        match &self.settings.template {
            None => Ok(encode::encode(&self.settings.body, events)),
            Some(template) => template
                .render(events)
                .map_err(|problem| SinkError::permanent(format!("`body.template`: {problem}"))),
        }
    }

    /// Adds the headers that identify and sign a message. A signature covers the body as sent, so
    /// that a destination can verify it before it decompresses anything.
    fn with_message_id(&self, request: RequestBuilder, id: &str, body: &[u8]) -> RequestBuilder {
        let Settings { signing_keys, has_idempotency_key, .. } = &*self.settings;
        let mut request = request.header("webhook-id", id);
        if *has_idempotency_key {
            request = request.header("idempotency-key", id);
        }
        if !signing_keys.is_empty() {
            let timestamp = Timestamp::now().as_second();
            let signatures = sign::signatures(signing_keys, id, timestamp, body);
            request = request
                .header("webhook-timestamp", timestamp)
                .header("webhook-signature", signatures);
        }
        request
    }

    /// Sends a request, and learns from its response which size is too large.
    async fn send(&self, request: Request) -> Result<Response, SinkError> {
        let Request { builder, bytes, events } = request;
        let response = self.exchange(builder).await?;
        match response.class() {
            StatusClass::Accepted | StatusClass::PerItem => self.size_limit.accepted(bytes),
            StatusClass::Failed(ErrorKind::TooLarge) => {
                self.size_limit.refused(bytes, events, Refusal::TooLarge);
            }
            StatusClass::Failed(_) => {}
        }
        Ok(response)
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Response, SinkError> {
        let destination = &self.settings.destination;
        let exchange = async {
            let response = request.send().await;
            let response = response.map_err(|error| transport_error(&error, destination))?;
            Ok(Response::read(response).await)
        };
        self.connections.exchange(exchange).await
    }

    /// Sends the events in one request.
    async fn deliver_together(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let events: Vec<_> = batch.events().iter().collect();
        let response = self.send(self.request(&events).await?).await?;
        let destination = &self.settings.destination;
        match response.class() {
            StatusClass::Accepted => Ok(Receipt::accepted()),
            StatusClass::Failed(kind) => Err(response.error(kind, destination)),
            StatusClass::PerItem => {
                response.require_complete_body(destination)?;
                let failed = items::parse(&response.body, batch.len()).map_err(|problem| {
                    SinkError::denied(format!(
                        "{}, which can't be understood: {problem}",
                        response.describe(destination)
                    ))
                })?;
                self.resolve_items(batch.len(), &response, &failed)
            }
        }
    }

    /// Returns the result of a request with `count` events of which some failed.
    fn resolve_items(
        &self,
        count: usize,
        response: &Response,
        failed: &[FailedItem],
    ) -> Result<Receipt, SinkError> {
        let of_kind = |kind| failed.iter().find(|item| item.kind() == kind);
        let unresolved = of_kind(ErrorKind::Transient).or_else(|| of_kind(ErrorKind::Failed));
        if let Some(item) = unresolved {
            let failed: BTreeSet<_> = failed.iter().map(|item| item.index).collect();
            let accepted = (0..count).filter(|index| !failed.contains(index));
            let error = response.error_with(item.kind(), self.reason(item));
            return Err(error.with_accepted(accepted));
        }
        if failed.len() == count {
            // Without an accepted event, the fault may be the request's rather than the events'.
            return Err(SinkError::permanent(self.reason(&failed[0])));
        }
        let rejected =
            failed.iter().map(|item| Rejected { index: item.index, reason: self.reason(item) });
        Ok(Receipt { rejected: rejected.collect(), refused: None })
    }

    fn reason(&self, item: &FailedItem) -> String {
        let destination = &self.settings.destination;
        let excerpt = destination.excerpt(&item.detail);
        let excerpt = if excerpt.is_empty() { excerpt } else { format!(": {excerpt}") };
        format!("{} responded with {} for this event{excerpt}", destination.origin(), item.status)
    }

    /// Sends each event in its own request, one after the other.
    async fn deliver_one_by_one(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let (mut accepted, mut rejected) = (Vec::new(), Vec::new());
        for (index, envelope) in batch.events().iter().enumerate() {
            match self.deliver_alone(envelope).await {
                Ok(()) => accepted.push(index),
                // The event is at fault only if the destination accepts others.
                Err(error) if error.kind == ErrorKind::Permanent && !accepted.is_empty() => {
                    rejected.push(Rejected { index, reason: error.report() });
                }
                Err(error) => return Err(error.with_accepted(accepted)),
            }
        }
        Ok(Receipt { rejected, refused: None })
    }

    async fn deliver_alone(&self, envelope: &Arc<Envelope>) -> Result<(), SinkError> {
        let response = self.send(self.request(&[envelope]).await?).await?;
        match response.class() {
            StatusClass::Accepted => Ok(()),
            StatusClass::Failed(kind) => Err(response.error(kind, &self.settings.destination)),
            // A 207 is a success unless its body says otherwise.
            StatusClass::PerItem => {
                let failed = items::parse(&response.body, 1).unwrap_or_default();
                match failed.first() {
                    None => Ok(()),
                    Some(item) => Err(response.error_with(item.kind(), self.reason(item))),
                }
            }
        }
    }

    /// Sends the request of the check. `denials` are statuses on which it fails in addition to those
    /// that events would get whatever the method.
    async fn request_check(&self, denials: &[StatusCode]) -> Result<(), SinkError> {
        let client = self.connections.renew().await?;
        let Settings { url, headers, signing_keys, check, destination, .. } = &*self.settings;
        let method = match check {
            Check::Options => Method::OPTIONS,
            Check::Head => Method::HEAD,
            Check::Get => Method::GET,
            Check::Off => return Ok(()),
        };
        let mut headers = headers.clone();
        headers.remove(CONTENT_TYPE);
        headers.remove(CONTENT_ENCODING);
        let response =
            self.exchange(client.request(method.clone(), url.clone()).headers(headers)).await?;
        self.size_limit.reset();
        let kind = match response.status.as_u16() {
            401 if !signing_keys.is_empty() => return Ok(()),
            401 | 407 => ErrorKind::Unauthenticated,
            300..=399 | 404 | 410 => ErrorKind::Denied,
            _ if denials.contains(&response.status) => ErrorKind::Denied,
            // The destination does not implement the method.
            501 => return Ok(()),
            429 | 503 => ErrorKind::Transient,
            500.. => ErrorKind::Failed,
            _ => return Ok(()),
        };
        let description = response.describe(destination);
        let reason = format!(
            "{description} (checked with {method}; see `check` if events receive another response)"
        );
        Err(response.error_with(kind, reason))
    }
}

#[async_trait]
impl EventSink for HttpSink {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        if self.settings.body.is_single() {
            self.deliver_one_by_one(batch).await
        } else {
            self.deliver_together(batch).await
        }
    }

    /// Does nothing: events are durable when the destination has responded.
    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        self.request_check(&[]).await
    }

    /// Fails on 403, too. [`check`](Self::check) does not: it would keep a sink parked whose
    /// destination forbids the method of the check alone.
    async fn inspect(&self) -> Result<(), SinkError> {
        self.request_check(&[StatusCode::FORBIDDEN]).await
    }

    /// Returns 1 if each event has its own request, so that `timeout` bounds a request and each
    /// accepted event is resolved by itself.
    fn max_events_per_delivery(&self) -> Option<NonZeroUsize> {
        self.settings.body.is_single().then_some(NonZeroUsize::MIN)
    }

    fn renew_connections(&self) {
        self.connections.close();
    }

    async fn close(&self) -> Result<(), SinkError> {
        self.connections.close();
        Ok(())
    }
}

async fn compress(compression: Compression, body: Vec<u8>) -> Result<Vec<u8>, SinkError> {
    let compressed = match compression {
        Compression::None => return Ok(body),
        _ if body.len() <= MAX_INLINE_COMPRESSION => encode::compress(compression, body),
        _ => run_blocking(move || encode::compress(compression, body)).await?,
    };
    compressed.map_err(SinkError::transient)
}

impl fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSink")
            .field("origin", &self.settings.destination.origin())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
