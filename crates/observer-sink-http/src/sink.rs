//! The sink: requests, and the resolution of their responses.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use observer_core::{
    Batch, BuildError, Envelope, ErrorKind, EventSink, Receipt, Rejected, SinkError, Timestamp,
};
use observer_http_client::{run_blocking, transport_error};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder};

use crate::accepted::AcceptedEvents;
use crate::config::{Check, Compression, HttpConfig};
use crate::items::{self, FailedItem};
use crate::response::{Response, StatusClass, classify};
use crate::settings::Settings;
use crate::{client, encode, sign};

/// Largest body that is compressed on a thread of the runtime, in bytes. A larger one takes
/// milliseconds and goes to the blocking pool.
const MAX_INLINE_COMPRESSION: usize = 16 << 10;

/// Sink that sends events in HTTP requests.
pub struct HttpSink {
    settings: Arc<Settings>,
    client: Mutex<Option<Client>>,
    accepted: Mutex<AcceptedEvents>,
}

/// Event with its index in the batch.
type IndexedEvent<'a> = (usize, &'a Arc<Envelope>);

impl HttpSink {
    /// Creates a sink. Neither reads files nor connects; both happen before the first request.
    ///
    /// # Errors
    /// If a value of the configuration is invalid.
    pub fn new(config: &HttpConfig) -> Result<Self, BuildError> {
        let settings = Arc::new(Settings::new(config)?);
        Ok(Self { settings, client: Mutex::default(), accepted: Mutex::default() })
    }

    async fn client(&self) -> Result<Client, SinkError> {
        let client = lock(&self.client).clone();
        match client {
            Some(client) => Ok(client),
            None => self.new_client().await,
        }
    }

    /// Builds a client from the current contents of the TLS files.
    async fn new_client(&self) -> Result<Client, SinkError> {
        let settings = self.settings.clone();
        let client = run_blocking(move || client::build(&settings)).await??;
        *lock(&self.client) = Some(client.clone());
        Ok(client)
    }

    async fn request(&self, events: &[&Arc<Envelope>]) -> Result<RequestBuilder, SinkError> {
        let Settings {
            url,
            method,
            headers,
            templates,
            compression,
            signing_keys,
            has_idempotency_key,
            ..
        } = &*self.settings;
        let id = encode::message_id(events);
        let mut request =
            self.client().await?.request(method.clone(), url.clone()).headers(headers.clone());
        if let [envelope] = events {
            for (name, template) in templates {
                request = request.header(name, template.render(envelope));
            }
        }
        if *has_idempotency_key {
            request = request.header("idempotency-key", &id);
        }
        let body = compress(*compression, encode::encode(self.settings.body, events)).await?;
        // The signature covers the body as sent, so that a destination can verify it before it
        // decompresses anything.
        if !signing_keys.is_empty() {
            let timestamp = Timestamp::now().as_second();
            let signatures = sign::signatures(signing_keys, &id, timestamp, &body);
            request = request
                .header("webhook-timestamp", timestamp)
                .header("webhook-signature", signatures);
        }
        Ok(request.header("webhook-id", id).body(Bytes::from(body)))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, SinkError> {
        let failed = |error: reqwest::Error| transport_error(&error, &self.settings.destination);
        Response::read(request.send().await.map_err(failed)?).await.map_err(failed)
    }

    /// Sends the events in one request.
    async fn deliver_together(
        &self,
        batch: &Batch,
        remaining: &[IndexedEvent<'_>],
    ) -> Result<Receipt, SinkError> {
        let events: Vec<_> = remaining.iter().map(|(_, envelope)| *envelope).collect();
        let response = self.send(self.request(&events).await?).await?;
        let destination = &self.settings.destination;
        let failed = match classify(response.status.as_u16()) {
            StatusClass::Accepted => return Ok(Receipt::accepted()),
            StatusClass::Failed(kind) => return Err(response.error(kind, destination)),
            StatusClass::PerItem => {
                items::parse(&response.body, remaining.len()).map_err(|problem| {
                    SinkError::blocked(format!(
                        "{}, which can't be understood: {problem}",
                        response.describe(destination)
                    ))
                })?
            }
        };
        let mut is_failed = vec![false; remaining.len()];
        failed.iter().for_each(|item| is_failed[item.index] = true);
        {
            let mut accepted = lock(&self.accepted);
            remaining
                .iter()
                .zip(is_failed)
                .filter(|(_, is_failed)| !is_failed)
                .for_each(|((_, envelope), _)| accepted.add(envelope));
        }
        if let Some(item) = failed.iter().find(|item| item.is_transient()) {
            return Err(response.error_with(ErrorKind::Transient, self.reason(item)));
        }
        if failed.len() == batch.len() {
            // Without an accepted event, the fault may be the request's rather than the events'.
            return Err(SinkError::permanent(self.reason(&failed[0])));
        }
        let rejected = failed
            .iter()
            .map(|item| Rejected { index: remaining[item.index].0, reason: self.reason(item) });
        Ok(Receipt { rejected: rejected.collect(), refused: None })
    }

    fn reason(&self, item: &FailedItem) -> String {
        let destination = &self.settings.destination;
        let excerpt = destination.excerpt(&item.detail);
        let excerpt = if excerpt.is_empty() { excerpt } else { format!(": {excerpt}") };
        format!("{} responded with {} for this event{excerpt}", destination.origin(), item.status)
    }

    /// Sends each event in its own request, one after the other.
    async fn deliver_one_by_one(
        &self,
        batch: &Batch,
        remaining: &[IndexedEvent<'_>],
    ) -> Result<Receipt, SinkError> {
        let mut any_accepted = remaining.len() < batch.len();
        let mut rejected = Vec::new();
        for (index, envelope) in remaining {
            let response = self.send(self.request(&[*envelope]).await?).await?;
            let error = match classify(response.status.as_u16()) {
                StatusClass::Accepted => None,
                StatusClass::Failed(kind) => Some(response.error(kind, &self.settings.destination)),
                // A 207 is a success unless its body says otherwise.
                StatusClass::PerItem => items::parse(&response.body, 1)
                    .ok()
                    .and_then(|failed| failed.into_iter().next())
                    .map(|item| {
                        let kind = if item.is_transient() {
                            ErrorKind::Transient
                        } else {
                            ErrorKind::Permanent
                        };
                        response.error_with(kind, self.reason(&item))
                    }),
            };
            match error {
                None => {
                    lock(&self.accepted).add(envelope);
                    any_accepted = true;
                }
                // The event is at fault only if the destination accepts others.
                Some(error) if error.kind == ErrorKind::Permanent && any_accepted => {
                    rejected.push(Rejected { index: *index, reason: error.report() });
                }
                Some(error) => return Err(error),
            }
        }
        Ok(Receipt { rejected, refused: None })
    }
}

#[async_trait]
impl EventSink for HttpSink {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let remaining = lock(&self.accepted).remaining(batch);
        let receipt = match remaining.as_slice() {
            [] => Receipt::accepted(),
            events if self.settings.body.is_single() => {
                self.deliver_one_by_one(batch, events).await?
            }
            events => self.deliver_together(batch, events).await?,
        };
        lock(&self.accepted).forget(batch);
        Ok(receipt)
    }

    /// Does nothing: events are durable when the destination has responded.
    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        let client = self.new_client().await?;
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
            self.send(client.request(method.clone(), url.clone()).headers(headers)).await?;
        let kind = match response.status.as_u16() {
            401 if !signing_keys.is_empty() => return Ok(()),
            300..=399 | 401 | 404 | 407 | 410 => ErrorKind::Blocked,
            // The destination does not implement the method.
            501 => return Ok(()),
            429 | 500.. => ErrorKind::Transient,
            _ => return Ok(()),
        };
        let description = response.describe(destination);
        let reason = format!(
            "{description} (checked with {method}; see `check` if events receive another response)"
        );
        Err(response.error_with(kind, reason))
    }

    async fn close(&self) -> Result<(), SinkError> {
        *lock(&self.client) = None;
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds this lock")
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
