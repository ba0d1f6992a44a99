//! Third-party receivers, whose final contents are compared with the agent runs.
//!
//! The tests need programs that `.ci/run` installs. A test whose program is missing is skipped, or
//! fails if `OBSERVER_TEST_TOOLS` is set.

mod clients;
mod collectors;
mod duckdb;
mod everything;
mod grafana;
mod grpcio;
mod mapping;
mod mcp;
mod prices;
mod process;
mod prometheus;
mod protobuf_json;
mod rotel;
mod telemetry;
mod webhooks;
