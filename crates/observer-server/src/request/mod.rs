//! Checking and reading of requests.
//!
//! The [guard](crate::routes) uses some modules for every request: it checks the
//! [host](headers::host), authorizes the request ([`access`]), checks its
//! [media type](headers::media_type), charges its rate limit, counts it as
//! [in flight](limits::in_flight), and opens a span if it carries events
//! ([`trace_context`](headers::trace_context)). Handlers use the rest: [`body`] reads the body
//! within limits and takes batches apart, [`headers`] has what they need to know of the head, and
//! [`blocking`] runs work that takes long. Bodies and responses reserve memory in a
//! [budget](limits::budget). The guard logs requests ([`request_log`]), and [`refusals`] apart.
//! [`cors`] is a layer outside of the guard.

pub(crate) mod access;
pub(crate) mod blocking;
pub(crate) mod body;
pub(crate) mod cors;
pub(crate) mod headers;
pub(crate) mod limits;
pub(crate) mod refusals;
pub(crate) mod request_log;
