//! Calls of a sink as the pipeline makes them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use observer_core::{Batch, Envelope, ErrorKind, EventSink, Position, Receipt, SinkError};
use tokio::time::{Instant, sleep, timeout};

use super::events::EPOCH;
use super::violation::Failure;

/// Pause between two attempts. A dropped sink may hold its files for a moment, as a killed process
/// does.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// Sink with a time limit for each call.
pub(crate) struct Driver {
    sink: Arc<dyn EventSink>,
    call_timeout: Duration,
}

/// End of a delivery that was to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// The delivery was cancelled before it returned.
    InProgress,
    /// The delivery had returned before the last poll.
    AfterReturn,
}

impl Driver {
    pub(crate) fn new(sink: Arc<dyn EventSink>, call_timeout: Duration) -> Self {
        Self { sink, call_timeout }
    }

    /// Delivers the events as one batch until the sink accepts it.
    pub(crate) async fn deliver(&self, events: &[Arc<Envelope>]) -> Result<(), Failure> {
        self.deliver_in(EPOCH, events).await
    }

    pub(crate) async fn deliver_in(
        &self,
        epoch: u64,
        events: &[Arc<Envelope>],
    ) -> Result<(), Failure> {
        let batch = Batch::new(epoch, events.to_vec());
        let expected = "`deliver` accepts the whole batch";
        let receipt = self.retry("deliver", expected, || self.sink.deliver(&batch)).await?;
        if !receipt.rejected.is_empty() || receipt.refused.is_some() {
            return Err(Failure::new(expected, format!("{receipt:?}")));
        }
        Ok(())
    }

    /// Delivers the events as one batch, once. The inner result is the sink's; its indexes lie within
    /// the batch and are distinct.
    pub(crate) async fn try_deliver(
        &self,
        events: &[Arc<Envelope>],
    ) -> Result<Result<Receipt, SinkError>, Failure> {
        let batch = Batch::new(EPOCH, events.to_vec());
        let result = self.in_time("deliver", self.sink.deliver(&batch)).await?;
        let mut indices: Vec<_> = match &result {
            Ok(receipt) => receipt.rejected.iter().map(|rejected| rejected.index).collect(),
            Err(error) => error.accepted.clone(),
        };
        indices.sort_unstable();
        let is_valid = indices.iter().all(|index| *index < events.len())
            && indices.windows(2).all(|pair| pair[0] != pair[1]);
        if !is_valid {
            let expected = format!("distinct indexes below {}", events.len());
            return Err(Failure::new(expected, format!("{indices:?}")));
        }
        Ok(result)
    }

    /// Starts a delivery, and drops it after this number of polls.
    pub(crate) async fn cancel_after(
        &self,
        polls: usize,
        events: &[Arc<Envelope>],
    ) -> Result<Cancelled, Failure> {
        let batch = Batch::new(EPOCH, events.to_vec());
        let mut delivery = pin!(self.sink.deliver(&batch));
        let mut left = polls;
        let polled = poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(Cancelled::InProgress);
            }
            left -= 1;
            match delivery.as_mut().poll(context) {
                Poll::Ready(_) => Poll::Ready(Cancelled::AfterReturn),
                Poll::Pending if left == 0 => Poll::Ready(Cancelled::InProgress),
                Poll::Pending => Poll::Pending,
            }
        });
        self.in_time("deliver", polled).await
    }

    pub(crate) async fn flush(&self) -> Result<(), Failure> {
        self.retry("flush", "`flush` succeeds", || self.sink.flush()).await
    }

    pub(crate) async fn position(&self) -> Result<Option<Position>, Failure> {
        self.retry("position", "`position` succeeds", || self.sink.position()).await
    }

    /// Calls `check` once. The inner result is the sink's.
    pub(crate) async fn check(&self) -> Result<Result<(), SinkError>, Failure> {
        self.in_time("check", self.sink.check()).await
    }

    pub(crate) async fn close(self) -> Result<(), Failure> {
        let closed = self.in_time("close", self.sink.close()).await?;
        closed.map_err(|error| Failure::new("`close` succeeds", describe(&error)))
    }

    async fn in_time<T>(&self, name: &str, call: impl Future<Output = T>) -> Result<T, Failure> {
        timeout(self.call_timeout, call).await.map_err(|_| {
            let expected = format!("`{name}` returns within {:?}", self.call_timeout);
            Failure::new(expected, "it did not return")
        })
    }

    /// Repeats a call that fails with a transient or blocked error, until the time limit.
    async fn retry<T, C>(
        &self,
        name: &str,
        expected: &str,
        call: impl Fn() -> C,
    ) -> Result<T, Failure>
    where
        C: Future<Output = Result<T, SinkError>>,
    {
        let start = Instant::now();
        loop {
            match self.in_time(name, call()).await? {
                Ok(done) => return Ok(done),
                Err(error)
                    if error.kind == ErrorKind::Permanent
                        || start.elapsed() >= self.call_timeout =>
                {
                    return Err(Failure::new(expected, describe(&error)));
                }
                Err(_) => sleep(RETRY_PAUSE).await,
            }
        }
    }
}

/// Returns the kind of the error, and its report.
pub(crate) fn describe(error: &SinkError) -> String {
    format!("{error}: {}", error.report())
}
