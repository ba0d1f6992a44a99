//! Diversion: an operator moves unresolved events to the dead letters, so that they hold the sink
//! no longer.

use std::sync::Arc;

use observer_core::{Envelope, Uuid};
use tokio::sync::oneshot;

use crate::dead_letters::handle::DeadLetterError;
use crate::pipeline::Pipeline;
use crate::worker::Worker;
use crate::worker::command::{Command, DivertCommand};
use crate::worker::phase::Ended;
use crate::worker::resolution::Resolution;
use crate::worker::stream::StreamKind;

/// Largest number of events of one diversion.
const MAX_EVENTS: usize = 10_000;

/// Selection of unresolved events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diversion {
    /// The event that holds the sink. If none does, the oldest undecided one, or the next one.
    Holding,
    /// The event with this id, if it was refused, or is among the ones that are delivered next.
    Event(Uuid),
    /// This number of events, from the first unresolved one on.
    Head(usize),
}

impl Worker {
    /// Moves events to the dead letters, and makes that durable.
    pub(crate) async fn divert(&mut self, command: DivertCommand) -> Result<(), Ended> {
        let DivertCommand { diversion, reply } = command;
        let count = match diversion {
            Diversion::Head(count) => count.min(MAX_EVENTS),
            Diversion::Holding | Diversion::Event(_) => 1,
        };
        let mut ids = Vec::new();
        let mut failure = None;
        while ids.len() < count && failure.is_none() {
            let first = |resolution: &Resolution<Arc<Envelope>>| match diversion {
                Diversion::Holding => resolution.most_refused().map(|event| event.id),
                Diversion::Head(_) | Diversion::Event(_) => {
                    resolution.holding().map(|event| event.id)
                }
            };
            if first(&self.streams.live.resolution).is_none() {
                match self.read(StreamKind::Live).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => failure = Some(format!("the journal can't be read: {error}")),
                }
            }
            let wanted = match diversion {
                Diversion::Event(id) => Some(id),
                Diversion::Holding | Diversion::Head(_) => first(&self.streams.live.resolution),
            };
            let Some(wanted) = wanted else { break };
            match self.divert_event(wanted).await {
                Ok(true) => ids.push(wanted),
                Ok(false) => break,
                Err(reason) => failure = Some(reason),
            }
        }
        if failure.is_none() && !ids.is_empty() {
            failure = self.flush_all().await?.err().map(|error| error.reason);
        }
        // The caller may have been cancelled.
        let _ = reply.send(failure.map_or(Ok(ids), Err));
        Ok(())
    }

    /// Returns whether the event was in hand.
    async fn divert_event(&mut self, id: Uuid) -> Result<bool, String> {
        let is_wanted = |event: &Arc<Envelope>| event.id == id;
        let Some(dead) = self.streams.live.resolution.divert(is_wanted) else { return Ok(false) };
        let dead = vec![dead];
        match self.write_dead_letters(&dead).await {
            Ok(()) => {
                self.streams.live.resolution.buried(&dead);
                self.apply(StreamKind::Live);
                Ok(true)
            }
            Err(error) => {
                let reason = format!("the dead letters can't be written: {error}");
                self.streams.live.resolution.unburied(dead, reason.clone(), false);
                Err(reason)
            }
        }
    }
}

impl Pipeline {
    /// Moves unresolved events of a sink to its dead letters, from where they can be redelivered.
    /// Returns their ids once that is durable; none if there is no such event.
    ///
    /// # Errors
    /// If there is no such sink or it isn't running, or the dead letters can't be written.
    pub async fn divert(
        &self,
        sink: &str,
        diversion: Diversion,
    ) -> Result<Vec<Uuid>, DeadLetterError> {
        let commands = self.commands(sink)?;
        let (reply, diverted) = oneshot::channel();
        let not_running = || DeadLetterError::SinkNotRunning { name: sink.to_owned() };
        commands
            .send(Command::Divert(DivertCommand { diversion, reply }))
            .await
            .map_err(|_| not_running())?;
        let ids = diverted
            .await
            .map_err(|_| not_running())?
            .map_err(|reason| DeadLetterError::NotDiverted { reason })?;
        if !ids.is_empty() {
            tracing::info!(sink, count = ids.len(), "events were diverted to the dead letters");
        }
        Ok(ids)
    }

    /// Attempts what a sink has to deliver now, without waiting for its back-off, a delay that the
    /// destination requested, or the next check.
    ///
    /// # Errors
    /// If there is no such sink, or it isn't running.
    pub async fn wake_sink(&self, sink: &str) -> Result<(), DeadLetterError> {
        let commands = self.commands(sink)?;
        let (reply, woken) = oneshot::channel();
        let not_running = || DeadLetterError::SinkNotRunning { name: sink.to_owned() };
        commands.send(Command::Wake(reply)).await.map_err(|_| not_running())?;
        woken.await.map_err(|_| not_running())
    }
}
