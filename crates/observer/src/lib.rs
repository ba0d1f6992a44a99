//! The program `observer`: command line, configuration file and registry of sink types.
//!
//! `main` only calls [`run`]. A program that embeds the observer builds a [`Service`] from a
//! [`Config`] and a [`Registry`]. A program that adds a sink type to the command line calls
//! [`run_with`]:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use observer_core::{Batch, BuildError, EventSink, Receipt};
//! # use observer_core::{SinkConfig, SinkContext, SinkError, SinkPart};
//! # struct Nats;
//! # #[async_trait::async_trait]
//! # impl EventSink for Nats {
//! #     async fn deliver(&self, _: &Batch) -> Result<Receipt, SinkError> {
//! #         Ok(Receipt::accepted())
//! #     }
//! #     async fn flush(&self) -> Result<(), SinkError> { Ok(()) }
//! #     async fn check(&self) -> Result<(), SinkError> { Ok(()) }
//! # }
//! # #[derive(serde::Deserialize)]
//! # #[serde(deny_unknown_fields)]
//! # struct NatsConfig {}
//! # impl SinkConfig for NatsConfig {
//! #     const TYPE: &'static str = "nats";
//! #     fn build(self, _: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
//! #         Ok(vec![SinkPart::whole(Arc::new(Nats))])
//! #     }
//! # }
//! fn main() -> std::process::ExitCode {
//!     observer::run_with(std::env::args_os(), |metrics| {
//!         observer::registry::with_defaults(metrics).with::<NatsConfig>()
//!     })
//! }
//! ```
//!
//! # Modules
//!
//! - [`config`]: the TOML file, parsed and validated.
//! - [`registry`]: sink types by name, and the sinks that a configuration builds.
//! - `options`: conversion of a configuration to the options of the pipeline and the server.
//! - `prices`: prices of the running observer.
//! - `redaction`: counts of redacted secrets in the metrics.
//! - `serve`: [`Service`], the running observer.
//! - `reload`: reload of the configuration without a restart.
//! - `telemetry`: export of spans, metrics and the log over OTLP.
//! - [`logging`]: the log on standard error.
//! - `cli`: the commands.
//!
//! # Process-wide state
//!
//! [`run`] and [`run_with`] install the `tracing` subscriber, the crypto provider of `rustls` and
//! signal handlers. [`Service`] installs no subscriber and no signal handler: its log events and
//! spans go to the subscriber of the embedding program. Sinks over HTTP install ring as the crypto
//! provider if the process has none.

mod cli;
pub mod config;
mod file_sinks;
pub mod logging;
mod options;
mod permissions;
mod prices;
mod redaction;
pub mod registry;
mod reload;
mod reload_metrics;
mod serve;
mod telemetry;
mod tls;

use std::ffi::OsString;
use std::process::ExitCode;

pub use config::{Config, ConfigError};
pub use registry::{BuiltSink, Registry};
pub use serve::{ServeError, Service};

/// Runs the command line, whose first argument is the name of the program, with the built-in sink
/// types.
pub fn run<A>(arguments: impl IntoIterator<Item = A>) -> ExitCode
where
    A: Into<OsString> + Clone,
{
    run_with(arguments, registry::with_defaults)
}

/// Runs the command line with the sink types that `sink_types` returns.
///
/// `sink_types` receives the metrics registry that `/metrics` exposes. To validate a configuration,
/// it is called with a separate metrics registry.
pub fn run_with<A>(
    arguments: impl IntoIterator<Item = A>,
    sink_types: impl Fn(&prometheus::Registry) -> Registry + Send + Sync + 'static,
) -> ExitCode
where
    A: Into<OsString> + Clone,
{
    cli::run(arguments, sink_types)
}
