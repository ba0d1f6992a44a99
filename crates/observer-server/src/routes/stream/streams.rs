//! Streams of a server: their limit, the broadcast that they share, and the readers behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::http::StatusCode;
use observer_pipeline::Pipeline;
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::broadcast::{Broadcast, CurrentBroadcast};
use crate::problem::Problem;

/// Limit of readers that fell behind the broadcast and read the journal until they have caught up.
/// Further ones miss events.
const MAX_LAGGING: usize = 16;
/// Limit of readers that read the journal at the same time.
const MAX_JOURNAL_READS: usize = 2;

/// Streams of a server.
#[derive(Debug)]
pub(crate) struct Streams {
    open: Arc<AtomicUsize>,
    opened: AtomicU64,
    broadcast: CurrentBroadcast,
    lagging: Arc<Semaphore>,
    journal_reads: Semaphore,
}

/// Permit of a stream, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct StreamPermit {
    open: Arc<AtomicUsize>,
    gauge: IntGauge,
    number: u64,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            open: Arc::default(),
            opened: AtomicU64::new(0),
            broadcast: CurrentBroadcast::default(),
            lagging: Arc::new(Semaphore::new(MAX_LAGGING)),
            journal_reads: Semaphore::new(MAX_JOURNAL_READS),
        }
    }
}

impl Streams {
    /// Acquires the permit of a stream, which the gauge counts.
    ///
    /// # Errors
    /// If the limit of streams is reached (503).
    pub(super) fn open(&self, max: usize, gauge: &IntGauge) -> Result<StreamPermit, Problem> {
        if self.open.fetch_add(1, Ordering::Relaxed) < max {
            gauge.inc();
            let number = self.opened.fetch_add(1, Ordering::Relaxed);
            return Ok(StreamPermit { open: self.open.clone(), gauge: gauge.clone(), number });
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        let detail = format!(
            "the limit of {max} streams (`server.max_streams`) is reached; try again later"
        );
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
    }

    pub(super) fn join(&self, pipeline: &Pipeline) -> Arc<Broadcast> {
        self.broadcast.join(pipeline)
    }

    /// Acquires the permit of a reader that is lagging; `None` if too many are.
    pub(super) fn lag(&self) -> Option<OwnedSemaphorePermit> {
        self.lagging.clone().try_acquire_owned().ok()
    }

    /// Waits for the permit to read the journal.
    pub(super) async fn journal_read(&self) -> SemaphorePermit<'_> {
        self.journal_reads.acquire().await.expect("the semaphore is never closed")
    }
}

impl StreamPermit {
    /// Returns the number of the stream, from 0.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_is_refused_until_another_one_ends() {
        let (streams, gauge) = (Streams::default(), IntGauge::new("streams", "Streams.").unwrap());
        let one = streams.open(1, &gauge).unwrap();
        let refused = streams.open(1, &gauge).unwrap_err();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(gauge.get(), 1);
        drop(one);
        assert_eq!(gauge.get(), 0);
        assert_eq!(streams.open(1, &gauge).unwrap().number(), 1);
    }

    #[test]
    fn lagging_readers_are_limited() {
        let streams = Streams::default();
        let permits: Vec<_> = (0..MAX_LAGGING).map(|_| streams.lag().unwrap()).collect();
        assert!(streams.lag().is_none());
        drop(permits);
        assert!(streams.lag().is_some());
    }
}
