//! Deliveries to destinations that refuse some events and are unavailable from time to time.
//!
//! ```sh
//! cargo run --release -p outcome-observer --example torture -- deliveries --for 1h
//! ```
//!
//! A webhook and an OTLP collector always refuse the same 1 % of the events with 403, the same 1 %
//! with 422, and fail because of the same 1 % with 500 (over gRPC `PERMISSION_DENIED`,
//! `INVALID_ARGUMENT` and `INTERNAL`). Both have spells in which they accept nothing, and the
//! observer is killed, while producers post at a steady rate. A healthy phase comes first, for
//! comparison of the latencies. At the end every good event must have been accepted, every bad one
//! must be a dead letter with its reason, and the account of each sink must add up.
//!
//! - [`run`] is the command line and the sequence of phases; [`spells`] is the timetable.
//! - [`event`] determines the events; [`producer`] posts them.
//! - [`destination`] is the process of a destination; [`observer`] that of the observer.
//! - [`oracle`] compares what was acknowledged with what became of it.

pub(crate) mod destination;
mod event;
mod latency;
mod observer;
mod oracle;
mod producer;
pub(crate) mod run;
mod spells;
