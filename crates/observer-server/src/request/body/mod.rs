//! Bodies of requests.
//!
//! A body is read within its limits, at no less than a [`pace`]. [`decompress`] and [`split`] take
//! batches apart, [`event`] parses one event, and [`partial_status`] is the status of a batch of
//! which some items are rejected.

pub(crate) mod decompress;
pub(crate) mod event;
mod pace;
pub(crate) mod partial_status;
mod read;
pub(crate) mod split;

pub(crate) use self::read::{BatchLimits, BodyError, BodyLimits, ShuttingDown, collect, parse};
