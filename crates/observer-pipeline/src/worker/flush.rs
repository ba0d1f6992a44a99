//! Durability: dead letters, flushes of the sink, and its positions.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use observer_core::{ErrorKind, SinkError};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, Span};

use crate::dead_letters::store::NewDeadLetter;
use crate::error::treatment;
use crate::event_log::EventLog;
use crate::lock::lock;
use crate::spans;
use crate::status::SinkState;
use crate::worker::Worker;
use crate::worker::phase::{Ended, Phase, phase_reached};
use crate::worker::retry::Wake;
use crate::worker::stream::Stream;

/// Timeout of the last flush, and of `close`.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

impl Worker {
    /// Writes events to the dead-letter store, and counts them as dead.
    pub(crate) async fn write_dead_letters(
        &mut self,
        dead_letters: Vec<NewDeadLetter>,
    ) -> Result<(), Ended> {
        if dead_letters.is_empty() {
            return Ok(());
        }
        let count = dead_letters.len() as u64;
        tracing::warn!(
            sink = self.name,
            count,
            first_seq = dead_letters[0].envelope.seq,
            reason = dead_letters[0].reason,
            "events were permanently rejected and became dead letters"
        );
        let dead_letters = Arc::new(dead_letters);
        loop {
            let (store, new) = (self.dead_letters.clone(), dead_letters.clone());
            match self.run_blocking(move || lock(&store).put(&new)).await {
                Ok(()) => break,
                Err(error) => {
                    let error =
                        SinkError::transient(format!("the dead letters can't be written: {error}"));
                    self.back_off(&error).await?;
                }
            }
        }
        self.streams.active_stream().ahead.dead += count;
        Ok(())
    }

    /// Flushes the sink if there are unflushed deliveries, and sets the positions. Backs off or
    /// parks when the flush fails.
    pub(crate) async fn flush(&mut self) -> Result<(), Ended> {
        self.last_flush = Instant::now();
        if self.streams.are_flushed() {
            return Ok(());
        }
        match self.flush_all().await? {
            Ok(()) => Ok(()),
            Err(error) if treatment(error.kind) == ErrorKind::Blocked => {
                self.park(error.report(), Wake::OnTimer).await
            }
            Err(error) => self.back_off(&error).await,
        }
    }

    /// Flushes the sink and the dead-letter store, also without unflushed deliveries, and sets
    /// the positions. When the flush fails, all streams are reset to the last successful flush.
    pub(crate) async fn flush_all(&mut self) -> Result<Result<(), SinkError>, Ended> {
        self.last_flush = Instant::now();
        let sink = self.sink.clone();
        let store = self.dead_letters.clone();
        let span = spans::flush(&self.last_batch, &self.name);
        let flush = sink.flush().instrument(span.clone());
        let flushed = match self.call(flush, Phase::Stopping).await? {
            Ok(()) => self.run_blocking(move || lock(&store).sync()).await.map_err(|error| {
                SinkError::transient(format!("the dead letters can't be made durable: {error}"))
            }),
            Err(error) => Err(error),
        };
        self.last_batch = Span::none();
        let Err(error) = flushed else {
            self.mark_flushed();
            return Ok(Ok(()));
        };
        spans::record_error(&span, &error);
        self.streams.iter_mut().for_each(Stream::rewind);
        let mut progress = self.progress.lock();
        progress.checkpoint = self.streams.live.checkpoint;
        if let (Some(replay), Some(record)) = (&self.streams.replay, &mut progress.replay) {
            record.checkpoint = replay.stream.checkpoint;
        }
        drop(progress);
        Ok(Err(error))
    }

    fn mark_flushed(&mut self) {
        self.streams.iter_mut().for_each(|stream| stream.flushed = stream.checkpoint);
        self.set_positions();
    }

    /// Sets the flushed positions in the journal. They are durable after its next `maintain`.
    pub(crate) fn set_positions(&self) {
        let EventLog { journal, .. } = &self.event_log;
        let flushed = self.streams.live.flushed;
        journal.set_position(&self.name, flushed.seq, flushed.encode().into());
        // Under the lock, since the pipeline may cancel the replay.
        if let (Some(replay), Some(record)) = (&self.streams.replay, &self.progress.lock().replay) {
            record.store(journal, &self.name, replay.stream.flushed);
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
        let sink = self.sink.clone();
        if !self.streams.are_flushed() {
            let store = self.dead_letters.clone();
            let span = spans::flush(&self.last_batch, &self.name);
            match timeout(SHUTDOWN_TIMEOUT, sink.flush().instrument(span)).await {
                Ok(Ok(())) => match self.run_blocking(move || lock(&store).sync()).await {
                    Ok(()) => self.mark_flushed(),
                    Err(error) => tracing::warn!(
                        sink = self.name,
                        %error,
                        "the last dead letters are not durable; their events will be delivered \
                         again"
                    ),
                },
                Ok(Err(error)) => tracing::warn!(
                    sink = self.name,
                    reason = error.report(),
                    "the last flush failed; events since the one before will be delivered again"
                ),
                Err(_) => tracing::warn!(
                    sink = self.name,
                    "the last flush timed out; events since the one before will be delivered again"
                ),
            }
        }
        // The receiver is gone when the pipeline was dropped without a shutdown.
        let _ = self.last_flush_done.take().map(|done| done.send(()));
        phase_reached(&mut self.phase, Phase::Closing).await;
        match timeout(SHUTDOWN_TIMEOUT, sink.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    sink = self.name,
                    reason = error.report(),
                    "the sink failed to close"
                );
            }
            Err(_) => tracing::warn!(sink = self.name, "the sink did not close in time"),
        }
        self.progress.lock().state = SinkState::Stopped;
    }
}
