//! Clauses about `deliver` and `flush`.

use super::compare::{at_least, exactly, with_repeats};
use super::driver::Cancelled;
use super::events::{events, extremes};
use super::trial::Trial;
use super::violation::{Coverage, Failure, InScenario};

/// Largest number of polls after which a delivery is cancelled.
const MAX_POLLS: usize = 24;

impl Trial {
    pub(super) async fn order(&self) -> Result<Coverage, Failure> {
        let scenario = "batches of different sizes";
        let sink = self.sink();
        // Gaps as a filter of the pipeline leaves them.
        let sent: Vec<_> =
            events(1..=90).into_iter().filter(|envelope| envelope.seq % 4 != 1).collect();
        let mut rest = &sent[..];
        for size in [1, 2, 7, 1, 13, 30].into_iter().cycle() {
            let (batch, others) = rest.split_at(size.min(rest.len()));
            sink.deliver(batch).await.in_scenario(scenario)?;
            if size == 7 {
                sink.flush().await.in_scenario(scenario)?;
            }
            rest = others;
            if rest.is_empty() {
                break;
            }
        }
        sink.flush().await.in_scenario("a flush after all batches")?;
        exactly(&self.contents_after_crash(sink).await, &sent)
            .in_scenario("batches of different sizes, flushed")?;
        Ok(Coverage::Full)
    }

    pub(super) async fn durability(&self) -> Result<Coverage, Failure> {
        let sent = events(1..=30);
        for (round, end) in (1..).zip([5, 6, 20, 30]) {
            let scenario = format!("{round} times: build the sink, deliver a batch, flush, crash");
            let scenario = scenario.as_str();
            let sink = self.sink();
            // The pipeline reads the position before the first delivery.
            let _ = sink.position().await.in_scenario(scenario)?;
            let start = [0, 5, 6, 20][round - 1];
            sink.deliver(&sent[start..end]).await.in_scenario(scenario)?;
            sink.flush().await.in_scenario(scenario)?;
            sink.flush().await.in_scenario("a flush without new events")?;
            exactly(&self.contents_after_crash(sink).await, &sent[..end]).in_scenario(scenario)?;
        }
        Ok(Coverage::Full)
    }

    pub(super) async fn cancellation(&self) -> Result<Coverage, Failure> {
        let sent = events(1..=6 * (MAX_POLLS as u64 + 1));
        let mut sink = self.sink();
        let mut delivered = 0;
        for polls in 0..=MAX_POLLS {
            let batch = &sent[delivered..delivered + 6];
            delivered += 6;
            let cancelled = sink
                .cancel_after(polls, batch)
                .await
                .in_scenario(format!("a delivery to be cancelled after {polls} polls"))?;
            let scenario = match cancelled {
                Cancelled::InProgress => {
                    format!("a delivery cancelled after {polls} polls, and repeated")
                }
                Cancelled::AfterReturn => {
                    "a delivery repeated because its result was dropped".to_owned()
                }
            };
            let scenario = scenario.as_str();
            // The pipeline may continue with the same batch, with a flush and the same batch, with
            // smaller batches, or with a restart.
            match polls % 4 {
                0 => sink.deliver(batch).await.in_scenario(scenario)?,
                1 => {
                    sink.flush().await.in_scenario(scenario)?;
                    sink.deliver(batch).await.in_scenario(scenario)?;
                }
                2 => {
                    sink.deliver(&batch[..3]).await.in_scenario(scenario)?;
                    sink.deliver(&batch[3..]).await.in_scenario(scenario)?;
                }
                _ => {
                    sink.flush().await.in_scenario(scenario)?;
                    let before = delivered - 6;
                    at_least(&self.contents_after_crash(sink).await, &sent[..delivered], before)
                        .in_scenario(scenario)?;
                    sink = self.sink();
                    let position = sink.position().await.in_scenario(scenario)?;
                    let known =
                        position.map_or(0, |position| position.seq).saturating_sub(before as u64);
                    let known = usize::try_from(known).unwrap_or(usize::MAX).min(6);
                    if known < 6 {
                        sink.deliver(&batch[known..]).await.in_scenario(scenario)?;
                    }
                }
            }
            if polls % 4 == 3 {
                sink.flush().await.in_scenario(scenario)?;
                with_repeats(&self.contents_after_crash(sink).await, &sent[..delivered])
                    .in_scenario(scenario)?;
                sink = self.sink();
            }
        }
        sink.flush().await.in_scenario("a flush after all batches")?;
        with_repeats(&self.contents_after_crash(sink).await, &sent[..delivered])
            .in_scenario("deliveries cancelled and repeated")?;
        Ok(Coverage::Full)
    }

    pub(super) async fn redelivery(&self) -> Result<Coverage, Failure> {
        let sent = events(1..=12);
        let sink = self.sink();
        let scenario = "the same batch twice";
        sink.deliver(&sent[..4]).await.in_scenario(scenario)?;
        sink.deliver(&sent[..4]).await.in_scenario(scenario)?;
        let scenario = "all batches since the last flush again, as after a failed flush";
        sink.deliver(&sent[4..8]).await.in_scenario(scenario)?;
        sink.deliver(&sent[8..]).await.in_scenario(scenario)?;
        sink.deliver(&sent[4..8]).await.in_scenario(scenario)?;
        sink.deliver(&sent[8..]).await.in_scenario(scenario)?;
        sink.flush().await.in_scenario(scenario)?;
        with_repeats(&self.contents_after_crash(sink).await, &sent)
            .in_scenario("batches delivered twice")?;
        Ok(Coverage::Full)
    }

    pub(super) async fn batch_sizes(&self) -> Result<Coverage, Failure> {
        let max = self.max_events;
        let sent = events(1..=max as u64 + 2);
        let sink = self.sink();
        for batch in [&sent[..1], &sent[1..=max], &sent[max + 1..]] {
            sink.deliver(batch).await.in_scenario(format!("a batch of {}", batch.len()))?;
        }
        sink.flush().await.in_scenario("a flush after all batches")?;
        exactly(&self.contents_after_crash(sink).await, &sent)
            .in_scenario(format!("batches of 1, {max} and 1"))?;
        Ok(Coverage::Full)
    }

    pub(super) async fn field_values(&self) -> Result<Coverage, Failure> {
        let scenario = "events with the smallest and the largest field values";
        let sent = extremes(self.max_event_bytes);
        let sink = self.sink();
        let (small, large) = sent.split_at(sent.len() - 1);
        sink.deliver(small).await.in_scenario(scenario)?;
        sink.deliver(large)
            .await
            .in_scenario(format!("an event of {} bytes", large[0].event.raw().len()))?;
        sink.flush().await.in_scenario("a flush after all batches")?;
        let contents = self.contents_after_crash(sink).await;
        let stored: Vec<_> =
            sent.into_iter().filter(|envelope| self.destination.stores(envelope)).collect();
        exactly(&contents, &stored).in_scenario(scenario)?;
        Ok(Coverage::Full)
    }
}
