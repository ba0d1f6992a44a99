//! Reading and parsing of request bodies within limits.

use std::ops::Deref;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::BodyExt;
use observer_pipeline::RejectReason;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::pace::Pace;
use crate::problem::Problem;
use crate::request::access::Charge;
use crate::request::limits::budget::{BudgetExceeded, MemoryBudget, Reservation};

/// Limit of the memory that is allocated for an announced length, before the body arrives.
const MAX_PREALLOCATED: usize = 1 << 20;

/// Limits of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) max_bytes: usize,
    /// Time for the whole body, so that a client that sends a byte occasionally can't hold a
    /// connection.
    pub(crate) timeout: Duration,
    /// Least rate in bytes per second; 0 for any.
    pub(crate) min_rate: u64,
}

/// Error of a body whose connection is about to be closed by the shutdown of the server.
#[derive(Debug, thiserror::Error)]
#[error("the server is shutting down")]
pub(crate) struct ShuttingDown;

/// Limits of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    /// Limits of the body, compressed as well as decompressed.
    pub(crate) body: BodyLimits,
    pub(crate) max_items: usize,
}

/// Reason for which a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(
        "the body exceeds the limit of {max_bytes} bytes; shorten `extra`, or raise \
         `max_batch_body`"
    )]
    TooLarge { max_bytes: usize },
    #[error("the body did not arrive within {} s (`body_timeout`)", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("the body arrived more slowly than {0} bytes a second (`min_body_rate`)")]
    Slow(u64),
    #[error("the observer is shutting down, and the body did not end in time; try again later")]
    ShuttingDown,
    #[error("the body ended early, or its chunked encoding is malformed")]
    Broken,
    #[error("the requests in flight leave no memory for the body")]
    Overloaded(BudgetExceeded),
}

impl BodyError {
    /// Returns the reason under which the event is counted.
    pub(crate) fn reason(&self) -> RejectReason {
        match self {
            Self::TooLarge { .. } => RejectReason::TooLarge,
            Self::Timeout(_) | Self::Slow(_) | Self::ShuttingDown => RejectReason::Timeout,
            Self::Broken => RejectReason::BrokenOff,
            Self::Overloaded(_) => RejectReason::Overloaded,
        }
    }

    /// Converts the error of a batch, whose limit has another key.
    pub(crate) fn into_batch_problem(self) -> Problem {
        match self {
            Self::TooLarge { max_bytes } => {
                let detail = format!(
                    "the body exceeds the limit of {max_bytes} bytes for a batch; send fewer \
                     events at once, or raise `max_batch_body`"
                );
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).reason(self.reason()).closing()
            }
            error => error.into(),
        }
    }
}

impl From<axum::Error> for BodyError {
    fn from(error: axum::Error) -> Self {
        if error.into_inner().is::<ShuttingDown>() { Self::ShuttingDown } else { Self::Broken }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Timeout(_) | BodyError::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            BodyError::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            BodyError::Broken => StatusCode::BAD_REQUEST,
            BodyError::Overloaded(exceeded) => return exceeded.of_body(),
        };
        Self::new(status, error.to_string()).reason(error.reason()).closing()
    }
}

/// Reads the whole body into an allocation of its own. An event stays in memory for a while, and
/// must not keep the connection's buffer alive. Its bytes are charged as they arrive.
///
/// # Errors
/// If the body exceeds a limit or ends early.
pub(crate) async fn collect(
    mut body: Body,
    limits: BodyLimits,
    reservation: &mut Reservation<impl Deref<Target = MemoryBudget>>,
    charge: &Charge,
) -> Result<Bytes, BodyError> {
    let BodyLimits { max_bytes, timeout, min_rate } = limits;
    // The lower bound is the content length, if there is one.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max_bytes {
        return Err(BodyError::TooLarge { max_bytes });
    }
    let mut pace = Pace::new(Instant::now(), timeout, min_rate);
    let mut whole = Vec::new();
    loop {
        let frame = match timeout_at(pace.deadline(), body.frame()).await {
            Ok(Some(frame)) => frame?,
            Ok(None) => return Ok(Bytes::from(whole.into_boxed_slice())),
            Err(_) if pace.is_slow() => return Err(BodyError::Slow(min_rate)),
            Err(_) => return Err(BodyError::Timeout(timeout)),
        };
        let Ok(data) = frame.into_data() else { continue };
        charge.add_bytes(data.len());
        if data.len() > max_bytes - whole.len() {
            return Err(BodyError::TooLarge { max_bytes });
        }
        // Only bytes that have arrived count, not those that are announced.
        let received = whole.len() + data.len();
        if whole.is_empty() && body.is_end_stream() {
            reservation.grow_to_whole(received).map_err(BodyError::Overloaded)?;
            return Ok(Bytes::copy_from_slice(&data));
        }
        reservation.grow_to(received).map_err(BodyError::Overloaded)?;
        if whole.is_empty() {
            whole.reserve_exact(announced.min(MAX_PREALLOCATED).max(data.len()));
        }
        whole.extend_from_slice(&data);
        pace.received(data.len(), Instant::now());
    }
}

/// Parses the JSON body of an administrative request. `usage` describes it in the error.
///
/// # Errors
/// If the body is not valid JSON (400), or is JSON of another shape (422).
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], usage: &str) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let status = if error.is_data() {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::BAD_REQUEST
        };
        Problem::new(status, format!("{usage}: {error}"))
    })
}
