//! Clauses about events that a destination does not accept.

use std::sync::Arc;

use observer_core::{Envelope, ErrorKind, SinkError};

use super::compare::with_repeats;
use super::destination::Outage;
use super::driver::{Driver, describe};
use super::events::events;
use super::trial::Trial;
use super::violation::{Coverage, Failure, InScenario};

/// Events that were not accepted, after all deliveries of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unaccepted {
    /// Sequence numbers of the events that the sink named.
    rejected: Vec<u64>,
    /// Number of events that the sink counted without naming them.
    refused: u64,
}

impl Trial {
    pub(super) async fn rejection(&self) -> Result<Coverage, Failure> {
        let sent = events(1..=14);
        let rejected = &sent[9];
        if self.destination.reject(rejected).await == Outage::Unsupported {
            return Ok(Coverage::Skipped("the destination can't be made to reject an event"));
        }
        let scenario = "a batch before the one with the rejected event";
        let sink = self.sink();
        sink.deliver(&sent[..7]).await.in_scenario(scenario)?;
        let scenario = "a batch of 7, of which the destination rejects the third";
        let unaccepted = resolve(&sink, &sent[7..]).await.in_scenario(scenario)?;
        let named = Unaccepted { rejected: vec![rejected.seq], refused: 0 };
        let counted = Unaccepted { rejected: Vec::new(), refused: 1 };
        if unaccepted != named && unaccepted != counted {
            let expected = format!("event {} is rejected, or one event is refused", rejected.seq);
            return Err(Failure::new(expected, format!("{unaccepted:?}"))).in_scenario(scenario);
        }
        sink.flush().await.in_scenario("a flush after all batches")?;
        let accepted: Vec<_> =
            sent.iter().filter(|envelope| envelope.seq != rejected.seq).cloned().collect();
        with_repeats(&self.contents_after_crash(sink).await, &accepted).in_scenario(format!(
            "{scenario}; the accepted events, without event {}",
            rejected.seq
        ))?;
        Ok(Coverage::Full)
    }

    pub(super) async fn partial_acceptance(&self) -> Result<Coverage, Failure> {
        let sent = events(1..=14);
        let sink = self.sink();
        let scenario = "a batch before the one that fails";
        sink.deliver(&sent[..7]).await.in_scenario(scenario)?;
        if self.destination.fail_after(3).await == Outage::Unsupported {
            return Ok(Coverage::Skipped("the destination can't be made to fail within a batch"));
        }
        let scenario = "a batch of 7, of which the destination accepts 3 before it fails";
        let batch = &sent[7..];
        let rest = match sink.try_deliver(batch).await.in_scenario(scenario)? {
            Ok(_) => Vec::new(),
            Err(error) => without_accepted(batch, &error),
        };
        let scenario = format!("{scenario}; then {} of them again", rest.len());
        if !rest.is_empty() {
            sink.deliver(&rest).await.in_scenario(scenario.as_str())?;
        }
        sink.flush().await.in_scenario(scenario.as_str())?;
        with_repeats(&self.contents_after_crash(sink).await, &sent)
            .in_scenario(scenario.as_str())?;
        Ok(Coverage::Full)
    }
}

/// Delivers a batch, and its parts until each event has a result, as the pipeline does.
async fn resolve(sink: &Driver, batch: &[Arc<Envelope>]) -> Result<Unaccepted, Failure> {
    let mut unaccepted = Unaccepted::default();
    let mut work = vec![batch.to_vec()];
    while let Some(part) = work.pop() {
        let error = match sink.try_deliver(&part).await? {
            Ok(receipt) => {
                let rejected = receipt.rejected.iter().map(|rejected| part[rejected.index].seq);
                unaccepted.rejected.extend(rejected);
                unaccepted.refused += receipt.refused.map_or(0, |refused| refused.count);
                continue;
            }
            Err(error) => error,
        };
        if matches!(error.kind, ErrorKind::Transient | ErrorKind::Blocked) {
            let expected = "a rejected event is not reported as a state of the destination";
            return Err(Failure::new(expected, describe(&error)));
        }
        let rest = without_accepted(&part, &error);
        match rest.as_slice() {
            [] => {}
            [alone] if part.len() == 1 => unaccepted.rejected.push(alone.seq),
            rest => {
                let (left, right) = rest.split_at(rest.len().div_ceil(2));
                work.extend(
                    [right, left].into_iter().filter(|half| !half.is_empty()).map(<[_]>::to_vec),
                );
            }
        }
    }
    unaccepted.rejected.sort_unstable();
    Ok(unaccepted)
}

/// Returns the events of a batch that an error does not name as accepted.
fn without_accepted(batch: &[Arc<Envelope>], error: &SinkError) -> Vec<Arc<Envelope>> {
    let events = batch.iter().enumerate();
    let rest = events.filter(|(index, _)| !error.accepted.contains(index));
    rest.map(|(_, envelope)| envelope.clone()).collect()
}
