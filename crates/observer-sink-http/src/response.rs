//! Responses of the destination, and their meaning.

use std::time::Duration;

use observer_core::{ErrorKind, SinkError, Timestamp};
use observer_http_client::{
    BodyEnd, Destination, RESPONSE_PATIENCE, ResponseBody, origin, retry_after, transport_error,
};
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

/// Largest part of a body that is read for an error message, in bytes.
const MAX_BODY: usize = 8 << 10;
/// Largest body of a 207, which has a status for each event, in bytes.
const MAX_ITEMS_BODY: usize = 16 << 20;
/// Longest time to read the body of a 207.
const ITEMS_PATIENCE: Duration = Duration::from_secs(10);

/// Class of a status code, by its meaning for the events of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusClass {
    Accepted,
    /// 207: each event has its own status.
    PerItem,
    Failed(ErrorKind),
}

pub(crate) fn classify(status: u16) -> StatusClass {
    match status {
        207 => StatusClass::PerItem,
        200..=299 => StatusClass::Accepted,
        408 | 425 | 429 | 503 => StatusClass::Failed(ErrorKind::Transient),
        500.. => StatusClass::Failed(ErrorKind::Failed),
        400 | 422 => StatusClass::Failed(ErrorKind::Permanent),
        413 => StatusClass::Failed(ErrorKind::TooLarge),
        401 | 407 => StatusClass::Failed(ErrorKind::Unauthenticated),
        _ => StatusClass::Failed(ErrorKind::Denied),
    }
}

/// Response of the destination. The body may be truncated.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    url: Url,
    pub(crate) body: Vec<u8>,
    body_end: BodyEnd,
}

impl Response {
    /// Reads the body of a response. The status alone decides, except for a 207; another body that
    /// is large, incomplete or endless therefore changes nothing.
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let (status, headers, url) =
            (response.status(), response.headers().clone(), response.url().clone());
        let (max_bytes, patience) = match classify(status.as_u16()) {
            StatusClass::PerItem => (MAX_ITEMS_BODY, ITEMS_PATIENCE),
            _ => (MAX_BODY, RESPONSE_PATIENCE),
        };
        let ResponseBody { bytes, end, .. } =
            ResponseBody::read(response, max_bytes, patience).await;
        Self { status, headers, url, body: bytes, body_end: end }
    }

    pub(crate) fn class(&self) -> StatusClass {
        classify(self.status.as_u16())
    }

    /// Requires that the body was read to its end.
    ///
    /// # Errors
    /// If it was not, of kind [`Transient`](ErrorKind::Transient).
    pub(crate) fn require_complete_body(&self, destination: &Destination) -> Result<(), SinkError> {
        let problem = match &self.body_end {
            BodyEnd::Complete => return Ok(()),
            BodyEnd::Cut(error) => return Err(transport_error(error, destination)),
            BodyEnd::TooLarge => format!("is larger than {MAX_ITEMS_BODY} bytes"),
            BodyEnd::Late => format!("did not end within {ITEMS_PATIENCE:?}"),
        };
        Err(SinkError::transient(format!(
            "{} responded with {}, and the body {problem}",
            destination.origin(),
            self.status.as_u16()
        )))
    }

    /// Returns the error of a response that is not a success.
    pub(crate) fn error(&self, kind: ErrorKind, destination: &Destination) -> SinkError {
        self.error_with(kind, self.describe(destination))
    }

    /// Returns an error with another reason than the status.
    ///
    /// A `Retry-After` announces that the request may succeed later, whatever its status. After a
    /// redirect it has another meaning.
    pub(crate) fn error_with(&self, kind: ErrorKind, reason: String) -> SinkError {
        match retry_after(&self.headers, Timestamp::now()) {
            Some(delay) if !self.status.is_redirection() => {
                SinkError::transient(reason).with_retry_after(delay)
            }
            _ => SinkError::new(kind, reason),
        }
    }

    /// Returns the status, an excerpt of the body, and a hint for the operator.
    pub(crate) fn describe(&self, destination: &Destination) -> String {
        let code = self.status.as_u16();
        let name =
            self.status.canonical_reason().map(|name| format!(" {name}")).unwrap_or_default();
        let excerpt = destination.excerpt(&problem_text(&self.body));
        let excerpt = if excerpt.is_empty() { excerpt } else { format!(": {excerpt}") };
        let hint = match code {
            304 => {
                "; the destination took the request for a conditional one, see `headers`".to_owned()
            }
            300..=399 => self.redirect_hint(destination),
            401 | 403 => "; see `auth`".to_owned(),
            404 | 410 => "; see `url`".to_owned(),
            405 => "; see `method` and `url`".to_owned(),
            407 => "; the proxy requires credentials".to_owned(),
            413 => "; see `batch`".to_owned(),
            415 => "; see `body` and `compression`".to_owned(),
            429 => "; larger batches mean fewer requests, see `batch`".to_owned(),
            500.. => "; see the log of the destination".to_owned(),
            _ => String::new(),
        };
        format!("{} responded with {code}{name}{excerpt}{hint}", destination.origin())
    }

    fn redirect_hint(&self, destination: &Destination) -> String {
        let location = self.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        match location.and_then(|location| self.url.join(location).ok()).map(|to| origin(&to)) {
            Some(to) if to != destination.origin() => {
                format!("; the destination has moved to {to}, see `url`")
            }
            _ => "; the destination has moved, see `url` and `redirects`".to_owned(),
        }
    }
}

/// Members of a JSON body that describe an error: those of RFC 9457, and `message` of other APIs.
#[derive(Default, Deserialize)]
struct Problem {
    detail: Option<String>,
    message: Option<String>,
    title: Option<String>,
}

fn problem_text(body: &[u8]) -> String {
    let Problem { detail, message, title } = serde_json::from_slice(body).unwrap_or_default();
    detail.or(message).or(title).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_class() {
        use ErrorKind::{Denied, Failed, Permanent, TooLarge, Transient, Unauthenticated};
        let expected = |status| match status {
            207 => StatusClass::PerItem,
            200..300 => StatusClass::Accepted,
            408 | 425 | 429 | 503 => StatusClass::Failed(Transient),
            400 | 422 => StatusClass::Failed(Permanent),
            413 => StatusClass::Failed(TooLarge),
            500..600 => StatusClass::Failed(Failed),
            401 | 407 => StatusClass::Failed(Unauthenticated),
            _ => StatusClass::Failed(Denied),
        };
        for status in 200..600 {
            assert_eq!(classify(status), expected(status), "{status}");
        }
    }

    #[test]
    fn description_of_an_error_is_found_in_the_body() {
        for (body, expected) in [
            (r#"{"type":"about:blank","title":"Bad","detail":"no `ok`"}"#, "no `ok`"),
            (r#"{"message":"Not Found"}"#, "Not Found"),
            (r#"{"title":"Bad"}"#, "Bad"),
            (r#"{"error":7}"#, r#"{"error":7}"#),
            ("plain", "plain"),
        ] {
            assert_eq!(problem_text(body.as_bytes()), expected);
        }
    }
}
