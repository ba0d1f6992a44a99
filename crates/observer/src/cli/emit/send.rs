//! HTTP requests with retries.

use std::collections::BTreeSet;
use std::time::Duration;

use humantime::format_duration;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use tokio::time::{self, Instant};

use super::batch::{Item, ndjson};
use super::progress::Reporter;
use crate::cli::connect::error::{detail, one_line, root_cause};
use crate::cli::connect::{ConnectArgs, tls};

/// Timeout of one attempt, from connecting to the end of the response.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Back-off after the first failure; it doubles with each further one.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);

/// Maximum back-off, unless the observer sends a longer Retry-After.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Limit of the response body that is read, in bytes. A response of an observer is shorter, even
/// with a reason for each event of a batch.
const MAX_RESPONSE: usize = 1 << 20;

/// Response to an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Response {
    Accepted(Warnings),
    Duplicate(Warnings),
    Rejected(Rejection),
}

/// Response to a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BatchResponse {
    /// Result by event: the numbers of stored events, the rejected ones by index from 0, and the
    /// warnings about the stored ones.
    Items { accepted: u64, duplicate: u64, rejected: Vec<(usize, Rejection)>, warnings: Warnings },
    /// Rejection of the whole batch; no event is stored.
    Rejected(Rejection),
    /// The observer has no batch endpoint.
    Unsupported,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) status: u16,
    pub(super) detail: String,
}

/// Warnings about fields of stored events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Warnings {
    /// Number of all warnings.
    pub(super) total: u64,
    /// The first ones, each with the index of its event from 0.
    pub(super) first: Vec<(usize, Warning)>,
}

impl Warnings {
    /// Returns the warnings without those about generated ids that the observer does not adopt.
    /// `generated` has the indices of the stored events with such an id.
    pub(super) fn without_generated_ids(mut self, generated: impl Iterator<Item = usize>) -> Self {
        let generated: BTreeSet<_> = generated.collect();
        let count = self.first.len();
        self.first.retain(|(index, warning)| {
            let is_about_id = warning.field == "id" && warning.detail.contains("`relay`");
            !(is_about_id && generated.contains(index))
        });
        if self.first.len() < count {
            self.total = self.total.saturating_sub(generated.len() as u64);
        }
        self
    }
}

/// Warning about a field of a stored event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Warning {
    pub(super) field: String,
    pub(super) detail: String,
}

/// Error that concerns every event.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("{url} is unreachable (gave up after {}): {reason}", format_duration(*tried))]
    Unreachable { url: String, tried: Duration, reason: String },
    #[error("TLS handshake with {url} failed: {reason}")]
    Tls { url: String, reason: String },
    #[error(
        "{url} is unavailable (gave up after {}): {status} {detail}",
        format_duration(*tried)
    )]
    Unavailable { url: String, tried: Duration, status: u16, detail: String },
    #[error("{url} accepts no events: {status} {detail}")]
    Denied { url: String, status: u16, detail: String },
    #[error("{url} is not an observer: unexpected response: {detail}")]
    NotAnObserver { url: String, detail: String },
}

/// Client that sends events to one observer.
pub(super) struct Sender {
    http: Client,
    /// URL for a single event.
    url: Url,
    /// URL for a batch.
    batch_url: Url,
    retry_for: Duration,
}

impl Sender {
    /// Creates a client for the URL of `POST /event`.
    pub(super) fn new(
        url: Url,
        connect: &ConnectArgs,
        retry_for: Duration,
    ) -> anyhow::Result<Self> {
        let http = connect.client(&url)?.timeout(ATTEMPT_TIMEOUT);
        let batch_url = url.join("v1/events").expect("an http URL can be a base");
        Ok(Self { http: http.build()?, url, batch_url, retry_for })
    }

    /// Sends one event and retries while the observer is unreachable or unavailable.
    ///
    /// `location` names the event in the message about a retry.
    pub(super) async fn send(
        &self,
        item: &Item,
        location: &str,
        reporter: &mut impl Reporter,
    ) -> Result<Response, SendError> {
        let request = self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        let request = match item.id {
            Some(id) => request.header("idempotency-key", id.to_string()),
            None => request,
        };
        let (status, body) =
            self.retry(&self.url, request.body(item.event.clone()), location, reporter).await?;
        if status == StatusCode::OK
            && let Ok(Stored { status, warnings }) = serde_json::from_slice(&body)
        {
            let first = warnings.into_iter().map(|warning| (0, warning));
            let warnings = Warnings::new(first, None);
            return Ok(match status {
                Outcome::Accepted => Response::Accepted(warnings),
                Outcome::Duplicate => Response::Duplicate(warnings),
            });
        }
        rejection(&self.url, status, &body).map(Response::Rejected)
    }

    /// Sends a batch and retries like [`send`](Self::send).
    pub(super) async fn send_batch(
        &self,
        items: &[Item],
        location: &str,
        reporter: &mut impl Reporter,
    ) -> Result<BatchResponse, SendError> {
        let request =
            self.http.post(self.batch_url.clone()).header(CONTENT_TYPE, "application/x-ndjson");
        let (status, body) =
            self.retry(&self.batch_url, request.body(ndjson(items)), location, reporter).await?;
        match status.as_u16() {
            404 | 405 => return Ok(BatchResponse::Unsupported),
            200 | 207 | 422 => {
                let response = serde_json::from_slice(&body)
                    .ok()
                    .and_then(|summary: BatchSummary| summary.into_response(items.len()));
                if let Some(response) = response {
                    return Ok(response);
                }
            }
            _ => {}
        }
        rejection(&self.batch_url, status, &body).map(BatchResponse::Rejected)
    }

    /// Repeats a request until its response is final.
    async fn retry(
        &self,
        url: &Url,
        request: RequestBuilder,
        location: &str,
        reporter: &mut impl Reporter,
    ) -> Result<(StatusCode, Vec<u8>), SendError> {
        let mut first_failure = None;
        let mut backoff = INITIAL_BACKOFF;
        loop {
            let request = request.try_clone().expect("the body is in memory");
            let (failure, retry_after) = match attempt(request).await {
                Attempt::Final(status, body) => return Ok((status, body)),
                Attempt::TlsFailed(reason) => {
                    return Err(SendError::Tls { url: url.to_string(), reason });
                }
                Attempt::Failed(failure, retry_after) => (failure, retry_after),
            };
            if first_failure.is_none() && !self.retry_for.is_zero() {
                reporter.message(&format!(
                    "{location}: {failure}; retrying for {}",
                    format_duration(self.retry_for)
                ));
            }
            let remaining = self
                .retry_for
                .saturating_sub(first_failure.get_or_insert_with(Instant::now).elapsed());
            if remaining.is_zero() {
                return Err(failure.into_error(url, self.retry_for));
            }
            time::sleep(retry_after.unwrap_or(backoff).max(INITIAL_BACKOFF).min(remaining)).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }
}

async fn attempt(request: RequestBuilder) -> Attempt {
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Attempt::unreachable(&error),
    };
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() < MAX_RESPONSE => body.extend_from_slice(&chunk),
            Ok(_) => break,
            Err(error) => return Attempt::unreachable(&error),
        }
    }
    let status = response.status();
    match status.as_u16() {
        code @ (408 | 425 | 429 | 502..=504) => Attempt::Failed(
            Failure::Unavailable(code, detail(status, &body)),
            retry_after(response.headers()),
        ),
        _ => Attempt::Final(status, body),
    }
}

/// Returns the rejection that a response states.
///
/// # Errors
/// If the response concerns every event.
fn rejection(url: &Url, status: StatusCode, body: &[u8]) -> Result<Rejection, SendError> {
    let (url, code, detail) = (url.to_string(), status.as_u16(), detail(status, body));
    match code {
        200 | 207 => Err(SendError::NotAnObserver { url, detail }),
        400 | 413 | 415 | 422 | 500 => Ok(Rejection { status: code, detail }),
        // Any other status would be the same for every event.
        _ => Err(SendError::Denied { url, status: code, detail }),
    }
}

/// Result of one attempt.
enum Attempt {
    /// Response that a retry would not change.
    Final(StatusCode, Vec<u8>),
    TlsFailed(String),
    /// Transient failure, with the delay of Retry-After.
    Failed(Failure, Option<Duration>),
}

/// Transient failure.
enum Failure {
    Unreachable(String),
    Unavailable(u16, String),
}

impl Attempt {
    fn unreachable(error: &reqwest::Error) -> Self {
        if let Some(reason) = tls::explain(error) {
            return Self::TlsFailed(reason);
        }
        Self::Failed(Failure::Unreachable(root_cause(error)), None)
    }
}

impl Failure {
    fn into_error(self, url: &Url, tried: Duration) -> SendError {
        let url = url.to_string();
        match self {
            Self::Unreachable(reason) => SendError::Unreachable { url, tried, reason },
            Self::Unavailable(status, detail) => {
                SendError::Unavailable { url, tried, status, detail }
            }
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(reason) => write!(f, "no response ({reason})"),
            Self::Unavailable(status, detail) => write!(f, "{status} {detail}"),
        }
    }
}

#[derive(Deserialize)]
struct Stored {
    status: Outcome,
    #[serde(default)]
    warnings: Vec<Warning>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Accepted,
    Duplicate,
}

/// Body of a response to a batch. If every event is rejected, it holds only the errors.
#[derive(Deserialize)]
struct BatchSummary {
    #[serde(default)]
    accepted: u64,
    #[serde(default)]
    duplicates: u64,
    errors: Vec<ItemError>,
    #[serde(default)]
    warnings: Vec<ItemWarning>,
    /// Number of all warnings, if `warnings` has only a part of them.
    warnings_total: Option<u64>,
}

#[derive(Deserialize)]
struct ItemError {
    index: usize,
    status: u16,
    detail: String,
}

#[derive(Deserialize)]
struct ItemWarning {
    index: usize,
    #[serde(flatten)]
    warning: Warning,
}

impl Warnings {
    fn new(first: impl Iterator<Item = (usize, Warning)>, total: Option<u64>) -> Self {
        let in_one_line = |(index, Warning { field, detail })| {
            (index, Warning { field: one_line(&field), detail: one_line(&detail) })
        };
        let first: Vec<_> = first.map(in_one_line).collect();
        let total = total.unwrap_or_default().max(first.len() as u64);
        Self { total, first }
    }
}

impl BatchSummary {
    /// Returns the response, or `None` if it doesn't cover exactly `events` events.
    fn into_response(self, events: usize) -> Option<BatchResponse> {
        let Self { accepted, duplicates: duplicate, errors, warnings, warnings_total } = self;
        let rejected: Vec<_> = errors
            .into_iter()
            .map(|ItemError { index, status, detail }| {
                (index, Rejection { status, detail: one_line(&detail) })
            })
            .collect();
        let total = accepted.checked_add(duplicate)?.checked_add(rejected.len() as u64)?;
        let warnings = warnings.into_iter().map(|item| (item.index, item.warning));
        let warnings = Warnings::new(warnings, warnings_total);
        let is_consistent = total == events as u64
            && rejected.iter().all(|(index, _)| *index < events)
            && warnings.first.iter().all(|(index, _)| *index < events);
        is_consistent.then_some(BatchResponse::Items { accepted, duplicate, rejected, warnings })
    }
}

/// Returns the delay of Retry-After in seconds (RFC 9110, section 10.2.3). A date is ignored, and
/// the back-off applies.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
