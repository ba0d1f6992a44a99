//! Phases in the life of a worker.

use tokio::sync::watch;

/// Phase of a worker. The pipeline sets it; phases only move forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// The worker delivers all committed events and then ends, without waiting for new ones.
    Draining,
    /// The worker interrupts its delivery, flushes and ends.
    Stopping,
    /// The worker closes its sink, after the last flush.
    Closing,
}

/// Error of an operation that was interrupted since the worker has to end.
#[derive(Debug)]
pub(crate) struct Ended;

/// Waits until the phase is `wanted` or a later one, or the pipeline has been dropped.
///
/// Cancel safe.
pub(crate) async fn phase_reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}
