//! Servers, clients, sinks and certificates for tests.

pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod setup;
pub(crate) mod store;
