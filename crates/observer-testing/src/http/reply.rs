//! What a receiver can do with a request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use observer_core::Timestamp;
use serde_json::json;

use super::ReceivedRequest;
use crate::delay::{Gate, Wait};

/// How a receiver answers one request.
#[derive(Clone)]
pub struct Reply {
    pub(super) act: Act,
    pub(super) wait: Wait,
}

#[derive(Clone)]
pub(super) enum Act {
    Content(Content),
    /// Read to the end, and hang up.
    CutBeforeAnswer,
    /// Say 200, and hang up in the middle of the body.
    CutAnswer,
    /// Hang up while the request is read.
    CutRequest,
    /// Each item is judged by itself.
    Judged(Arc<Judge>),
}

type Judge = dyn Fn(&[String]) -> Judgement + Send + Sync;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// What becomes of a request whose items are judged.
pub(super) struct Judgement {
    pub(super) reply: Content,
    pub(super) taken: Vec<String>,
}

impl Reply {
    /// 200 without a body.
    #[must_use]
    pub fn accept() -> Self {
        Self::status(200)
    }

    /// This status without a body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::new(Act::Content(Content { status, headers: Vec::new(), body: String::new() }))
    }

    /// 429 with a `Retry-After` in seconds.
    #[must_use]
    pub fn too_many_requests(retry_after: Duration) -> Self {
        Self::status(429).with_header("retry-after", retry_after.as_secs().to_string())
    }

    /// 429 with a `Retry-After` that is a date (RFC 9110, section 10.2.3).
    #[must_use]
    pub fn too_many_requests_until(time: Timestamp) -> Self {
        Self::status(429)
            .with_header("retry-after", time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
    }

    /// No answer, ever; the connection stays open.
    #[must_use]
    pub fn hang() -> Self {
        Self { wait: Wait::ForEver, ..Self::accept() }
    }

    /// Take the request, and hang up before there is an answer.
    #[must_use]
    pub fn close_before_response() -> Self {
        Self::new(Act::CutBeforeAnswer)
    }

    /// Take the request, and hang up in the middle of a 200's body.
    #[must_use]
    pub fn close_mid_response() -> Self {
        Self::new(Act::CutAnswer)
    }

    /// Hang up while the request's body is read, and take nothing.
    #[must_use]
    pub fn close_mid_request() -> Self {
        Self::new(Act::CutRequest)
    }

    /// Judge each item by itself, as the observer's own `/v1/events` does: those that hold `marker`
    /// are refused with the `detail`. 200, 207 with each bad item's index, 422 if all are bad.
    #[must_use]
    pub fn reject_items_containing(marker: impl Into<String>, detail: impl Into<String>) -> Self {
        let (marker, detail) = (marker.into(), detail.into());
        Self::new(Act::Judged(Arc::new(move |items| {
            let is_bad = |item: &String| item.contains(&marker);
            let taken: Vec<_> = items.iter().filter(|item| !is_bad(item)).cloned().collect();
            let bad = |index: usize| json!({ "index": index, "status": 422, "detail": detail });
            let errors = items
                .iter()
                .enumerate()
                .filter(|(_, item)| is_bad(item))
                .map(|(index, _)| bad(index));
            let errors: Vec<_> = errors.collect();
            let status = match (taken.len(), errors.len()) {
                (_, 0) => 200,
                (0, _) => 422,
                _ => 207,
            };
            let (accepted, rejected) = (taken.len(), errors.len());
            let body = json!({
                "accepted": accepted, "duplicates": 0, "rejected": rejected, "durability": "fsync", "errors": errors,
            });
            Judgement { reply: Content::json(status, &body), taken }
        })))
    }

    /// 500 for each request with `marker` in it, 200 for all others: one poison event takes its
    /// whole batch with it.
    #[must_use]
    pub fn fail_requests_containing(marker: impl Into<String>) -> Self {
        let marker = marker.into();
        Self::new(Act::Judged(Arc::new(move |items| {
            if items.iter().any(|item| item.contains(&marker)) {
                let body = json!({ "detail": "an unexpected condition was encountered" });
                return Judgement { reply: Content::json(500, &body), taken: Vec::new() };
            }
            Judgement { reply: Content::json(200, &json!({})), taken: items.to_vec() }
        })))
    }

    /// With this text as the body. Of an answer that is made for each request or cut off, nothing
    /// changes.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<String>) -> Self {
        if let Act::Content(reply) = &mut self.act {
            reply.body = body.into();
        }
        self
    }

    /// With one more header. Of an answer that is made for each request or cut off, nothing
    /// changes.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Act::Content(reply) = &mut self.act {
            reply.headers.push((name, value.into()));
        }
        self
    }

    /// After so long: a receiver that is slow.
    #[must_use]
    pub fn delayed_by(self, pause: Duration) -> Self {
        Self { wait: Wait::Some(pause), ..self }
    }

    /// When the test says so, without a clock.
    #[must_use]
    pub fn gated(self) -> (Self, Gate) {
        let (gate, wait) = Gate::shut();
        (Self { wait, ..self }, gate)
    }

    fn new(act: Act) -> Self {
        Self { act, wait: Wait::No }
    }

    /// What becomes of a request: the status it gets, if it gets one, and the items that are taken.
    pub(super) fn judge(&self, request: &ReceivedRequest) -> (Option<Content>, Vec<String>) {
        let all = || request.items();
        match (&self.act, &self.wait) {
            (_, Wait::ForEver) | (Act::CutRequest, _) => (None, Vec::new()),
            (Act::CutBeforeAnswer | Act::CutAnswer, _) => (None, all()),
            (Act::Content(reply), _) => {
                let is_taken = (200..300).contains(&reply.status);
                (Some(reply.clone()), if is_taken { all() } else { Vec::new() })
            }
            (Act::Judged(judge), _) => {
                let Judgement { reply, taken } = judge(&all());
                (Some(reply), taken)
            }
        }
    }
}

impl Content {
    pub(super) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_string(),
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = match &self.act {
            Act::Content(reply) => {
                return f.debug_tuple("Reply").field(reply).field(&self.wait).finish();
            }
            Act::CutBeforeAnswer => "cut before the answer",
            Act::CutAnswer => "cut in the answer",
            Act::CutRequest => "cut in the request",
            Act::Judged(_) => "judged",
        };
        f.debug_tuple("Reply").field(&act).field(&self.wait).finish()
    }
}
