//! The receiver of OTLP does as it is told, and tells what it was sent.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod answers;
mod client;
mod connections;
mod contract;
mod requests;
mod tls;
