//! From a request's head and body to what the routes work with.

pub(crate) mod access;
pub(crate) mod blocking;
pub(crate) mod body;
pub(crate) mod cors;
pub(crate) mod decompress;
pub(crate) mod guard;
pub(crate) mod host;
pub(crate) mod idempotency_key;
pub(crate) mod in_flight;
pub(crate) mod media_type;
pub(crate) mod path;
pub(crate) mod split;
pub(crate) mod trace_context;
