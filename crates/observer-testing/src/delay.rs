//! Delay of a response.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;

/// Condition that a response waits for.
#[derive(Debug, Clone)]
pub(crate) enum Delay {
    None,
    For(Duration),
    UntilOpen(watch::Receiver<bool>),
    Forever,
}

impl Delay {
    /// Waits until the condition is met.
    pub(crate) async fn elapsed(self) {
        match self {
            Self::None => {}
            Self::For(pause) => tokio::time::sleep(pause).await,
            Self::UntilOpen(mut opened) => {
                // An error means that the gate was dropped, which opens it.
                let _ = opened.wait_for(|is_open| *is_open).await;
            }
            Self::Forever => pending().await,
        }
    }
}

/// Gate that holds responses back until it is opened or dropped.
#[derive(Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// Creates a closed gate, and the delay that ends when the gate opens.
    pub(crate) fn closed() -> (Self, Delay) {
        let (gate, opened) = watch::channel(false);
        (Self(gate), Delay::UntilOpen(opened))
    }

    /// Opens the gate for all responses that it holds back.
    pub fn open(&self) {
        self.0.send_replace(true);
    }
}
