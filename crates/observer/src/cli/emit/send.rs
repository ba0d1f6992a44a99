//! One event over HTTP, again and again until it is answered.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use humantime::format_duration;
use observer_core::{Submission, Uuid};
use observer_pipeline::identity::{Identity, Origin};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url, redirect};
use serde::Deserialize;
use tokio::time::{self, Instant};

use super::screen::Screen;

/// For one attempt, from connecting to the end of the answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause that is of our own choice.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The most of an answer that is read, in bytes. An observer's are far shorter.
const MAX_ANSWER: usize = 1 << 16;

/// The most of an answer's text that is shown, in characters.
const MAX_DETAIL: usize = 300;

/// What the observer said about an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    Duplicate,
    Refused { status: u16, detail: String },
}

/// Why no event can be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("{url} can't be reached (given up after {}): {reason}", format_duration(*tried))]
    Unreachable { url: String, tried: Duration, reason: String },
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
    url: Url,
    retry_for: Duration,
}

/// Where events go, given the observer's address.
pub(super) fn endpoint(base: &str) -> Result<Url, String> {
    let url: Url = format!("{}/event", base.trim_end_matches('/')).parse().map_err(|error| format!("{error}"))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err("not a URL that starts with http:// or https://".to_owned())
    }
}

impl Sender {
    pub(super) fn new(url: Url, retry_for: Duration) -> reqwest::Result<Self> {
        let http = Client::builder()
            .user_agent(concat!("observer/", env!("CARGO_PKG_VERSION")))
            .timeout(ATTEMPT_TIMEOUT)
            // Following a redirect would turn the POST into a GET.
            .redirect(redirect::Policy::none());
        let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let http = if is_local { http.no_proxy() } else { http };
        Ok(Self { http: http.build()?, url, retry_for })
    }

    /// Send one event, again while it can't be taken.
    ///
    /// `place` is what to call it where the person should know that it takes longer.
    pub(super) async fn send(&self, event: Bytes, place: &str, screen: &mut impl Screen) -> Result<Answer, SendError> {
        let key = (!has_identity(&event)).then(Uuid::now_v7);
        let mut first_failure = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let (failed, retry_after) = match self.attempt(&event, key).await? {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::Failed(failed, retry_after) => (failed, retry_after),
            };
            if first_failure.is_none() && !self.retry_for.is_zero() {
                screen.note(&format!("{place}: {failed}; trying again for {}", format_duration(self.retry_for)));
            }
            let left = self.retry_for.saturating_sub(first_failure.get_or_insert_with(Instant::now).elapsed());
            if left.is_zero() {
                return Err(failed.given_up(&self.url, self.retry_for));
            }
            time::sleep(retry_after.unwrap_or(pause).max(FIRST_PAUSE).min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self, event: &Bytes, key: Option<Uuid>) -> Result<Attempt, SendError> {
        let mut request = self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(event.clone());
        if let Some(key) = key {
            request = request.header("idempotency-key", key.to_string());
        }
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Ok(Attempt::unreachable(&error)),
        };
        let (status, retry_after) = (answer.status(), retry_after(answer.headers()));
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() < MAX_ANSWER => body.extend_from_slice(&chunk),
                Ok(_) => break,
                Err(error) => return Ok(Attempt::unreachable(&error)),
            }
        }
        self.judge(status, retry_after, &body)
    }

    fn judge(&self, status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Result<Attempt, SendError> {
        let code = status.as_u16();
        match code {
            200 => match serde_json::from_slice(body) {
                Ok(Stored { status: Outcome::Accepted }) => Ok(Attempt::Answered(Answer::Accepted)),
                Ok(Stored { status: Outcome::Duplicate }) => Ok(Attempt::Answered(Answer::Duplicate)),
                Err(_) => Err(SendError::Stranger { url: self.url.to_string(), detail: detail(status, body) }),
            },
            408 | 425 | 429 | 502..=504 => {
                Ok(Attempt::Failed(Failure::Unavailable(code, detail(status, body)), retry_after))
            }
            400 | 413 | 415 | 422 | 500 => {
                Ok(Attempt::Answered(Answer::Refused { status: code, detail: detail(status, body) }))
            }
            // Whatever else it is, it would say the same of every event.
            _ => Err(SendError::Closed { url: self.url.to_string(), status: code, detail: detail(status, body) }),
        }
    }
}

/// What one attempt came to.
enum Attempt {
    Answered(Answer),
    Failed(Failure, Option<Duration>),
}

/// What may be better in a moment.
enum Failure {
    Unreachable(String),
    Unavailable(u16, String),
}

impl Attempt {
    fn unreachable(error: &reqwest::Error) -> Self {
        let mut cause: &dyn Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Self::Failed(Failure::Unreachable(cause.to_string()), None)
    }
}

impl Failure {
    fn given_up(self, url: &Url, tried: Duration) -> SendError {
        let url = url.to_string();
        match self {
            Self::Unreachable(reason) => SendError::Unreachable { url, tried, reason },
            Self::Unavailable(status, detail) => SendError::Unavailable { url, tried, status, detail },
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

/// Whether the observer will know a repeat of this event for what it is. A key of ours would be a new identity, and so is
/// only for events that have none.
fn has_identity(event: &Bytes) -> bool {
    // What can't be read here is refused there, and so isn't stored twice.
    Submission::parse(event.clone())
        .map_or(true, |Submission { event, id }| Identity::of(&event, id, None).origin != Origin::None)
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

/// RFC 9457.
#[derive(Default, Deserialize)]
struct ProblemDetails {
    title: Option<String>,
    detail: Option<String>,
}

/// What an answer says to a person, in one line.
fn detail(status: StatusCode, body: &[u8]) -> String {
    let ProblemDetails { title, detail } = serde_json::from_slice(body).unwrap_or_default();
    let text = detail.or(title).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_DETAIL).collect();
    if line.is_empty() { status.canonical_reason().unwrap_or("without a word").to_owned() } else { line }
}

/// In seconds (RFC 9110, section 10.2.3); a date is left to our own pauses.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
