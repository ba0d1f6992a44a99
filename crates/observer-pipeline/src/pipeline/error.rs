//! Error types of the pipeline and of operations on its sinks.

use std::io;

use observer_core::SinkError;
use observer_journal::OpenError;

/// Error type for starting a pipeline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The journal can't be opened.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The keys of recent events can't be read.
    #[error("can't read the identities of recent events from the journal")]
    Keys(#[source] io::Error),
    /// A later version of the program wrote the state of a sink. Nothing was changed.
    #[error("the sink {name:?} can't be started")]
    State {
        /// Name of the sink.
        name: String,
        /// File and version.
        source: SinkError,
    },
    /// A sink can't be added.
    #[error(transparent)]
    Sink(#[from] AddSinkError),
}

/// Error type for adding a sink.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddSinkError {
    /// A sink of this name is running.
    #[error("there is a sink named {name:?} already; use another name")]
    NameTaken {
        /// Name of the sink.
        name: String,
    },
    /// The name has characters that the name of a folder can't have.
    #[error("{name:?} can't be the name of a sink; use letters, digits, `-`, `_` and `.`")]
    InvalidName {
        /// Name of the sink.
        name: String,
    },
    /// The pipeline is shut down, or shutting down.
    #[error("no sink can be added, since the pipeline is shutting down")]
    ShuttingDown,
}

/// Error type for forgetting the position of a sink.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetSinkError {
    /// The sink is running.
    #[error("the sink {name:?} is running; remove it from the configuration first")]
    StillRunning {
        /// Name of the sink.
        name: String,
    },
    /// There is no sink of this name.
    #[error("there is no sink named {name:?}")]
    UnknownSink {
        /// Name of the sink.
        name: String,
    },
    /// The change can't be stored yet. After a restart the position may still be there.
    #[error("the positions can't be stored now; this is retried every second")]
    Store(#[source] io::Error),
}

/// Error type for the adoption of what is at a sink's destination.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// There is no sink of this name.
    #[error("there is no sink named {name:?}")]
    UnknownSink {
        /// Name of the sink.
        name: String,
    },
    /// The sink is not configured any more.
    #[error("the sink {name:?} is not running; add it to the configuration first")]
    NotRunning {
        /// Name of the sink.
        name: String,
    },
    /// Sinks of this type own everything at their destination, or nothing.
    #[error("the sink {name:?} has nothing to adopt; only file sinks adopt files")]
    Nothing {
        /// Name of the sink.
        name: String,
    },
    /// The sink failed.
    #[error(transparent)]
    Sink(SinkError),
}
