//! Checking and reading of requests.
//!
//! The [guard](crate::routes) uses some modules for every request: it checks the [`host`],
//! authorizes the request ([`access`]), checks its [`media_type`], charges its rate limit, counts
//! it as [`in_flight`], and opens a span if it carries events ([`trace_context`]). Handlers use the
//! rest: [`body`] reads the body within limits, at no less than a [`pace`], [`decompress`] and
//! [`split`] take batches apart, [`event`] parses one event within limits, [`idempotency_key`] reads
//! the header, [`accept`] chooses the media type of a response, and [`blocking`] runs work that
//! takes long. Bodies and responses reserve memory in a [`budget`], by [`peer`] and token. The guard
//! logs requests ([`request_log`]), and [`refusals`] apart. [`cors`] is a layer outside of the guard.

pub(crate) mod accept;
pub(crate) mod access;
pub(crate) mod blocking;
pub(crate) mod body;
pub(crate) mod budget;
pub(crate) mod cors;
pub(crate) mod decompress;
pub(crate) mod event;
pub(crate) mod host;
pub(crate) mod idempotency_key;
pub(crate) mod in_flight;
pub(crate) mod media_type;
pub(crate) mod pace;
pub(crate) mod partial_status;
pub(crate) mod peer;
pub(crate) mod refusals;
pub(crate) mod request_log;
pub(crate) mod split;
pub(crate) mod trace_context;
