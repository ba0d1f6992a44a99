//! Tests of the knowledge base through its sink and its store.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod contract;
mod corrections;
mod crash;
mod events;
mod model;
mod rebuild;
mod retention;
mod runs;
mod scope;
mod states;
mod support;
mod usage;
mod versions;
