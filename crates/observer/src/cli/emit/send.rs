//! Events over HTTP, again and again until there is an answer.

use std::time::Duration;

use humantime::format_duration;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use tokio::time::{self, Instant};

use super::batch::{Item, ndjson};
use super::screen::Screen;
use crate::cli::connect::{ConnectArgs, tls, why};

/// For one attempt, from connecting to the end of the answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause that is of our own choice.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The most of an answer that is read, in bytes. An observer's are shorter, even with a reason for
/// each event of a batch.
const MAX_ANSWER: usize = 1 << 20;

/// The most of an answer's text that is shown, in characters.
const MAX_DETAIL: usize = 300;

/// What the observer said about an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    Duplicate,
    Refused(Refusal),
}

/// What the observer said about a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BatchAnswer {
    /// About each event: those that are refused, by their position from 0, and how many are stored.
    Told { accepted: u64, duplicate: u64, refused: Vec<(usize, Refusal)> },
    /// About the batch as a whole; nothing is stored.
    Refused(Refusal),
    /// It doesn't know what a batch is.
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) detail: String,
}

/// Why no event can be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("{url} can't be reached (given up after {}): {reason}", format_duration(*tried))]
    Unreachable { url: String, tried: Duration, reason: String },
    #[error("{url} can't be reached: {reason}")]
    NoTls { url: String, reason: String },
    #[error("{url} takes no events at the moment (given up after {}): {status} {detail}", format_duration(*tried))]
    Unavailable { url: String, tried: Duration, status: u16, detail: String },
    #[error("{url} takes no events: {status} {detail}")]
    Closed { url: String, status: u16, detail: String },
    #[error("{url} does not answer like an observer: {detail}")]
    Stranger { url: String, detail: String },
}

/// A connection to one observer.
pub(super) struct Sender {
    http: Client,
    /// For one event.
    url: Url,
    /// For a batch.
    batch_url: Url,
    retry_for: Duration,
}

impl Sender {
    pub(super) fn new(to: ConnectArgs, retry_for: Duration) -> anyhow::Result<Self> {
        let http = to.client()?.timeout(ATTEMPT_TIMEOUT);
        let url = to.url;
        let batch_url = url.join("v1/events").expect("a path can follow the address of a host");
        Ok(Self { http: http.build()?, url, batch_url, retry_for })
    }

    /// Send one event, again while it can't be taken.
    ///
    /// `place` is what to call it where the person should know that it takes longer.
    pub(super) async fn send(
        &self,
        item: &Item,
        place: &str,
        screen: &mut impl Screen,
    ) -> Result<Answer, SendError> {
        let request = self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        let request = match item.id {
            Some(id) => request.header("idempotency-key", id.to_string()),
            None => request,
        };
        let (status, body) =
            self.answered(&self.url, request.body(item.event.clone()), place, screen).await?;
        if status == StatusCode::OK {
            match serde_json::from_slice(&body) {
                Ok(Stored { status: Outcome::Accepted }) => return Ok(Answer::Accepted),
                Ok(Stored { status: Outcome::Duplicate }) => return Ok(Answer::Duplicate),
                Err(_) => {}
            }
        }
        refusal(&self.url, status, &body).map(Answer::Refused)
    }

    /// Send a batch, again while it can't be taken; `place` as for one event.
    pub(super) async fn send_batch(
        &self,
        items: &[Item],
        place: &str,
        screen: &mut impl Screen,
    ) -> Result<BatchAnswer, SendError> {
        let request =
            self.http.post(self.batch_url.clone()).header(CONTENT_TYPE, "application/x-ndjson");
        let (status, body) =
            self.answered(&self.batch_url, request.body(ndjson(items)), place, screen).await?;
        match status.as_u16() {
            404 | 405 => return Ok(BatchAnswer::Unknown),
            200 | 207 | 422 => {
                if let Some(told) = serde_json::from_slice(&body)
                    .ok()
                    .and_then(|told: Told| told.about(items.len()))
                {
                    return Ok(told);
                }
            }
            _ => {}
        }
        refusal(&self.batch_url, status, &body).map(BatchAnswer::Refused)
    }

    /// The answer to a request that is repeated while none or no lasting one comes.
    async fn answered(
        &self,
        url: &Url,
        request: RequestBuilder,
        place: &str,
        screen: &mut impl Screen,
    ) -> Result<(StatusCode, Vec<u8>), SendError> {
        let mut first_failure = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let request = request.try_clone().expect("the body is in memory");
            let (failed, retry_after) = match attempt(request).await {
                Attempt::Answered(status, body) => return Ok((status, body)),
                Attempt::NoTls(reason) => {
                    return Err(SendError::NoTls { url: url.to_string(), reason });
                }
                Attempt::Failed(failed, retry_after) => (failed, retry_after),
            };
            if first_failure.is_none() && !self.retry_for.is_zero() {
                screen.note(&format!(
                    "{place}: {failed}; trying again for {}",
                    format_duration(self.retry_for)
                ));
            }
            let left = self
                .retry_for
                .saturating_sub(first_failure.get_or_insert_with(Instant::now).elapsed());
            if left.is_zero() {
                return Err(failed.given_up(url, self.retry_for));
            }
            time::sleep(retry_after.unwrap_or(pause).max(FIRST_PAUSE).min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

async fn attempt(request: RequestBuilder) -> Attempt {
    let mut answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return Attempt::unreachable(&error),
    };
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() < MAX_ANSWER => body.extend_from_slice(&chunk),
            Ok(_) => break,
            Err(error) => return Attempt::unreachable(&error),
        }
    }
    let status = answer.status();
    match status.as_u16() {
        code @ (408 | 425 | 429 | 502..=504) => Attempt::Failed(
            Failure::Unavailable(code, detail(status, &body)),
            retry_after(answer.headers()),
        ),
        _ => Attempt::Answered(status, body),
    }
}

/// What an answer that is no success says.
fn refusal(url: &Url, status: StatusCode, body: &[u8]) -> Result<Refusal, SendError> {
    let (url, code, detail) = (url.to_string(), status.as_u16(), detail(status, body));
    match code {
        200 | 207 => Err(SendError::Stranger { url, detail }),
        400 | 413 | 415 | 422 | 500 => Ok(Refusal { status: code, detail }),
        // Whatever else it is, it would say the same of every event.
        _ => Err(SendError::Closed { url, status: code, detail }),
    }
}

/// What one attempt came to.
enum Attempt {
    Answered(StatusCode, Vec<u8>),
    NoTls(String),
    Failed(Failure, Option<Duration>),
}

/// What may be better in a moment.
enum Failure {
    Unreachable(String),
    Unavailable(u16, String),
}

impl Attempt {
    fn unreachable(error: &reqwest::Error) -> Self {
        if let Some(reason) = tls::explain(error) {
            return Self::NoTls(reason);
        }
        Self::Failed(Failure::Unreachable(why(error)), None)
    }
}

impl Failure {
    fn given_up(self, url: &Url, tried: Duration) -> SendError {
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
            Self::Unreachable(reason) => write!(f, "no answer ({reason})"),
            Self::Unavailable(status, detail) => write!(f, "{status} {detail}"),
        }
    }
}

#[derive(Deserialize)]
struct Stored {
    status: Outcome,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Accepted,
    Duplicate,
}

/// What became of a batch. Where all of it is refused, the errors are all there is.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    accepted: u64,
    #[serde(default)]
    duplicates: u64,
    errors: Vec<ItemError>,
}

#[derive(Deserialize)]
struct ItemError {
    index: usize,
    status: u16,
    detail: String,
}

impl Told {
    /// `None` if it isn't about this many events.
    fn about(self, events: usize) -> Option<BatchAnswer> {
        let Self { accepted, duplicates: duplicate, errors } = self;
        let refused: Vec<_> = errors
            .into_iter()
            .map(|ItemError { index, status, detail }| {
                (index, Refusal { status, detail: one_line(&detail) })
            })
            .collect();
        let all = accepted.checked_add(duplicate)?.checked_add(refused.len() as u64)?;
        let fits = all == events as u64 && refused.iter().all(|(index, _)| *index < events);
        fits.then_some(BatchAnswer::Told { accepted, duplicate, refused })
    }
}

/// RFC 9457.
#[derive(Default, Deserialize)]
struct ProblemDetails {
    title: Option<String>,
    detail: Option<String>,
}

/// What an answer says to a person.
pub(in crate::cli) fn detail(status: StatusCode, body: &[u8]) -> String {
    let ProblemDetails { title, detail } = serde_json::from_slice(body).unwrap_or_default();
    let text = detail.or(title).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let line = one_line(&text);
    if line.is_empty() {
        status.canonical_reason().unwrap_or("without a word").to_owned()
    } else {
        line
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_DETAIL).collect()
}

/// In seconds (RFC 9110, section 10.2.3); a date is left to our own pauses.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
