//! The clauses about the other calls: `check`, `position`, `close`.

use observer_core::{ErrorKind, Position};

use super::Trial;
use super::compare::{at_least, exactly};
use super::destination::Outage;
use super::driver::{Dropped, told};
use super::events::{EPOCH, events, events_of};
use super::violation::{Broken, Tried, When};

impl Trial<'_> {
    pub(super) async fn check(&self) -> Result<Tried, Broken> {
        let sink = self.sink();
        let reachable = |checked: Result<(), observer_core::SinkError>| {
            checked.map_err(|error| Broken::new("`check` finds the far side", told(&error)))
        };
        reachable(sink.check().await.when("a far side that can be reached")?)
            .when("a far side that can be reached")?;
        exactly(&self.held_after(sink).await, &[]).when("a check, and nothing delivered")?;
        if self.destination.make_unavailable().await == Outage::Unsupported {
            return Ok(Tried::LeftOut("there is no way to break the far side"));
        }
        let when = "a far side that can't be reached";
        let sink = self.sink();
        let expected = "`check` fails, and says why";
        match sink.check().await.when(when)? {
            Ok(()) => return Err(Broken::new(expected, "it succeeded")).when(when),
            Err(error) if error.kind == ErrorKind::Permanent => {
                let found = format!("{}, which is a word about a batch", told(&error));
                return Err(Broken::new(
                    "`check` fails with a transient or a blocked error",
                    found,
                ))
                .when(when);
            }
            Err(error) if error.report().trim().is_empty() => {
                return Err(Broken::new(expected, "it failed without a word")).when(when);
            }
            Err(_) => {}
        }
        self.destination.make_available().await;
        let when = "a far side that was mended";
        reachable(sink.check().await.when(when)?).when(when)?;
        let sent = events(1..=3);
        sink.settle(&sent).await.when(when)?;
        sink.flush().await.when(when)?;
        exactly(&self.held_after(sink).await, &sent).when(when)?;
        Ok(Tried::Whole)
    }

    pub(super) async fn position(&self) -> Result<Tried, Broken> {
        let sent = events(1..=40);
        let sink = self.sink();
        no_further(sink.position().await.when("a new far side")?, 0).when("a new far side")?;
        sink.settle(&sent[..5]).await.when("a first batch")?;
        no_further(sink.position().await.when("a batch that was delivered")?, 5)
            .when("a batch that was delivered")?;
        sink.flush().await.when("a first batch")?;
        let Some(flushed) = sink.position().await.when("a batch that was flushed")? else {
            return Ok(Tried::LeftOut("the sink keeps no position"));
        };
        no_further(Some(flushed), 5).when("a batch that was flushed")?;
        let mut sink = sink;
        // Each time a crash, with a batch that was not flushed, or one that was dropped after so
        // many polls.
        for (delivered, polls) in
            [(10, None), (15, Some(1)), (20, Some(0)), (25, Some(2)), (30, Some(3))]
        {
            let batch = &sent[delivered - 5..delivered];
            let when = match polls {
                None => "a crash after a batch that was not flushed".to_owned(),
                Some(polls) => {
                    format!("a crash after a delivery that was dropped after {polls} polls")
                }
            };
            match polls {
                None => sink.settle(batch).await.when(when.as_str())?,
                Some(polls) => {
                    let (Dropped::HalfWay | Dropped::Never) =
                        sink.drop_after(polls, batch).await.when(when.as_str())?;
                }
            }
            drop(sink);
            sink = self.sink();
            let position = sink.position().await.when(when.as_str())?;
            no_further(position, delivered as u64).when(when.as_str())?;
            let reached =
                position.map_or(0, |position| usize::try_from(position.seq).unwrap_or(usize::MAX));
            // Only what the sink itself vouches for has to be there; it may be in the middle of
            // mending.
            let held = self.held_after(sink).await;
            at_least(&held, &sent[..delivered], reached)
                .when(format!("{when}; the position says {reached}"))?;
            sink = self.sink();
            let reached =
                sink.position().await.when(when.as_str())?.map_or(0, |position| position.seq);
            let reached = usize::try_from(reached).unwrap_or(usize::MAX).min(delivered);
            if reached < delivered {
                sink.settle(&sent[reached..delivered]).await.when(when.as_str())?;
            }
            sink.flush().await.when(when.as_str())?;
            let when = format!("{when}, and all past the position {reached} delivered again");
            exactly(&self.held_after(sink).await, &sent[..delivered]).when(when)?;
            sink = self.sink();
        }
        let when = "a journal that lost its end: a new epoch with smaller numbers";
        let others = events_of(EPOCH + 1, 1..=3);
        let _ = sink.position().await.when(when)?;
        sink.settle_in(EPOCH + 1, &others).await.when(when)?;
        sink.flush().await.when(when)?;
        let position = sink.position().await.when(when)?;
        let expected = Position { epoch: EPOCH + 1, seq: 3 };
        if position.is_none_or(|position| position > expected) {
            return Err(Broken::new(
                format!("a position of at most {expected}"),
                format!("{position:?}"),
            ))
            .when(when);
        }
        let all: Vec<_> = sent[..30].iter().chain(&others).cloned().collect();
        exactly(&self.held_after(sink).await, &all).when(when)?;
        Ok(Tried::Whole)
    }

    pub(super) async fn close(&self) -> Result<Tried, Broken> {
        self.sink().close().await.when("a sink that was never used")?;
        let sent = events(1..=8);
        let sink = self.sink();
        sink.settle(&sent[..4]).await.when("before a close")?;
        sink.flush().await.when("before a close")?;
        sink.close().await.when("after a batch and a flush")?;
        exactly(&self.destination.contents().await, &sent[..4])
            .when("a close after a batch and a flush")?;
        let sink = self.sink();
        let _ = sink.drop_after(1, &sent[4..]).await.when("before a close")?;
        sink.close().await.when("after a delivery that was dropped half-way")?;
        at_least(&self.destination.contents().await, &sent, 4)
            .when("a close after a delivery that was dropped half-way")?;
        Ok(Tried::Whole)
    }
}

fn no_further(position: Option<Position>, seq: u64) -> Result<(), Broken> {
    match position {
        Some(position) if position.epoch > EPOCH || position.seq > seq => {
            let most = Position { epoch: EPOCH, seq };
            Err(Broken::new(format!("no position, or one of at most {most}"), position.to_string()))
        }
        _ => Ok(()),
    }
}
