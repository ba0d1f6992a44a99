//! Errors as RFC 9457 problem details.
//!
//! `type` is `about:blank`, so the title is the status; what a program may look at is `reason`, the
//! word under which `observer_rejected_events_total` counts the event, and `field`.

use std::borrow::Cow;

use axum::body::{Body as HttpBody, HttpBody as _};
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use observer_pipeline::RejectReason;
use serde::Serialize;
use utoipa::ToSchema;

/// When producers may come back after a 429 or 503 that says nothing else, in seconds.
pub(crate) const COME_BACK_AFTER: u16 = 1;
/// A body up to this size is read for good after an answer that did not ask for it, so that the
/// connection can be used again.
const WORTH_READING: u64 = 64 << 10;
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong, for whoever sent the request.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    reason: Option<RejectReason>,
    field: Option<&'static str>,
    items: Vec<BadItem>,
    connection: Connection,
    retry_after: Option<u16>,
    challenge: Option<&'static str>,
}

/// One bad item of several.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BadItem {
    /// From 0, among the items of the request.
    index: usize,
    /// What it would have been answered with alone.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'static str>,
    detail: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'static str>,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Keep,
    /// There may be more of the request that no one is going to read.
    Close,
}

/// A problem (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDetails<'a> {
    /// Nothing more than the status.
    #[schema(example = "about:blank")]
    r#type: &'static str,
    title: &'static str,
    status: u16,
    /// What a person can do something about.
    detail: &'a str,
    /// The word under which the observer counts what it refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'static str>,
    /// The field of the event that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'static str>,
    /// What is wrong with each item of a batch.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [BadItem],
}

impl BadItem {
    pub(crate) fn index(&self) -> usize {
        self.index
    }
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            reason: None,
            field: None,
            items: Vec::new(),
            connection: Connection::Keep,
            retry_after: None,
            challenge: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// When to come back, in seconds.
    pub(crate) fn retry_after(self, seconds: u16) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// How to show who one is (RFC 9110, section 11.6.1).
    pub(crate) fn challenge(self, challenge: &'static str) -> Self {
        Self { challenge: Some(challenge), ..self }
    }

    pub(crate) fn reason(self, reason: RejectReason) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// What is wrong with each item.
    pub(crate) fn items(self, items: Vec<BadItem>) -> Self {
        Self { items, ..self }
    }

    /// The same, said of one item of several.
    pub(crate) fn of_item(self, index: usize) -> BadItem {
        BadItem {
            index,
            status: self.status.as_u16(),
            reason: self.reason.map(RejectReason::as_str),
            detail: self.detail,
            field: self.field,
        }
    }

    pub(crate) fn field(self, field: Option<&'static str>) -> Self {
        Self { field, ..self }
    }

    /// The rest of the request is not read.
    pub(crate) fn closing(self) -> Self {
        Self { connection: Connection::Close, ..self }
    }

    /// The request's body is not read, which ends the connection if there is much of it.
    pub(crate) fn closing_after(self, body: &HttpBody) -> Self {
        let is_small = body.size_hint().upper().is_some_and(|bytes| bytes <= WORTH_READING);
        if is_small { self } else { self.closing() }
    }

    /// The word that the refused event is counted under.
    pub(crate) fn counted_as(&self) -> RejectReason {
        self.reason.unwrap_or(RejectReason::Malformed)
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let body = ProblemDetails {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            reason: self.reason.map(RejectReason::as_str),
            field: self.field,
            errors: &self.items,
        };
        serde_json::to_vec(&body).expect("strings and numbers are JSON")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.to_json().into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(RETRY_AFTER, self.retry_after.unwrap_or(COME_BACK_AFTER).into());
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.connection == Connection::Close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
