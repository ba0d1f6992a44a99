//! Receivers that others wrote: what they have in the end is what the runs say.
//!
//! Each test needs programs that may not be there; `.ci/run` installs them, and there a test that
//! lacks one fails.

mod collectors;
mod everything;
mod mapping;
mod process;
mod prometheus;
mod protobuf_json;
mod telemetry;
