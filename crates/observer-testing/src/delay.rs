//! When an answer is given.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;

/// What an answer waits for.
#[derive(Debug, Clone)]
pub(crate) enum Wait {
    No,
    Some(Duration),
    Until(watch::Receiver<bool>),
    ForEver,
}

impl Wait {
    pub(crate) async fn over(self) {
        match self {
            Self::No => {}
            Self::Some(pause) => tokio::time::sleep(pause).await,
            Self::Until(mut opened) => {
                // A gate that was dropped is open.
                let _ = opened.wait_for(|is_open| *is_open).await;
            }
            Self::ForEver => pending().await,
        }
    }
}

/// Holds answers back until it is opened or dropped.
#[derive(Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    pub(crate) fn shut() -> (Self, Wait) {
        let (gate, opened) = watch::channel(false);
        (Self(gate), Wait::Until(opened))
    }

    /// Let them go.
    pub fn open(&self) {
        self.0.send_replace(true);
    }
}
