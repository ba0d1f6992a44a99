//! How urgently a worker is to end.

use tokio::sync::watch;

/// How urgently a worker is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// Deliver what is there, without waiting for more.
    Draining,
    /// Now.
    Stopping,
    /// What is flushed is to be closed.
    Closing,
}

/// The worker has to end.
#[derive(Debug)]
pub(crate) struct Ended;

/// Until the worker has to end that urgently, or its pipeline is gone.
pub(crate) async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}
