//! Servers, clients, sinks and certificates to test with.

pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod setup;
