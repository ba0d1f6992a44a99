//! Commands that a worker executes between two batches.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::RangeInclusive;

use observer_core::{Event, Uuid};
use tokio::sync::{mpsc, oneshot};

use crate::replay::state::{ReplaySelection, ReplayStatus};

/// Command for a worker.
#[derive(Debug)]
pub(crate) enum Command {
    Redeliver(RedeliverCommand),
    StartReplay(ReplayCommand),
}

/// Command to deliver dead letters again.
#[derive(Debug)]
pub(crate) struct RedeliverCommand {
    pub(crate) ids: BTreeSet<Uuid>,
    /// Numbers of the files that hold the dead letters.
    pub(crate) files: RangeInclusive<u64>,
    /// Event that replaces the original one, for a single dead letter.
    pub(crate) edited: Option<Event>,
    pub(crate) reply: oneshot::Sender<RedeliverReport>,
}

/// Command to start a replay.
#[derive(Debug)]
pub(crate) struct ReplayCommand {
    pub(crate) selection: ReplaySelection,
    /// Receives the status once the replay is stored durably, so that it continues after a restart.
    pub(crate) reply: oneshot::Sender<Result<ReplayStatus, NotStarted>>,
}

/// Handle through which the pipeline sends commands to a running worker.
pub(crate) struct WorkerHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    /// Number of dead letters per command, so that new events are delivered in between.
    pub(crate) batch_size: usize,
}

/// Result of a [`RedeliverCommand`].
#[derive(Debug, Default)]
pub(crate) struct RedeliverReport {
    /// Number of dead letters that are durable at the destination, and removed from the store.
    pub(crate) redelivered: u64,
    /// Events that were rejected again, each with the reason. Their dead letters stay.
    pub(crate) rejected: Vec<(Uuid, String)>,
    /// Reason for which the remaining dead letters were not delivered.
    pub(crate) stopped: Option<Rejection>,
}

/// Reason for which a worker rejects a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// The sink does not support replays and redelivery.
    Permanent(String),
    /// The sink is unavailable, or a file operation failed.
    Temporary(String),
}

/// Reason for which a replay was not started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotStarted {
    Rejected(Rejection),
    /// Another replay is running; the text says how far it is.
    AlreadyRunning(String),
}

impl RedeliverCommand {
    pub(crate) fn reject(self, rejection: Rejection) {
        // The caller may have been cancelled.
        let _ = self.reply.send(RedeliverReport { stopped: Some(rejection), ..Default::default() });
    }
}

impl Command {
    fn reject(self, rejection: Rejection) {
        match self {
            Self::Redeliver(command) => command.reject(rejection),
            Self::StartReplay(command) => {
                drop(command.reply.send(Err(NotStarted::Rejected(rejection))));
            }
        }
    }
}

/// Rejects all commands until it is cancelled, while the sink is unavailable: with
/// `replay_rejection` if the sink does not support replays, and with `reason` otherwise.
pub(crate) async fn reject_commands(
    commands: &mut mpsc::Receiver<Command>,
    replay_rejection: Option<&'static str>,
    reason: &str,
) -> Infallible {
    while let Some(command) = commands.recv().await {
        command.reject(match replay_rejection {
            Some(permanent) => Rejection::Permanent(permanent.to_owned()),
            None => {
                Rejection::Temporary(format!("the sink is unavailable at the moment: {reason}"))
            }
        });
    }
    std::future::pending().await
}
