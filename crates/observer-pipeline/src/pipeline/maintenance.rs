//! What is done once a second.

use std::sync::Arc;
use std::time::Duration;

use crate::blocking::Blocking;
use crate::journal::Journal;

/// How often positions are made durable, and space is given back.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);

/// Store positions and give space back, once a second, for as long as the pipeline runs.
pub(super) async fn maintain(blocking: Blocking, journal: Arc<Journal>) {
    let mut failing = false;
    let mut ticks = tokio::time::interval(MAINTAIN_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let journal = journal.clone();
        let Ok(maintained) = blocking.run(move || journal.maintain()).await else { return };
        match maintained {
            Err(error) if !failing => {
                failing = true;
                tracing::error!(
                    error = observer_core::report(&error),
                    "positions can't be stored; this is tried again every second"
                );
            }
            Ok(()) if failing => {
                failing = false;
                tracing::info!("positions are stored again");
            }
            _ => {}
        }
    }
}
