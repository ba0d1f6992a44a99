//! The observer as a program: its command line, its configuration file and the types of sinks it knows.
//!
//! `main` only calls [`run`]. Those who embed the observer, or add a type of sink to it, start from a [`Config`] and a [`Registry`].

pub mod config;
pub mod registry;
mod suggest;

pub use config::{Config, ConfigError};
pub use registry::{BuiltSink, Registry};
