//! Reading the body of a request, within limits.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::BodyExt;
use observer_pipeline::RejectReason;
use serde::Deserialize;

use crate::problem::Problem;
use crate::request::in_flight::{NoRoom, Room};

/// Room for this much is made at once for who announces it, and for more as it comes.
const AT_ONCE: usize = 1 << 20;

/// What a body has to keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) max_bytes: usize,
    /// From the first byte to the last, so that a byte now and then doesn't hold a connection for
    /// ever.
    pub(crate) timeout: Duration,
}

/// What a batch may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    /// Of the whole batch, compressed as well as after decompression.
    pub(crate) body: BodyLimits,
    pub(crate) max_items: usize,
    /// Of one event.
    pub(crate) max_item_bytes: usize,
}

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(
        "an event may have {max_bytes} bytes, and this body has more; leave out a part of `extra`, or raise `max_body`"
    )]
    TooLarge { max_bytes: usize },
    #[error("the body did not arrive within {} s of its head (`body_timeout`)", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("the body broke off, or is not chunked as HTTP wants it")]
    Broken,
    #[error("the requests in flight leave no room for the body")]
    NoRoom(NoRoom),
}

impl BodyError {
    /// The word it is counted under.
    pub(crate) fn reason(&self) -> RejectReason {
        match self {
            Self::TooLarge { .. } => RejectReason::TooLarge,
            Self::Timeout(_) => RejectReason::Timeout,
            Self::Broken => RejectReason::BrokenOff,
            Self::NoRoom(_) => RejectReason::Overloaded,
        }
    }

    /// As it is said of a batch.
    pub(crate) fn of_batch(self) -> Problem {
        match self {
            Self::TooLarge { max_bytes } => {
                let detail = format!(
                    "a batch may have {max_bytes} bytes, and this body has more; send fewer events at once, or raise `max_batch_body`"
                );
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).reason(self.reason()).closing()
            }
            error => error.into(),
        }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken => StatusCode::BAD_REQUEST,
            BodyError::NoRoom(no_room) => return no_room.into(),
        };
        Self::new(status, error.to_string()).reason(error.reason()).closing()
    }
}

/// The whole body in an allocation of its own: an event stays in memory for a while, and must not
/// keep the connection's buffer there.
pub(crate) async fn collect(
    body: Body,
    limits: BodyLimits,
    room: &mut Room<'_>,
) -> Result<Bytes, BodyError> {
    // The lower bound is the announced length, where there is one.
    if body.size_hint().lower() > limits.max_bytes as u64 {
        return Err(BodyError::TooLarge { max_bytes: limits.max_bytes });
    }
    let read = tokio::time::timeout(limits.timeout, read(body, limits.max_bytes, room)).await;
    read.map_err(|_| BodyError::Timeout(limits.timeout))?
}

/// What an operator asks for, in JSON; `how` says what that looks like.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], how: &str) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let status = if error.is_data() {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::BAD_REQUEST
        };
        Problem::new(status, format!("{how}: {error}"))
    })
}

async fn read(mut body: Body, max_bytes: usize, room: &mut Room<'_>) -> Result<Bytes, BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if data.len() > max_bytes - whole.len() {
            return Err(BodyError::TooLarge { max_bytes });
        }
        // As it comes: what was only announced takes no room.
        room.grow_to(whole.len() + data.len()).map_err(BodyError::NoRoom)?;
        if whole.is_empty() && body.is_end_stream() {
            return Ok(Bytes::copy_from_slice(&data));
        }
        if whole.is_empty() {
            whole.reserve_exact(announced.min(AT_ONCE).max(data.len()));
        }
        whole.extend_from_slice(&data);
    }
    Ok(Bytes::from(whole.into_boxed_slice()))
}
