//! End of a run that makes no progress.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::deployment::{DEADLINE, Deployment};

/// Time after which a run without progress fails. Each wait of a check ends after [`DEADLINE`].
const LIMIT: Duration = DEADLINE.saturating_mul(3);
/// Time after which a run that doesn't end by itself ends with its process.
const LAST_RESORT: Duration = DEADLINE;
const INTERVAL: Duration = Duration::from_secs(1);

/// Counts that grow while a run makes progress.
const PROGRESS: [&str; 2] = ["events acknowledged", "complete checks"];

/// Detector of a run without progress.
struct Stall {
    progress: u64,
    since: Instant,
}

impl Stall {
    /// Returns whether the progress is the same for too long.
    fn is_over_limit(&mut self, progress: u64, now: Instant) -> bool {
        if progress != self.progress {
            *self = Self { progress, since: now };
        }
        now - self.since > LIMIT
    }
}

/// Fails a deployment that makes no progress. This needs no runtime, whose threads may all be
/// blocked.
///
/// # Errors
/// If the thread can't be started.
pub(crate) fn watch(deployment: &Arc<Deployment>) -> Result<(), String> {
    let (name, deployment) = (deployment.name, Arc::downgrade(deployment));
    let thread = std::thread::Builder::new().name(format!("progress-{name}"));
    thread.spawn(move || watch_until_end(&deployment)).map_err(|error| error.to_string())?;
    Ok(())
}

fn watch_until_end(deployment: &Weak<Deployment>) {
    let mut stall = Stall { progress: 0, since: Instant::now() };
    loop {
        std::thread::sleep(INTERVAL);
        let Some(deployment) = deployment.upgrade() else { return };
        let progress = PROGRESS.iter().map(|what| deployment.tally.get(what)).sum();
        if stall.is_over_limit(progress, Instant::now()) {
            let (name, seconds) = (deployment.name, LIMIT.as_secs());
            let violation = format!(
                "no progress: no event was acknowledged and no check was complete for {seconds} s"
            );
            eprintln!("{name}: {violation}\n{}", deployment.tally.summary());
            deployment.report(violation);
            break;
        }
    }
    std::thread::sleep(LAST_RESORT);
    eprintln!("FAILED: the run makes no progress and does not end");
    std::process::exit(1);
}
