//! Tests for sinks.

mod contract;

pub use contract::{Breach, Breaches, Breakage, Clause, FarSide, Held, HeldEvent, Passed, SinkContract};
