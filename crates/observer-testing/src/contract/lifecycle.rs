//! Clauses about `check`, `position` and `close`.

use std::sync::Arc;

use observer_core::{Envelope, ErrorKind, Position, SinkError};

use super::compare::{at_least, exactly};
use super::destination::Outage;
use super::driver::{Cancelled, Driver, describe};
use super::events::{EPOCH, events, events_of};
use super::trial::Trial;
use super::violation::{Coverage, Failure, InScenario};

impl Trial {
    pub(super) async fn check(&self) -> Result<Coverage, Failure> {
        let sink = self.sink();
        let scenario = "an available destination";
        succeeded(sink.check().await.in_scenario(scenario)?).in_scenario(scenario)?;
        exactly(&self.contents_after_crash(sink).await, &[])
            .in_scenario("a check without a delivery")?;
        if self.destination.make_unavailable().await == Outage::Unsupported {
            return Ok(Coverage::Skipped("the destination can't be made unavailable"));
        }
        let scenario = "an unavailable destination";
        let sink = self.sink();
        failed_with_reason(sink.check().await.in_scenario(scenario)?).in_scenario(scenario)?;
        self.destination.make_available().await;
        let scenario = "a destination that is available again";
        succeeded(sink.check().await.in_scenario(scenario)?).in_scenario(scenario)?;
        let sent = events(1..=3);
        sink.deliver(&sent).await.in_scenario(scenario)?;
        sink.flush().await.in_scenario(scenario)?;
        exactly(&self.contents_after_crash(sink).await, &sent).in_scenario(scenario)?;
        Ok(Coverage::Full)
    }

    pub(super) async fn position(&self) -> Result<Coverage, Failure> {
        let sent = events(1..=40);
        let sink = self.sink();
        let scenario = "a new destination";
        at_most(sink.position().await.in_scenario(scenario)?, 0).in_scenario(scenario)?;
        sink.deliver(&sent[..5]).await.in_scenario("a first batch")?;
        let scenario = "a batch that was delivered";
        at_most(sink.position().await.in_scenario(scenario)?, 5).in_scenario(scenario)?;
        sink.flush().await.in_scenario("a first batch")?;
        let scenario = "a batch that was flushed";
        let Some(flushed) = sink.position().await.in_scenario(scenario)? else {
            return Ok(Coverage::Skipped("the sink keeps no position"));
        };
        at_most(Some(flushed), 5).in_scenario(scenario)?;
        let mut sink = sink;
        for (delivered, polls) in
            [(10, None), (15, Some(1)), (20, Some(0)), (25, Some(2)), (30, Some(3))]
        {
            sink = self.position_after_crash(sink, &sent[..delivered], polls).await?;
        }
        self.position_in_new_epoch(sink, &sent[..30]).await?;
        Ok(Coverage::Full)
    }

    /// Delivers the last five events, or cancels their delivery after this number of polls, and
    /// verifies the position after a crash. Returns a new sink.
    async fn position_after_crash(
        &self,
        sink: Driver,
        sent: &[Arc<Envelope>],
        polls: Option<usize>,
    ) -> Result<Driver, Failure> {
        let batch = &sent[sent.len() - 5..];
        let scenario = match polls {
            None => "a crash after a batch that was not flushed".to_owned(),
            Some(polls) => {
                format!("a crash after a delivery that was cancelled after {polls} polls")
            }
        };
        match polls {
            None => sink.deliver(batch).await.in_scenario(scenario.as_str())?,
            Some(polls) => {
                let (Cancelled::InProgress | Cancelled::AfterReturn) =
                    sink.cancel_after(polls, batch).await.in_scenario(scenario.as_str())?;
            }
        }
        drop(sink);
        let sink = self.sink();
        let position = sink.position().await.in_scenario(scenario.as_str())?;
        at_most(position, sent.len() as u64).in_scenario(scenario.as_str())?;
        let reached =
            position.map_or(0, |position| usize::try_from(position.seq).unwrap_or(usize::MAX));
        // Only events up to the position must be there: the sink may be repairing the rest.
        at_least(&self.contents_after_crash(sink).await, sent, reached)
            .in_scenario(format!("{scenario}; the position is {reached}"))?;
        let sink = self.sink();
        let position = sink.position().await.in_scenario(scenario.as_str())?;
        let reached = position.map_or(0, |position| position.seq);
        let reached = usize::try_from(reached).unwrap_or(usize::MAX).min(sent.len());
        if reached < sent.len() {
            sink.deliver(&sent[reached..]).await.in_scenario(scenario.as_str())?;
        }
        sink.flush().await.in_scenario(scenario.as_str())?;
        exactly(&self.contents_after_crash(sink).await, sent)
            .in_scenario(format!("{scenario}; events after the position {reached} again"))?;
        Ok(self.sink())
    }

    /// Continues in a new epoch, in which small sequence numbers denote other events.
    async fn position_in_new_epoch(
        &self,
        sink: Driver,
        sent: &[Arc<Envelope>],
    ) -> Result<(), Failure> {
        let scenario = "a journal that lost its end: a new epoch with smaller numbers";
        let others = events_of(EPOCH + 1, 1..=3);
        let _ = sink.position().await.in_scenario(scenario)?;
        sink.deliver_in(EPOCH + 1, &others).await.in_scenario(scenario)?;
        sink.flush().await.in_scenario(scenario)?;
        let position = sink.position().await.in_scenario(scenario)?;
        let expected = Position { epoch: EPOCH + 1, seq: 3 };
        if position.is_none_or(|position| position > expected) {
            let failure =
                Failure::new(format!("a position of at most {expected}"), format!("{position:?}"));
            return Err(failure).in_scenario(scenario);
        }
        let all: Vec<_> = sent.iter().chain(&others).cloned().collect();
        exactly(&self.contents_after_crash(sink).await, &all).in_scenario(scenario)
    }

    pub(super) async fn close(&self) -> Result<Coverage, Failure> {
        self.sink().close().await.in_scenario("a sink without a delivery")?;
        let sent = events(1..=8);
        let sink = self.sink();
        let scenario = "a close after a batch and a flush";
        sink.deliver(&sent[..4]).await.in_scenario(scenario)?;
        sink.flush().await.in_scenario(scenario)?;
        sink.close().await.in_scenario(scenario)?;
        exactly(&self.destination.contents().await, &sent[..4]).in_scenario(scenario)?;
        let sink = self.sink();
        let scenario = "a close after a cancelled delivery";
        let _ = sink.cancel_after(1, &sent[4..]).await.in_scenario(scenario)?;
        sink.close().await.in_scenario(scenario)?;
        at_least(&self.destination.contents().await, &sent, 4).in_scenario(scenario)?;
        Ok(Coverage::Full)
    }
}

/// Requires that a `check` succeeded.
fn succeeded(checked: Result<(), SinkError>) -> Result<(), Failure> {
    checked.map_err(|error| Failure::new("`check` succeeds", describe(&error)))
}

/// Requires that a `check` failed, with a reason and a kind that concerns the destination.
fn failed_with_reason(checked: Result<(), SinkError>) -> Result<(), Failure> {
    let expected = "`check` fails with a reason";
    match checked {
        Ok(()) => Err(Failure::new(expected, "it succeeded")),
        Err(error) if error.kind == ErrorKind::Permanent => Err(Failure::new(
            "`check` fails with a transient or a blocked error",
            format!("{}, a kind of error that concerns a batch", describe(&error)),
        )),
        Err(error) if error.report().trim().is_empty() => {
            Err(Failure::new(expected, "it failed without a reason"))
        }
        Err(_) => Ok(()),
    }
}

/// Requires that a position, if there is one, is not beyond `seq`.
fn at_most(position: Option<Position>, seq: u64) -> Result<(), Failure> {
    match position {
        Some(position) if position.epoch > EPOCH || position.seq > seq => {
            let most = Position { epoch: EPOCH, seq };
            let expected = format!("no position, or one of at most {most}");
            Err(Failure::new(expected, position.to_string()))
        }
        _ => Ok(()),
    }
}
