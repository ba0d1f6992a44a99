//! Log of requests: those that are refused, and all of them for the target `access`.

use std::time::Instant;

use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::response::Response;
use tracing::Level;

use super::limits::budget::Holder;
use super::limits::peer::Peer;
use super::refusals::{Refusal, RefusalLog, RefusedRequest};

/// Target of the access log.
const TARGET: &str = "access";
/// Label of callers without a token.
const ANONYMOUS: &str = "anonymous";

/// Values of a request for the log, while its handler has it.
#[derive(Debug)]
pub(crate) struct RequestLog {
    peer: Peer,
    is_safe: bool,
    /// Caller, if it is known.
    pub(crate) holder: Option<Holder>,
    /// Present if the access log is enabled.
    access: Option<Access>,
}

#[derive(Debug)]
struct Access {
    started: Instant,
    method: Method,
    uri: Uri,
}

impl RequestLog {
    pub(crate) fn new(request: &Request) -> Self {
        let access = tracing::enabled!(target: TARGET, Level::DEBUG).then(|| Access {
            started: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
        });
        Self {
            peer: request.extensions().get::<Peer>().copied().unwrap_or_default(),
            is_safe: request.method().is_safe(),
            holder: None,
            access,
        }
    }

    /// Logs that the request was refused. That something asked for does not exist, or that a query
    /// is wrong, is the matter of its caller alone.
    pub(crate) fn refused(
        &self,
        log: &RefusalLog,
        route: &str,
        response: &Response,
        refusal: &Refusal,
    ) {
        if refusal.reason.is_some() || !self.is_safe {
            let status = response.status().as_u16();
            let request = RefusedRequest {
                peer: self.peer,
                principal: self.principal(),
                route: Some(route),
                status,
            };
            log.log(request, refusal);
        }
    }

    /// Writes the line of the access log. It has no query, which may have secrets.
    pub(crate) fn finished(&self, response: &Response) {
        let Some(Access { started, method, uri }) = &self.access else { return };
        tracing::debug!(
            target: TARGET,
            peer = %self.peer,
            principal = self.principal(),
            %method,
            path = uri.path(),
            status = response.status().as_u16(),
            microseconds = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
            "a request was served"
        );
    }

    fn principal(&self) -> Option<&str> {
        let holder = self.holder.as_ref()?;
        Some(holder.token.as_deref().unwrap_or(ANONYMOUS))
    }
}
