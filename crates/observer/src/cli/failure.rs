//! Failure of a command, with its exit status.

use crate::{ConfigError, logging};

/// Exit status for an error that the operator corrects on the command line or in the configuration.
pub(super) const USAGE: u8 = 2;

/// Exit status for every other error.
const ERROR: u8 = 1;

/// Failure of a command.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: u8,
    pub(super) error: anyhow::Error,
}

impl Failure {
    /// Creates a failure with exit status 2.
    pub(super) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { status: USAGE, error: error.into() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let is_usage = error.is::<ConfigError>() || error.is::<logging::LogError>();
        Self { status: if is_usage { USAGE } else { ERROR }, error }
    }
}
