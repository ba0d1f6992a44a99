//! Tests of the observer from outside: its process, HTTP interface, files and messages.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod delivery;
mod documentation;
mod durability;
mod hostile;
mod interface;
mod packaging;
mod peers;
mod support;
mod telemetry;
