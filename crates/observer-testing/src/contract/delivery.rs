//! The clauses about what is delivered and flushed.

use super::Trial;
use super::compare::{at_least, exactly, with_repeats};
use super::driver::Dropped;
use super::events::{events, extremes};
use super::violation::{Broken, Tried, When};

/// Deliveries are dropped after none to so many polls.
const POLLS: usize = 24;

impl Trial<'_> {
    pub(super) async fn order(&self) -> Result<Tried, Broken> {
        let sink = self.sink();
        // A filter held back those between.
        let sent: Vec<_> =
            events(1..=90).into_iter().filter(|envelope| envelope.seq % 4 != 1).collect();
        let mut rest = &sent[..];
        for size in [1, 2, 7, 1, 13, 30].into_iter().cycle() {
            let (batch, others) = rest.split_at(size.min(rest.len()));
            sink.settle(batch).await.when("batches of different sizes")?;
            if size == 7 {
                sink.flush().await.when("batches of different sizes")?;
            }
            rest = others;
            if rest.is_empty() {
                break;
            }
        }
        sink.flush().await.when("a flush after all batches")?;
        exactly(&self.held_after(sink).await, &sent).when("batches of different sizes, flushed")?;
        Ok(Tried::Whole)
    }

    pub(super) async fn durable(&self) -> Result<Tried, Broken> {
        let sent = events(1..=30);
        for (round, end) in (1..).zip([5, 6, 20, 30]) {
            let when =
                format!("the sink was built, took a batch, was flushed and dropped, {round} times");
            let sink = self.sink();
            // As the pipeline does at a start.
            let _ = sink.position().await.when(when.as_str())?;
            let start = [0, 5, 6, 20][round - 1];
            sink.settle(&sent[start..end]).await.when(when.as_str())?;
            sink.flush().await.when(when.as_str())?;
            sink.flush().await.when("a flush with nothing new")?;
            exactly(&self.held_after(sink).await, &sent[..end]).when(when)?;
        }
        Ok(Tried::Whole)
    }

    pub(super) async fn cancelled(&self) -> Result<Tried, Broken> {
        let sent = events(1..=6 * (POLLS as u64 + 1));
        let mut sink = self.sink();
        let mut delivered = 0;
        for polls in 0..=POLLS {
            let batch = &sent[delivered..delivered + 6];
            delivered += 6;
            let dropped =
                sink.drop_after(polls, batch).await.when("a delivery that was to be dropped")?;
            let when = match dropped {
                Dropped::HalfWay => {
                    format!("a delivery was dropped after {polls} polls, and repeated")
                }
                Dropped::Never => "a delivery that nobody heard the end of was repeated".to_owned(),
            };
            // What the pipeline may do next: the same batch, its flush first, a smaller batch, or a
            // new start.
            match polls % 4 {
                0 => sink.settle(batch).await.when(when.as_str())?,
                1 => {
                    sink.flush().await.when(when.as_str())?;
                    sink.settle(batch).await.when(when.as_str())?;
                }
                2 => {
                    sink.settle(&batch[..3]).await.when(when.as_str())?;
                    sink.settle(&batch[3..]).await.when(when.as_str())?;
                }
                _ => {
                    sink.flush().await.when(when.as_str())?;
                    let before = delivered - 6;
                    at_least(&self.held_after(sink).await, &sent[..delivered], before)
                        .when(when.as_str())?;
                    sink = self.sink();
                    let position = sink.position().await.when(when.as_str())?;
                    let known =
                        position.map_or(0, |position| position.seq).saturating_sub(before as u64);
                    let known = usize::try_from(known).unwrap_or(usize::MAX).min(6);
                    if known < 6 {
                        sink.settle(&batch[known..]).await.when(when.as_str())?;
                    }
                }
            }
            if polls % 4 == 3 {
                sink.flush().await.when(when.as_str())?;
                with_repeats(&self.held_after(sink).await, &sent[..delivered]).when(when)?;
                sink = self.sink();
            }
        }
        sink.flush().await.when("a flush after all batches")?;
        with_repeats(&self.held_after(sink).await, &sent[..delivered])
            .when("deliveries were dropped and repeated")?;
        Ok(Tried::Whole)
    }

    pub(super) async fn repeated(&self) -> Result<Tried, Broken> {
        let sent = events(1..=12);
        let sink = self.sink();
        let when = "the same batch twice";
        sink.settle(&sent[..4]).await.when(when)?;
        sink.settle(&sent[..4]).await.when(when)?;
        let when = "all since the last flush once more, as after a flush that failed";
        sink.settle(&sent[4..8]).await.when(when)?;
        sink.settle(&sent[8..]).await.when(when)?;
        sink.settle(&sent[4..8]).await.when(when)?;
        sink.settle(&sent[8..]).await.when(when)?;
        sink.flush().await.when(when)?;
        with_repeats(&self.held_after(sink).await, &sent).when("batches were delivered twice")?;
        Ok(Tried::Whole)
    }

    pub(super) async fn sizes(&self) -> Result<Tried, Broken> {
        let max = self.contract.max_events;
        let sent = events(1..=max as u64 + 2);
        let sink = self.sink();
        for batch in [&sent[..1], &sent[1..=max], &sent[max + 1..]] {
            sink.settle(batch).await.when(format!("a batch of {}", batch.len()))?;
        }
        sink.flush().await.when("a flush after all batches")?;
        exactly(&self.held_after(sink).await, &sent).when(format!("batches of 1, {max} and 1"))?;
        Ok(Tried::Whole)
    }

    pub(super) async fn fields(&self) -> Result<Tried, Broken> {
        let sent = extremes(self.contract.max_event_bytes);
        let sink = self.sink();
        let (small, large) = sent.split_at(sent.len() - 1);
        sink.settle(small).await.when("events with the smallest and the largest fields")?;
        sink.settle(large)
            .await
            .when(format!("an event of {} bytes", large[0].event.raw().len()))?;
        sink.flush().await.when("a flush after them")?;
        let held = self.held_after(sink).await;
        let kept: Vec<_> =
            sent.into_iter().filter(|envelope| self.destination.stores(envelope)).collect();
        exactly(&held, &kept).when("events with the smallest and the largest fields")?;
        Ok(Tried::Whole)
    }
}
