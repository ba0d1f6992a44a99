//! Replies of a receiver.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use observer_core::Timestamp;
use serde_json::json;

use super::request::ReceivedRequest;
use crate::delay::{Delay, Gate};

/// Reply to one request: a response, or a closed connection.
#[derive(Clone)]
pub struct Reply {
    pub(super) action: Action,
    pub(super) delay: Delay,
}

#[derive(Clone)]
pub(super) enum Action {
    /// Sends this response.
    Respond(Content),
    /// Sends a response that depends on the items of the request.
    Evaluate(Arc<Evaluate>),
    /// Gives another reply, which depends on the request.
    Choose(Arc<Choose>),
    /// Reads the request, and closes the connection.
    CloseBeforeResponse,
    /// Sends a 200, and closes the connection in the middle of the body.
    CloseMidResponse,
    /// Closes the connection in the middle of the request.
    CloseMidRequest,
}

type Evaluate = dyn Fn(&[String]) -> Evaluation + Send + Sync;
type Choose = dyn Fn(&ReceivedRequest) -> Reply + Send + Sync;

/// Content of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// Response to a request, and the items that are accepted.
pub(super) struct Evaluation {
    pub(super) content: Content,
    pub(super) accepted: Vec<String>,
}

impl Reply {
    /// Accepts the request: 200 without a body.
    #[must_use]
    pub fn accept() -> Self {
        Self::status(200)
    }

    /// Responds with this status, without a body. Only 2xx accepts the items.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let content = Content { status, headers: Vec::new(), body: String::new() };
        Self::new(Action::Respond(content))
    }

    /// Responds with 429 and a `Retry-After` in seconds.
    #[must_use]
    pub fn too_many_requests(retry_after: Duration) -> Self {
        Self::status(429).with_header("retry-after", retry_after.as_secs().to_string())
    }

    /// Responds with 429 and a `Retry-After` that is a date (RFC 9110, section 10.2.3).
    #[must_use]
    pub fn too_many_requests_until(time: Timestamp) -> Self {
        Self::status(429)
            .with_header("retry-after", time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
    }

    /// Never responds, and keeps the connection open.
    #[must_use]
    pub fn hang() -> Self {
        Self { delay: Delay::Forever, ..Self::accept() }
    }

    /// Accepts the request, and closes the connection before the response.
    #[must_use]
    pub fn close_before_response() -> Self {
        Self::new(Action::CloseBeforeResponse)
    }

    /// Accepts the request, and closes the connection in the middle of the body of a 200.
    #[must_use]
    pub fn close_mid_response() -> Self {
        Self::new(Action::CloseMidResponse)
    }

    /// Closes the connection in the middle of the request, and accepts no item.
    #[must_use]
    pub fn close_mid_request() -> Self {
        Self::new(Action::CloseMidRequest)
    }

    /// Rejects items that contain `marker` with the `detail`, as `/v1/events` of the observer does.
    ///
    /// The status is 200 if all items are accepted, 422 if none is, else 207. The body lists the
    /// index of each rejected item.
    #[must_use]
    pub fn reject_items_containing(marker: impl Into<String>, detail: impl Into<String>) -> Self {
        let (marker, detail) = (marker.into(), detail.into());
        Self::new(Action::Evaluate(Arc::new(move |items| {
            let mut accepted = Vec::new();
            let mut errors = Vec::new();
            for (index, item) in items.iter().enumerate() {
                if item.contains(&marker) {
                    errors.push(json!({ "index": index, "status": 422, "detail": detail }));
                } else {
                    accepted.push(item.clone());
                }
            }
            let status = match (accepted.len(), errors.len()) {
                (_, 0) => 200,
                (0, _) => 422,
                _ => 207,
            };
            let body = json!({
                "accepted": accepted.len(),
                "duplicates": 0,
                "rejected": errors.len(),
                "durability": "fsync",
                "errors": errors,
            });
            Evaluation { content: Content::json(status, &body), accepted }
        })))
    }

    /// Accepts the first `count` items, and fails for the others with `status`, as `/v1/events` of
    /// the observer does: with 207, and the index of each item that failed.
    #[must_use]
    pub fn accept_first(count: usize, status: u16) -> Self {
        Self::new(Action::Evaluate(Arc::new(move |items| {
            let errors: Vec<_> = (count..items.len())
                .map(|index| json!({ "index": index, "status": status, "detail": "busy" }))
                .collect();
            let code = if errors.is_empty() { 200 } else { 207 };
            let accepted: Vec<_> = items.iter().take(count).cloned().collect();
            let body = json!({ "accepted": accepted.len(), "duplicates": 0, "errors": errors });
            Evaluation { content: Content::json(code, &body), accepted }
        })))
    }

    /// Responds with 500 to a request that contains `marker`, and with 200 to any other.
    ///
    /// One poison event fails the whole batch.
    #[must_use]
    pub fn fail_requests_containing(marker: impl Into<String>) -> Self {
        let marker = marker.into();
        Self::new(Action::Evaluate(Arc::new(move |items| {
            if items.iter().any(|item| item.contains(&marker)) {
                let body = json!({ "detail": "an unexpected condition was encountered" });
                return Evaluation { content: Content::json(500, &body), accepted: Vec::new() };
            }
            Evaluation { content: Content::json(200, &json!({})), accepted: items.to_vec() }
        })))
    }

    /// Gives the reply that `choose` returns for the request.
    ///
    /// The request is decoded, and has no status yet.
    #[must_use]
    pub fn choose(choose: impl Fn(&ReceivedRequest) -> Self + Send + Sync + 'static) -> Self {
        Self::new(Action::Choose(Arc::new(choose)))
    }

    /// Sets the body.
    ///
    /// It has no effect on a reply that evaluates the request or closes the connection.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<String>) -> Self {
        if let Action::Respond(content) = &mut self.action {
            content.body = body.into();
        }
        self
    }

    /// Adds a header.
    ///
    /// It has no effect on a reply that evaluates the request or closes the connection.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Action::Respond(content) = &mut self.action {
            content.headers.push((name, value.into()));
        }
        self
    }

    /// Delays the reply, as a slow receiver does.
    #[must_use]
    pub fn delayed_by(self, pause: Duration) -> Self {
        Self { delay: Delay::For(pause), ..self }
    }

    /// Holds the reply back until the test opens the gate.
    #[must_use]
    pub fn gated(self) -> (Self, Gate) {
        let (gate, delay) = Gate::closed();
        (Self { delay, ..self }, gate)
    }

    fn new(action: Action) -> Self {
        Self { action, delay: Delay::None }
    }

    /// Returns the reply to a decoded request.
    pub(super) fn resolved(self, request: &ReceivedRequest) -> Self {
        match self.action {
            Action::Choose(choose) => choose(request).resolved(request),
            _ => self,
        }
    }

    /// Returns the response to a request, if it gets one, and the items that are accepted.
    pub(super) fn evaluate(&self, request: &ReceivedRequest) -> (Option<Content>, Vec<String>) {
        let all = || request.items();
        match (&self.action, &self.delay) {
            (_, Delay::Forever) | (Action::CloseMidRequest, _) => (None, Vec::new()),
            (Action::CloseBeforeResponse | Action::CloseMidResponse, _) => (None, all()),
            (Action::Respond(content), _) => {
                let is_accepted = (200..300).contains(&content.status);
                (Some(content.clone()), if is_accepted { all() } else { Vec::new() })
            }
            (Action::Choose(choose), _) => choose(request).evaluate(request),
            (Action::Evaluate(evaluate), _) => {
                let Evaluation { content, accepted } = evaluate(&all());
                (Some(content), accepted)
            }
        }
    }
}

impl Content {
    fn json(status: u16, body: &serde_json::Value) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_string(),
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action: &dyn fmt::Debug = match &self.action {
            Action::Respond(content) => content,
            Action::Evaluate(_) => &"evaluate the request",
            Action::Choose(_) => &"choose a reply",
            Action::CloseBeforeResponse => &"close before the response",
            Action::CloseMidResponse => &"close mid response",
            Action::CloseMidRequest => &"close mid request",
        };
        f.debug_tuple("Reply").field(action).field(&self.delay).finish()
    }
}
