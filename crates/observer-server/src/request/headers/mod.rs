//! Headers of requests.
//!
//! - [`host`] admits the host that a request names, and [`media_type`] its content type.
//! - [`accept`] chooses the media type of the response, and [`accept_encoding`] its coding.
//! - [`idempotency_key`] reads the identity of an event.
//! - [`trace_context`] continues the trace of the client.

pub(crate) mod accept;
pub(crate) mod accept_encoding;
pub(crate) mod host;
pub(crate) mod idempotency_key;
pub(crate) mod media_type;
pub(crate) mod trace_context;
