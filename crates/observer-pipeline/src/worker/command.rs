//! What a worker is asked to do beside its events.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::RangeInclusive;

use observer_core::{Event, Uuid};
use tokio::sync::{mpsc, oneshot};

use crate::replay::state::{ReplaySelection, ReplayStatus};

/// What a worker does between two batches.
#[derive(Debug)]
pub(crate) enum Order {
    Redeliver(LettersOrder),
    Past(PastOrder),
}

/// DeadLetterPage that a worker is to deliver.
#[derive(Debug)]
pub(crate) struct LettersOrder {
    pub(crate) ids: BTreeSet<Uuid>,
    /// Where they are.
    pub(crate) files: RangeInclusive<u64>,
    /// What goes in place of the event, for a single letter.
    pub(crate) edited: Option<Event>,
    pub(crate) answer: oneshot::Sender<Outcome>,
}

/// Past events that a worker is to bring its sink.
#[derive(Debug)]
pub(crate) struct PastOrder {
    pub(crate) past: ReplaySelection,
    /// The replay once it is sure to go on after a restart.
    pub(crate) answer: oneshot::Sender<Result<ReplayStatus, NotBegun>>,
}

/// What a running sink is known by here.
pub(crate) struct Desk {
    pub(crate) orders: mpsc::Sender<Order>,
    /// How many letters go at once, so that new events have their turn between.
    pub(crate) at_once: usize,
}

/// What became of an order.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Taken by the sink, durable there, and no letters any more.
    pub(crate) replayed: u64,
    /// Refused again, each with what the far side said. They stay.
    pub(crate) refused: Vec<(Uuid, String)>,
    /// Why the others stay.
    pub(crate) stopped: Option<Stopped>,
}

/// Why past events are not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The sink can't take them rightly.
    Never(String),
    /// It may work later.
    NotNow(String),
}

/// Why there is no replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotBegun {
    Stopped(Stopped),
    /// There is one, which has come so far.
    Busy(String),
}

impl LettersOrder {
    pub(crate) fn end(self, stopped: Stopped) {
        // Whoever asked may have gone.
        let _ = self.answer.send(Outcome { stopped: Some(stopped), ..Outcome::default() });
    }
}

impl Order {
    fn end(self, stopped: Stopped) {
        match self {
            Self::Redeliver(order) => order.end(stopped),
            Self::Past(order) => drop(order.answer.send(Err(NotBegun::Stopped(stopped)))),
        }
    }
}

/// Tell everyone who wants something that the sink takes nothing at the moment, or never takes the
/// past.
pub(crate) async fn turn_away(
    orders: &mut mpsc::Receiver<Order>,
    in_order_only: Option<&'static str>,
    reason: &str,
) -> Infallible {
    while let Some(order) = orders.recv().await {
        order.end(match in_order_only {
            Some(never) => Stopped::Never(never.to_owned()),
            None => Stopped::NotNow(format!("the sink takes nothing at the moment: {reason}")),
        });
    }
    std::future::pending().await
}
