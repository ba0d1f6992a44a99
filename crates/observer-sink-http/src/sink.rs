//! The sink: requests, and what their answers come to.

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

use crate::accepted::Accepted;
use crate::answer::{Answer, Verdict, judge};
use crate::config::{Check, Compression, HttpConfig};
use crate::items::{self, BadItem};
use crate::settings::Settings;
use crate::{client, encode, sign};

/// To pack what is larger takes milliseconds, which the threads of a runtime have no time for.
const PACKED_IN_PLACE: usize = 16 << 10;

/// Events as HTTP requests.
pub struct HttpSink {
    settings: Arc<Settings>,
    client: Mutex<Option<Client>>,
    accepted: Mutex<Accepted>,
}

/// An event that is to be sent, with its place in the batch.
type Placed<'a> = (usize, &'a Arc<Envelope>);

impl HttpSink {
    /// Check the configuration. Files are first read, and the first connection is made, when they
    /// are needed.
    ///
    /// # Errors
    /// What in the configuration can't be.
    pub fn new(config: &HttpConfig) -> Result<Self, BuildError> {
        let settings = Arc::new(Settings::of(config)?);
        Ok(Self { settings, client: Mutex::default(), accepted: Mutex::default() })
    }

    async fn client(&self) -> Result<Client, SinkError> {
        let client = locked(&self.client).clone();
        match client {
            Some(client) => Ok(client),
            None => self.new_client().await,
        }
    }

    /// With what is in the files of `tls` now.
    async fn new_client(&self) -> Result<Client, SinkError> {
        let settings = self.settings.clone();
        let client = run_blocking(move || client::build(&settings)).await??;
        *locked(&self.client) = Some(client.clone());
        Ok(client)
    }

    async fn request(&self, events: &[&Arc<Envelope>]) -> Result<RequestBuilder, SinkError> {
        let Settings {
            url,
            method,
            headers,
            templates,
            compression,
            keys,
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
        let body = pack(*compression, encode::encode(self.settings.body, events)).await?;
        // What is signed is what is sent: the far side need not unpack what it can't trust yet.
        if !keys.is_empty() {
            let timestamp = Timestamp::now().as_second();
            let signatures = sign::signatures(keys, &id, timestamp, &body);
            request = request
                .header("webhook-timestamp", timestamp)
                .header("webhook-signature", signatures);
        }
        Ok(request.header("webhook-id", id).body(Bytes::from(body)))
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Answer, SinkError> {
        let failed = |error: reqwest::Error| transport_error(&error, &self.settings.shown);
        Answer::read(request.send().await.map_err(failed)?).await.map_err(failed)
    }

    /// All events in one request.
    async fn deliver_together(
        &self,
        batch: &Batch,
        left: &[Placed<'_>],
    ) -> Result<Receipt, SinkError> {
        let events: Vec<_> = left.iter().map(|(_, envelope)| *envelope).collect();
        let answer = self.ask(self.request(&events).await?).await?;
        let shown = &self.settings.shown;
        let bad = match judge(answer.status.as_u16()) {
            Verdict::Accepted => return Ok(Receipt::accepted()),
            Verdict::Failed(kind) => return Err(answer.error(kind, shown)),
            Verdict::PerItem => items::read(&answer.body, left.len()).map_err(|problem| {
                SinkError::blocked(format!(
                    "{}, which can't be understood: {problem}",
                    answer.told(shown)
                ))
            })?,
        };
        let mut is_bad = vec![false; left.len()];
        bad.iter().for_each(|item| is_bad[item.index] = true);
        {
            let mut accepted = locked(&self.accepted);
            left.iter()
                .zip(is_bad)
                .filter(|(_, is_bad)| !is_bad)
                .for_each(|((_, envelope), _)| accepted.add(envelope));
        }
        if let Some(item) = bad.iter().find(|item| item.may_work_later()) {
            return Err(answer.error_of(ErrorKind::Transient, self.reason(item)));
        }
        if bad.len() == batch.len() {
            // None of them speaks for the others.
            return Err(SinkError::permanent(self.reason(&bad[0])));
        }
        let rejected = bad
            .iter()
            .map(|item| Rejected { index: left[item.index].0, reason: self.reason(item) });
        Ok(Receipt { rejected: rejected.collect(), refused: None })
    }

    fn reason(&self, item: &BadItem) -> String {
        let shown = &self.settings.shown;
        let said = shown.excerpt(&item.said);
        let said = if said.is_empty() { said } else { format!(": {said}") };
        format!("{} answered {} for this event{said}", shown.origin(), item.status)
    }

    /// Each event in a request of its own, one after the other.
    async fn deliver_singly(
        &self,
        batch: &Batch,
        left: &[Placed<'_>],
    ) -> Result<Receipt, SinkError> {
        let mut one_was_accepted = left.len() < batch.len();
        let mut rejected = Vec::new();
        for (index, envelope) in left {
            let answer = self.ask(self.request(&[*envelope]).await?).await?;
            let error = match judge(answer.status.as_u16()) {
                Verdict::Accepted => None,
                Verdict::Failed(kind) => Some(answer.error(kind, &self.settings.shown)),
                // What isn't understood of it takes nothing from its being a success.
                Verdict::PerItem => items::read(&answer.body, 1)
                    .ok()
                    .and_then(|bad| bad.into_iter().next())
                    .map(|item| {
                        let kind = if item.may_work_later() {
                            ErrorKind::Transient
                        } else {
                            ErrorKind::Permanent
                        };
                        answer.error_of(kind, self.reason(&item))
                    }),
            };
            match error {
                None => {
                    locked(&self.accepted).add(envelope);
                    one_was_accepted = true;
                }
                // It is the event's own fault only if the far side takes others.
                Some(error) if error.kind == ErrorKind::Permanent && one_was_accepted => {
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
        let left = locked(&self.accepted).left_of(batch);
        let receipt = match left.as_slice() {
            [] => Receipt::accepted(),
            left if self.settings.body.is_single() => self.deliver_singly(batch, left).await?,
            left => self.deliver_together(batch, left).await?,
        };
        locked(&self.accepted).forget(batch);
        Ok(receipt)
    }

    /// What the far side answered is all there is to know.
    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        let client = self.new_client().await?;
        let Settings { url, headers, keys, check, shown, .. } = &*self.settings;
        let method = match check {
            Check::Options => Method::OPTIONS,
            Check::Head => Method::HEAD,
            Check::Get => Method::GET,
            Check::Off => return Ok(()),
        };
        let mut headers = headers.clone();
        headers.remove(CONTENT_TYPE);
        headers.remove(CONTENT_ENCODING);
        let answer = self.ask(client.request(method.clone(), url.clone()).headers(headers)).await?;
        let kind = match answer.status.as_u16() {
            401 if !keys.is_empty() => return Ok(()),
            300..=399 | 401 | 404 | 407 | 410 => ErrorKind::Blocked,
            // It doesn't know the method.
            501 => return Ok(()),
            429 | 500.. => ErrorKind::Transient,
            _ => return Ok(()),
        };
        let told = answer.told(shown);
        let told =
            format!("{told} (asked with {method}; see `check` if it answers events otherwise)");
        Err(answer.error_of(kind, told))
    }

    async fn close(&self) -> Result<(), SinkError> {
        *locked(&self.client) = None;
        Ok(())
    }
}

async fn pack(compression: Compression, body: Vec<u8>) -> Result<Vec<u8>, SinkError> {
    let packed = match compression {
        Compression::None => return Ok(body),
        _ if body.len() <= PACKED_IN_PLACE => encode::compress(compression, body),
        _ => run_blocking(move || encode::compress(compression, body)).await?,
    };
    packed.map_err(SinkError::transient)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this lock")
}

impl fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSink")
            .field("origin", &self.settings.shown.origin())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
