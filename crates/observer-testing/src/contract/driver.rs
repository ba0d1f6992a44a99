//! A sink, driven as the pipeline drives it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use observer_core::{Batch, Envelope, ErrorKind, EventSink, Position, SinkError};
use tokio::time::{Instant, sleep, timeout};

use super::events::EPOCH;
use super::violation::Broken;

/// Between two attempts. A sink that was dropped may hold its files for a moment, as a process that
/// is killed does.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) struct Driver {
    sink: Arc<dyn EventSink>,
    limit: Duration,
}

/// What became of a delivery that was to be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    HalfWay,
    /// It had ended before.
    Never,
}

impl Driver {
    pub(crate) fn new(sink: Arc<dyn EventSink>, limit: Duration) -> Self {
        Self { sink, limit }
    }

    /// Deliver until it is accepted.
    pub(crate) async fn settle(&self, events: &[Arc<Envelope>]) -> Result<(), Broken> {
        self.settle_in(EPOCH, events).await
    }

    pub(crate) async fn settle_in(
        &self,
        epoch: u64,
        events: &[Arc<Envelope>],
    ) -> Result<(), Broken> {
        let batch = Batch::new(epoch, events.to_vec());
        let expected = "`deliver` accepts the whole batch";
        let receipt = self.patiently("deliver", expected, || self.sink.deliver(&batch)).await?;
        if !receipt.rejected.is_empty() || receipt.refused.is_some() {
            return Err(Broken::new(expected, format!("{receipt:?}")));
        }
        Ok(())
    }

    /// Poll a delivery so many times, and drop it.
    pub(crate) async fn drop_after(
        &self,
        polls: usize,
        events: &[Arc<Envelope>],
    ) -> Result<Dropped, Broken> {
        let batch = Batch::new(EPOCH, events.to_vec());
        let mut delivery = pin!(self.sink.deliver(&batch));
        let mut left = polls;
        let polled = poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(Dropped::HalfWay);
            }
            left -= 1;
            match delivery.as_mut().poll(context) {
                Poll::Ready(_) => Poll::Ready(Dropped::Never),
                Poll::Pending if left == 0 => Poll::Ready(Dropped::HalfWay),
                Poll::Pending => Poll::Pending,
            }
        });
        self.in_time("deliver", polled).await
    }

    pub(crate) async fn flush(&self) -> Result<(), Broken> {
        self.patiently("flush", "`flush` succeeds", || self.sink.flush()).await
    }

    pub(crate) async fn position(&self) -> Result<Option<Position>, Broken> {
        self.patiently("position", "`position` answers", || self.sink.position()).await
    }

    pub(crate) async fn check(&self) -> Result<Result<(), SinkError>, Broken> {
        self.in_time("check", self.sink.check()).await
    }

    pub(crate) async fn close(self) -> Result<(), Broken> {
        let closed = self.in_time("close", self.sink.close()).await?;
        closed.map_err(|error| Broken::new("`close` succeeds", told(&error)))
    }

    async fn in_time<T>(&self, what: &str, call: impl Future<Output = T>) -> Result<T, Broken> {
        let late =
            |_| Broken::new(format!("`{what}` ends within {:?}", self.limit), "it was still at it");
        timeout(self.limit, call).await.map_err(late)
    }

    async fn patiently<T, C>(
        &self,
        what: &str,
        expected: &str,
        call: impl Fn() -> C,
    ) -> Result<T, Broken>
    where
        C: Future<Output = Result<T, SinkError>>,
    {
        let start = Instant::now();
        loop {
            match self.in_time(what, call()).await? {
                Ok(done) => return Ok(done),
                Err(error)
                    if error.kind == ErrorKind::Permanent || start.elapsed() >= self.limit =>
                {
                    return Err(Broken::new(expected, told(&error)));
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

pub(crate) fn told(error: &SinkError) -> String {
    format!("{error}: {}", error.report())
}
