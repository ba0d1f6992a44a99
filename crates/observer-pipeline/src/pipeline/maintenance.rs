//! Maintenance of the journal, once a second.

use std::sync::Arc;
use std::time::Duration;

use crate::blocking::Blocking;
use crate::event_log::Journal;

/// Interval at which positions are stored and space is freed.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);

/// Stores positions and frees space once a second, until the task is aborted.
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
                    "positions can't be stored; retrying every second"
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
