//! What an answer means.

use std::time::Duration;

use observer_core::{ErrorKind, SinkError, Timestamp};
use observer_http_client::{Destination, origin, retry_after};
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

/// What is read of an answer that people see.
const MAX_BODY: usize = 8 << 10;
/// What is read of an answer that says what became of each event.
const MAX_ITEMS_BODY: usize = 16 << 20;
/// How long the rest of an answer is waited for whose meaning is clear without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A status, as far as it decides what becomes of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// 207: each event has its own.
    PerItem,
    Failed(ErrorKind),
}

pub(crate) fn judge(status: u16) -> Verdict {
    match status {
        207 => Verdict::PerItem,
        200..=299 => Verdict::Accepted,
        408 | 425 | 429 | 500.. => Verdict::Failed(ErrorKind::Transient),
        // 413 among them: half of a batch may be small enough.
        400 | 413 | 422 => Verdict::Failed(ErrorKind::Permanent),
        _ => Verdict::Failed(ErrorKind::Blocked),
    }
}

/// An answer as far as it was read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    url: Url,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// # Errors
    /// The answer breaks off before its meaning is clear.
    pub(crate) async fn read(mut response: Response) -> Result<Self, reqwest::Error> {
        let (status, headers, url) =
            (response.status(), response.headers().clone(), response.url().clone());
        let mut body = Vec::new();
        if judge(status.as_u16()) == Verdict::PerItem {
            read(&mut response, &mut body, MAX_ITEMS_BODY).await?;
        } else {
            // A success is one, and a refusal too, however it goes on. It is read so that the
            // connection can be used again.
            let _ = tokio::time::timeout(PATIENCE, read(&mut response, &mut body, MAX_BODY)).await;
        }
        Ok(Self { status, headers, url, body })
    }

    /// The error that an answer stands for which is no success.
    pub(crate) fn error(&self, kind: ErrorKind, shown: &Destination) -> SinkError {
        self.error_of(kind, self.told(shown))
    }

    /// The same for another reason than its status.
    pub(crate) fn error_of(&self, kind: ErrorKind, reason: String) -> SinkError {
        let retry_after =
            retry_after(&self.headers, Timestamp::now()).filter(|_| kind == ErrorKind::Transient);
        SinkError { kind, retry_after, source: reason.into() }
    }

    /// For people: who answered what, and what to do.
    pub(crate) fn told(&self, shown: &Destination) -> String {
        let code = self.status.as_u16();
        let name =
            self.status.canonical_reason().map(|name| format!(" {name}")).unwrap_or_default();
        let said = shown.excerpt(&words(&self.body));
        let said = if said.is_empty() { said } else { format!(": {said}") };
        let hint = match code {
            300..=399 => self.redirect_hint(shown),
            401 | 403 => "; see `auth`".to_owned(),
            404 | 410 => "; see `url`".to_owned(),
            405 => "; see `method` and `url`".to_owned(),
            407 => "; the proxy wants to know who asks".to_owned(),
            413 => "; see `batch`".to_owned(),
            415 => "; see `body` and `compression`".to_owned(),
            429 => "; with larger batches it is asked less often, see `batch`".to_owned(),
            500.. => "; its own log may say more".to_owned(),
            _ => String::new(),
        };
        format!("{} answered {code}{name}{said}{hint}", shown.origin())
    }

    fn redirect_hint(&self, shown: &Destination) -> String {
        let location = self.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        match location.and_then(|location| self.url.join(location).ok()).map(|to| origin(&to)) {
            Some(to) if to != shown.origin() => format!("; it has moved to {to}, see `url`"),
            _ => "; it has moved, see `url` and `redirects`".to_owned(),
        }
    }
}

async fn read(
    response: &mut Response,
    body: &mut Vec<u8>,
    most: usize,
) -> Result<(), reqwest::Error> {
    while let Some(chunk) = response.chunk().await? {
        let room = most - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == most {
            break;
        }
    }
    Ok(())
}

/// Where APIs say to people what is wrong: RFC 9457 first, then what others do.
#[derive(Default, Deserialize)]
struct Problem {
    detail: Option<String>,
    message: Option<String>,
    title: Option<String>,
}

fn words(body: &[u8]) -> String {
    let Problem { detail, message, title } = serde_json::from_slice(body).unwrap_or_default();
    detail.or(message).or(title).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_meaning() {
        use ErrorKind::{Blocked, Permanent, Transient};
        let expected = |status| match status {
            207 => Verdict::PerItem,
            200..300 => Verdict::Accepted,
            408 | 425 | 429 => Verdict::Failed(Transient),
            400 | 413 | 422 => Verdict::Failed(Permanent),
            500..600 => Verdict::Failed(Transient),
            _ => Verdict::Failed(Blocked),
        };
        for status in 200..600 {
            assert_eq!(judge(status), expected(status), "{status}");
        }
    }

    #[test]
    fn the_words_of_an_answer_are_found() {
        for (body, expected) in [
            (r#"{"type":"about:blank","title":"Bad","detail":"no `ok`"}"#, "no `ok`"),
            (r#"{"message":"Not Found"}"#, "Not Found"),
            (r#"{"title":"Bad"}"#, "Bad"),
            (r#"{"error":7}"#, r#"{"error":7}"#),
            ("plain", "plain"),
        ] {
            assert_eq!(words(body.as_bytes()), expected);
        }
    }
}
