//! Errors as RFC 9457 problem details.
//!
//! `type` is `about:blank`, so that `title` is the text of the status. Programs can evaluate
//! `reason`, under which `observer_rejected_events_total` counts the event, and `field`.

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use observer_pipeline::RejectReason;
use serde::Serialize;
use utoipa::ToSchema;

use crate::request::refusals::Refusal;

/// Default value of `Retry-After` with 429 and 503, in seconds.
pub(crate) const DEFAULT_RETRY_AFTER: u16 = 1;
/// Media type of problem details.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Error response to a request.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    reason: Option<RejectReason>,
    field: Option<Cow<'static, str>>,
    source: Option<Arc<str>>,
    items: Vec<BadItem>,
    connection: Connection,
    retry_after: Option<u16>,
    challenge: Option<&'static str>,
}

/// Rejected item of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BadItem {
    /// Index among the items of the request, from 0.
    index: usize,
    /// Status that the item would have on its own.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'static str>,
    detail: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<Cow<'static, str>>,
}

/// State of the connection after the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Keep,
    /// Closed, since a part of the request is not read.
    Close,
}

/// Problem details (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDetails<'a> {
    /// Always `about:blank`: the status has no further semantics.
    #[schema(example = "about:blank")]
    r#type: &'static str,
    title: &'static str,
    status: u16,
    /// Explanation for people, with a remedy.
    detail: &'a str,
    /// Reason under which the observer counts the rejected event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'static str>,
    /// Field of the event, or parameter of the query, that caused the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'a str>,
    /// Rejected items of a batch.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [BadItem],
}

impl BadItem {
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Returns the item for the log, as the first of so many.
    pub(crate) fn refusal(&self, items: usize) -> Refusal {
        let detail = format!("item {}: {}", self.index, self.detail);
        Refusal { items: Some(items), ..Refusal::new(self.reason, &detail) }
    }

    /// Returns the size of the item in a response, in bytes, roughly and rather too large.
    pub(crate) fn size(&self) -> usize {
        /// Names, punctuation, numbers and the reason.
        const FRAME: usize = 100;
        FRAME + self.detail.len() + self.field.as_ref().map_or(0, |field| field.len())
    }
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            reason: None,
            field: None,
            source: None,
            items: Vec::new(),
            connection: Connection::Keep,
            retry_after: None,
            challenge: None,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Sets the header `Retry-After`, in seconds.
    pub(crate) fn retry_after(self, seconds: u16) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Sets the header `WWW-Authenticate` (RFC 9110, section 11.6.1).
    pub(crate) fn challenge(self, challenge: &'static str) -> Self {
        Self { challenge: Some(challenge), ..self }
    }

    pub(crate) fn reason(self, reason: RejectReason) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// Sets the source of the event, for the log.
    pub(crate) fn of_source(self, source: &str) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Returns the problem for the log.
    pub(crate) fn refusal(&self) -> Refusal {
        match self.items.first() {
            Some(first) => first.refusal(self.items.len()),
            None => Refusal {
                source: self.source.clone(),
                ..Refusal::new(self.reason.map(RejectReason::as_str), &self.detail)
            },
        }
    }

    /// Sets the rejected items.
    pub(crate) fn items(self, items: Vec<BadItem>) -> Self {
        Self { items, ..self }
    }

    /// Converts the problem into that of one item of a batch.
    pub(crate) fn into_item(self, index: usize) -> BadItem {
        BadItem {
            index,
            status: self.status.as_u16(),
            reason: self.reason.map(RejectReason::as_str),
            detail: self.detail,
            field: self.field,
        }
    }

    /// Sets the field of the event, or the parameter of the query, that is at fault.
    pub(crate) fn field(self, field: Option<impl Into<Cow<'static, str>>>) -> Self {
        Self { field: field.map(Into::into), ..self }
    }

    /// Closes the connection after the response, since the rest of the request is not read.
    pub(crate) fn closing(self) -> Self {
        Self { connection: Connection::Close, ..self }
    }

    /// Returns the reason under which the rejected event is counted; `None` if the server is at
    /// fault and not the request.
    pub(crate) fn reject_reason(&self) -> Option<RejectReason> {
        self.reason
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let body = ProblemDetails {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            reason: self.reason.map(RejectReason::as_str),
            field: self.field.as_deref(),
            errors: &self.items,
        };
        serde_json::to_vec(&body).expect("strings and numbers serialize to JSON")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.to_json().into());
        response.extensions_mut().insert(self.refusal());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(RETRY_AFTER, self.retry_after.unwrap_or(DEFAULT_RETRY_AFTER).into());
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
