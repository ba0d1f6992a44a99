//! Commands that a worker executes between two attempts.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use observer_core::{Event, Uuid};
use tokio::sync::{mpsc, oneshot};

use crate::dead_letters::divert::Diversion;
use crate::replay::state::{ReplaySelection, ReplayStatus};

/// Command for a worker.
#[derive(Debug)]
pub(crate) enum Command {
    Redeliver(RedeliverCommand),
    StartReplay(ReplayCommand),
    Divert(DivertCommand),
    /// Attempts what is due later, now.
    Wake(oneshot::Sender<()>),
}

/// Command to deliver dead letters again.
#[derive(Debug)]
pub(crate) struct RedeliverCommand {
    pub(crate) ids: BTreeSet<Uuid>,
    /// Numbers of the files that hold the dead letters.
    pub(crate) files: RangeInclusive<u64>,
    /// Event that replaces the original one, for a single dead letter.
    pub(crate) edited: Option<Event>,
    /// Number of dead letters that earlier commands of the redelivery found rejected again, while
    /// none was accepted.
    pub(crate) in_vain: usize,
    /// Another command of the redelivery follows.
    pub(crate) has_more: bool,
    pub(crate) reply: oneshot::Sender<RedeliverReport>,
}

/// Command to start a replay.
#[derive(Debug)]
pub(crate) struct ReplayCommand {
    pub(crate) selection: ReplaySelection,
    /// Receives the status once the replay is stored durably, so that it continues after a restart.
    pub(crate) reply: oneshot::Sender<Result<ReplayStatus, NotStarted>>,
}

/// Command to move unresolved events to the dead letters.
#[derive(Debug)]
pub(crate) struct DivertCommand {
    pub(crate) diversion: Diversion,
    /// Receives the ids once the dead letters are durable, or the reason for which they are not.
    pub(crate) reply: oneshot::Sender<Result<Vec<Uuid>, String>>,
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

/// Commands to a worker, in order.
pub(crate) struct Commands {
    received: mpsc::Receiver<Command>,
    /// Command that was received during an attempt.
    next: Option<Command>,
}

impl Commands {
    pub(crate) fn new(received: mpsc::Receiver<Command>) -> Self {
        Self { received, next: None }
    }

    /// Returns the next command; `None` when the pipeline is gone.
    ///
    /// Cancel safe.
    pub(crate) async fn recv(&mut self) -> Option<Command> {
        match self.next.take() {
            Some(next) => Some(next),
            None => self.received.recv().await,
        }
    }

    /// Returns the next command if there is one.
    pub(crate) fn try_recv(&mut self) -> Option<Command> {
        self.next.take().or_else(|| self.received.try_recv().ok())
    }

    /// Waits until the next command is a diversion. The command stays the next one.
    ///
    /// Cancel safe.
    pub(crate) async fn diversion(&mut self) {
        if self.next.is_none() {
            self.next = self.received.recv().await;
        }
        if !matches!(self.next, Some(Command::Divert(_))) {
            std::future::pending::<()>().await;
        }
    }
}

impl RedeliverCommand {
    pub(crate) fn reject(self, rejection: Rejection) {
        // The caller may have been cancelled.
        let _ = self.reply.send(RedeliverReport { stopped: Some(rejection), ..Default::default() });
    }
}

impl Command {
    /// Rejects a command that needs an available sink. The other commands need none.
    pub(crate) fn reject(self, rejection: Rejection) {
        match self {
            Self::Redeliver(command) => command.reject(rejection),
            Self::StartReplay(command) => {
                drop(command.reply.send(Err(NotStarted::Rejected(rejection))));
            }
            Self::Divert(_) | Self::Wake(_) => {}
        }
    }
}
