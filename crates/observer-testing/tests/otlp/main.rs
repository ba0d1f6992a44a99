//! The OTLP receiver replies by its script, and records each request.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod client;
mod connections;
mod contract;
mod replies;
mod requests;
mod tls;
