//! Why a pipeline, or a sink of it, is not as one wanted it.

use std::io;

use observer_journal::OpenError;

/// Why a pipeline could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The journal can't be opened.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The journal can't be read.
    #[error("can't read the identities of past events from the journal")]
    Keys(#[source] io::Error),
    /// A sink can't be added.
    #[error(transparent)]
    Sink(#[from] AddSinkError),
}

/// Why a sink could not be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddSinkError {
    /// There is one of this name.
    #[error("there is a sink named {name:?} already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Positions and dead letters are kept under the name.
    #[error("{name:?} can't be the name of a sink: letters, digits, `-`, `_` and `.` are good")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// The pipeline is shut down, or about to be.
    #[error("there is no place for a sink any more, since the pipeline is shutting down")]
    ShuttingDown,
}

/// Why the position of a sink is not forgotten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetSinkError {
    /// It is there.
    #[error("the sink {name:?} is there; take it out of the configuration first")]
    StillRunning {
        /// The name.
        name: String,
    },
    /// There is none of this name.
    #[error("there is no sink named {name:?}")]
    UnknownSink {
        /// The name.
        name: String,
    },
    /// It is forgotten, and a restart may bring it back.
    #[error("the positions can't be stored now; this is tried again every second")]
    Store(#[source] io::Error),
}
