//! Verification of one clause.

use std::time::Duration;

use super::destination::{Contents, Destination};
use super::driver::Driver;

/// Destination and limits for the verification of one clause.
pub(super) struct Trial {
    pub(super) destination: Box<dyn Destination>,
    /// Number of events in the largest batch.
    pub(super) max_events: usize,
    /// Approximate size of the largest event.
    pub(super) max_event_bytes: usize,
    /// Limit for each call of the sink.
    pub(super) call_timeout: Duration,
}

impl Trial {
    /// Builds a sink for the destination.
    pub(super) fn sink(&self) -> Driver {
        Driver::new(self.destination.sink(), self.call_timeout)
    }

    /// Drops the sink without `close`, as a crash does, and returns the contents.
    pub(super) async fn contents_after_crash(&self, sink: Driver) -> Contents {
        drop(sink);
        self.destination.contents().await
    }
}
