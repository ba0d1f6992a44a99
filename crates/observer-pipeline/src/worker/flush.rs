//! What is made durable: dead letters, what a sink was given, and how far that is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use observer_core::{ErrorKind, SinkError};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, Span};

use crate::dead_letters::store::NewDeadLetter;
use crate::lock::lock;
use crate::source::Source;
use crate::spans;
use crate::status::SinkState;
use crate::worker::Worker;
use crate::worker::backoff::Wake;
use crate::worker::phase::reached;
use crate::worker::phase::{Ended, Phase};
use crate::worker::stream::Lane;

/// How long the last flush and `close` may take when the worker has to end.
const FAREWELL: Duration = Duration::from_secs(5);

impl Worker {
    /// Put events aside for good, with the reason of each.
    pub(crate) async fn bury(&mut self, letters: Vec<NewDeadLetter>) -> Result<(), Ended> {
        if letters.is_empty() {
            return Ok(());
        }
        let count = letters.len() as u64;
        tracing::warn!(
            sink = self.name,
            count,
            first_seq = letters[0].envelope.seq,
            reason = letters[0].reason,
            "events were refused for good and are dead letters now"
        );
        let letters = Arc::new(letters);
        loop {
            let (dead, put) = (self.dead.clone(), letters.clone());
            match self.on_files(move || lock(&dead).put(&put)).await {
                Ok(()) => break,
                Err(error) => {
                    let error =
                        SinkError::transient(format!("the dead letters can't be written: {error}"));
                    self.pause(&error).await?;
                }
            }
        }
        self.lanes.current().open.dead += count;
        Ok(())
    }

    /// Have the sink make durable what it has, and commit how far that is.
    pub(crate) async fn flush(&mut self) -> Result<(), Ended> {
        self.last_flush = Instant::now();
        if self.lanes.are_flushed() {
            return Ok(());
        }
        match self.flush_all().await? {
            Ok(()) => Ok(()),
            Err(error) if error.kind == ErrorKind::Blocked => {
                self.park(error.report(), Wake::OnTimer).await
            }
            Err(error) => self.pause(&error).await,
        }
    }

    /// The same whether anything was delivered or not, and go back to the last flush that worked
    /// where this one doesn't.
    pub(crate) async fn flush_all(&mut self) -> Result<Result<(), SinkError>, Ended> {
        self.last_flush = Instant::now();
        let sink = self.sink.clone();
        let dead = self.dead.clone();
        let span = spans::flush(&self.settled, &self.name);
        let flushed = match self.ask(sink.flush().instrument(span.clone()), Phase::Stopping).await?
        {
            Ok(()) => self.on_files(move || lock(&dead).sync()).await.map_err(|error| {
                SinkError::transient(format!("the dead letters can't be made durable: {error}"))
            }),
            Err(error) => Err(error),
        };
        self.settled = Span::none();
        let Err(error) = flushed else {
            self.flushed();
            return Ok(Ok(()));
        };
        spans::refused(&span, &error);
        self.lanes.each().for_each(Lane::rewind);
        let mut progress = self.progress.lock();
        progress.place = self.lanes.present.place;
        if let (Some(past), Some(replay)) = (&self.lanes.past, &mut progress.replay) {
            replay.place = past.lane.place;
        }
        drop(progress);
        Ok(Err(error))
    }

    fn flushed(&mut self) {
        self.lanes.each().for_each(|lane| lane.flushed = lane.place);
        self.commit();
    }

    pub(crate) fn commit(&self) {
        let Source { journal, .. } = &self.source;
        let flushed = self.lanes.present.flushed;
        journal.set_position(&self.name, flushed.seq, flushed.encode().into());
        // Under the lock, since others may end a replay.
        if let (Some(past), Some(replay)) = (&self.lanes.past, &self.progress.lock().replay) {
            replay.keep(journal, &self.name, past.lane.flushed);
        }
    }

    pub(crate) async fn on_files<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.source.blocking.run(work).await?
    }

    pub(crate) async fn finish(&mut self) {
        let sink = self.sink.clone();
        if !self.lanes.are_flushed() {
            let dead = self.dead.clone();
            let span = spans::flush(&self.settled, &self.name);
            match timeout(FAREWELL, sink.flush().instrument(span)).await {
                Ok(Ok(())) => match self.on_files(move || lock(&dead).sync()).await {
                    Ok(()) => self.flushed(),
                    Err(error) => {
                        tracing::warn!(sink = self.name, %error, "the last dead letters are not durable; their events will be delivered again");
                    }
                },
                Ok(Err(error)) => tracing::warn!(
                    sink = self.name,
                    reason = error.report(),
                    "the last flush failed; what was delivered since the one before will be delivered again"
                ),
                Err(_) => tracing::warn!(
                    sink = self.name,
                    "the last flush did not end; what was delivered since the one before will be delivered again"
                ),
            }
        }
        // Nobody is there to be told, or to tell, where a pipeline is just dropped.
        let _ = self.last_flush_ended.take().map(|ended| ended.send(()));
        reached(&mut self.phase, Phase::Closing).await;
        match timeout(FAREWELL, sink.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    sink = self.name,
                    reason = error.report(),
                    "the sink did not close properly"
                );
            }
            Err(_) => tracing::warn!(sink = self.name, "the sink did not close in time"),
        }
        self.progress.lock().state = SinkState::Stopped;
    }
}
