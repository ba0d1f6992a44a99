//! Durability: dead letters, flushes of the sink, and its positions.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{Instrument, Span};

use crate::event_log::EventLog;
use crate::lock::lock;
use crate::spans;
use crate::status::SinkState;
use crate::worker::Worker;
use crate::worker::delivery::{CallError, Called};
use crate::worker::phase::{Ended, Phase, phase_reached};
use crate::worker::stream::{Stream, StreamKind};

/// Result of a flush.
pub(crate) type Flushed = Result<(), CallError>;

/// Timeout of the last flush, and of `close`.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

impl Worker {
    /// Returns whether everything that was resolved is flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        self.streams.are_flushed()
            && self.aside_results.is_empty()
            && self.aside_evidence.is_empty()
    }

    /// Flushes the sink if there are unflushed deliveries, and sets the positions. Backs off or
    /// parks when the flush fails.
    pub(crate) async fn flush(&mut self) -> Result<(), Ended> {
        self.last_flush = Instant::now();
        if self.is_flushed() {
            return Ok(());
        }
        match self.flush_all().await? {
            Ok(()) => Ok(()),
            Err(error) if error.parks => self.park(&error.reason).await.map(|_| ()),
            Err(error) => self.back_off(error.retry_after, &error.reason).await,
        }
    }

    /// Flushes the sink and the stores, also without unflushed deliveries, and sets the positions.
    /// When the flush fails, all streams are reset to the last successful flush.
    pub(crate) async fn flush_all(&mut self) -> Result<Flushed, Ended> {
        self.last_flush = Instant::now();
        let sink = self.delivery.sink.clone();
        let span = spans::flush(&self.last_batch, &self.delivery.name);
        let flush = sink.flush().instrument(span.clone());
        let flushed = match self.delivery.call(flush, Phase::Stopping).await? {
            Called::Done(()) => self.sync_stores().await.map_err(|error| CallError {
                parks: false,
                retry_after: None,
                reason: format!("the dead letters can't be made durable: {error}"),
            }),
            Called::Failed(error) => Err(error),
        };
        self.last_batch = Span::none();
        let Err(error) = flushed else {
            self.mark_flushed();
            return Ok(Ok(()));
        };
        spans::record_failure(&span, "flush", &error.reason);
        self.rewind();
        Ok(Err(error))
    }

    /// Makes dead letters and undecided events durable.
    async fn sync_stores(&self) -> io::Result<()> {
        let (dead_letters, undecided) = (self.dead_letters.clone(), self.undecided.clone());
        let (results, evidence) = (self.aside_results.clone(), self.aside_evidence.clone());
        let (journal, flushed) = (self.event_log.journal.clone(), self.streams.live.flushed.seq);
        self.run_blocking(move || {
            lock(&dead_letters).sync()?;
            let mut undecided = lock(&undecided);
            for (seq, evidence) in evidence {
                undecided.add_evidence(seq, evidence);
            }
            for (seq, result) in results {
                undecided.resolve(seq, result);
            }
            if undecided.wants_compaction() && journal.maintain().is_ok() {
                undecided.compact(flushed);
            }
            undecided.commit()
        })
        .await
    }

    /// Returns to the last successful flush.
    fn rewind(&mut self) {
        self.streams.iter_mut().for_each(Stream::rewind);
        self.aside_results.clear();
        let flushed = self.streams.live.flushed.seq;
        self.aside_evidence.retain(|seq, _| *seq <= flushed);
        lock(&self.undecided).rewind(flushed);
        self.restore_undecided(false);
        self.report_checkpoint(StreamKind::Live);
        self.report_checkpoint(StreamKind::Replay);
        self.report_undecided();
    }

    fn mark_flushed(&mut self) {
        self.streams.iter_mut().for_each(|stream| stream.flushed = stream.checkpoint);
        self.aside_results.clear();
        self.aside_evidence.clear();
        self.set_positions();
    }

    /// Sets the flushed positions in the journal. They are durable after its next `maintain`.
    pub(crate) fn set_positions(&self) {
        let EventLog { journal, .. } = &self.event_log;
        let flushed = self.streams.live.flushed;
        journal.set_position(&self.delivery.name, flushed.seq, flushed.encode().into());
        // Under the lock, since the pipeline may cancel the replay.
        if let (Some(replay), Some(record)) = (&self.streams.replay, &self.progress.lock().replay) {
            record.store(journal, &self.delivery.name, replay.stream.flushed);
        }
    }

    pub(crate) async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.event_log.blocking.run(work).await?
    }

    /// Flushes for the last time, waits for [`Phase::Closing`], and closes the sink.
    pub(crate) async fn finish(&mut self) {
        let sink = self.delivery.sink.clone();
        self.streams.iter_mut().for_each(|stream| stream.end_batch(false));
        if !self.is_flushed() {
            self.flush_last().await;
        }
        // The receiver is gone when the pipeline was dropped without a shutdown.
        let _ = self.last_flush_done.take().map(|done| done.send(()));
        phase_reached(&mut self.phase, Phase::Closing).await;
        let name = &self.delivery.name;
        match timeout(SHUTDOWN_TIMEOUT, sink.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(sink = name, reason = error.report(), "the sink failed to close");
            }
            Err(_) => tracing::warn!(sink = name, "the sink did not close in time"),
        }
        self.progress.lock().state = SinkState::Stopped;
    }

    async fn flush_last(&mut self) {
        let sink = self.delivery.sink.clone();
        let span = spans::flush(&self.last_batch, &self.delivery.name);
        let name = &self.delivery.name;
        match timeout(SHUTDOWN_TIMEOUT, sink.flush().instrument(span)).await {
            Ok(Ok(())) => match self.sync_stores().await {
                Ok(()) => self.mark_flushed(),
                Err(error) => tracing::warn!(
                    sink = name,
                    %error,
                    "the last dead letters are not durable; their events will be delivered again"
                ),
            },
            Ok(Err(error)) => tracing::warn!(
                sink = name,
                reason = error.report(),
                "the last flush failed; events since the one before will be delivered again"
            ),
            Err(_) => tracing::warn!(
                sink = name,
                "the last flush timed out; events since the one before will be delivered again"
            ),
        }
    }
}
