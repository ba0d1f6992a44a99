//! The observer as a program: its command line, its configuration file and the types of sinks it
//! knows.
//!
//! `main` only calls [`run`]. Those who embed the observer start from a [`Config`] and a
//! [`Registry`]; those who want the whole program with a type of sink of their own call
//! [`run_with`]:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use observer_core::{Batch, BuildError, EventSink, Receipt, SinkConfig, SinkContext, SinkError, SinkPart};
//! # struct Nats;
//! # #[async_trait::async_trait]
//! # impl EventSink for Nats {
//! #     async fn deliver(&self, _: &Batch) -> Result<Receipt, SinkError> { Ok(Receipt::accepted()) }
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

mod cli;
pub mod config;
pub mod logging;
pub mod registry;
mod reload;
mod serve;
mod suggest;
mod telemetry;
mod tls;

use std::ffi::OsString;
use std::process::ExitCode;

pub use config::{Config, ConfigError};
pub use registry::{BuiltSink, Registry};
pub use serve::{ServeError, Service};

/// Do what the command line says; its first argument is the program's own name.
pub fn run<A>(arguments: impl IntoIterator<Item = A>) -> ExitCode
where
    A: Into<OsString> + Clone,
{
    run_with(arguments, registry::with_defaults)
}

/// The same with other types of sinks. The function is given the registry that `/metrics` shows, or
/// another one where a configuration is only tried.
pub fn run_with<A>(
    arguments: impl IntoIterator<Item = A>,
    types: impl Fn(&prometheus::Registry) -> Registry + Send + Sync + 'static,
) -> ExitCode
where
    A: Into<OsString> + Clone,
{
    cli::run(arguments, types)
}
