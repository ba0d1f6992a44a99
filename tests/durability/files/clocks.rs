//! Clocks that jump, and events from the past and the future.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{config, contents, lines, post};
use crate::support::clock::Clock;
use crate::support::{Observer, wait_until};

const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY;

/// Returns the difference with which a clock shows a time in January 1970.
#[expect(clippy::disallowed_methods, reason = "the difference to the clock of the system")]
fn boot_in_1970() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    3 * DAY - i64::try_from(now).unwrap()
}

fn names(dir: &Path) -> BTreeSet<String> {
    contents(dir).into_iter().map(|(name, _)| name).collect()
}

/// Stops an observer and starts it again with another time.
fn restart(observer: Observer, clock: &Clock, offset: i64, dir: &Path, config: &str) -> Observer {
    assert!(observer.terminate().0.success());
    clock.set(offset);
    clock.start(dir, config)
}

#[tokio::test]
async fn archive_survives_a_clock_that_is_wrong_for_a_moment() {
    let Some(clock) = Clock::new() else { return };
    let keys = "rotate = { max_size = \"1KiB\" }\nretain = { max_age = \"30d\" }";
    let config =
        config(&[("days", "days/{date}.jsonl", keys), ("sources", "sources/{source}.jsonl", keys)]);
    for wrong in [40 * DAY, 60 * YEAR, boot_in_1970()] {
        let dir = tempfile::tempdir().unwrap();
        clock.set(0);
        let mut observer = clock.start(dir.path(), &config);
        post(&observer, "worker", 20).await;
        // Once while it runs, and once at the start.
        clock.set(wrong);
        post(&observer, "worker", 5).await;
        clock.set(0);
        post(&observer, "worker", 5).await;
        observer = restart(observer, &clock, wrong, dir.path(), &config);
        post(&observer, "worker", 5).await;
        observer = restart(observer, &clock, 0, dir.path(), &config);
        post(&observer, "worker", 5).await;
        assert!(observer.terminate().0.success());
        for folder in ["days", "sources"] {
            assert_eq!(lines(&dir.path().join(folder)).len(), 40, "{folder} {wrong}");
        }
    }
}

#[tokio::test]
async fn observer_that_is_stopped_every_night_deletes_old_files() {
    let Some(clock) = Clock::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = config(&[("archive", "ev/{date}.jsonl", "retain = { max_age = \"3d\" }")]);
    let folder = dir.path().join("ev");
    let mut observer = clock.start(dir.path(), &config);
    post(&observer, "worker", 1).await;
    let first = names(&folder);
    for night in 1..=10 {
        observer = restart(observer, &clock, night * 16 * 3600, dir.path(), &config);
        post(&observer, "worker", 1).await;
    }
    wait_until("the first file is deleted", async || names(&folder).is_disjoint(&first)).await;
    assert!(names(&folder).len() >= 3, "{:?}", names(&folder));
}

#[tokio::test]
async fn files_of_a_wrong_time_live_as_long_as_others() {
    let Some(clock) = Clock::new() else { return };
    let keys = "retain = { max_age = \"30d\" }";
    let config = config(&[("archive", "ev/{date}.jsonl", keys)]);
    for wrong in [400 * DAY, boot_in_1970()] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ev");
        // The first start, so that no earlier time is known.
        clock.set(wrong);
        let mut observer = clock.start(dir.path(), &config);
        post(&observer, "worker", 3).await;
        let wrong_names = names(&folder);
        assert_eq!(wrong_names.len(), 1);
        clock.set(0);
        post(&observer, "worker", 3).await;
        let adopt = async |observer: &Observer| {
            let (code, text) = observer.run(&["sinks", "adopt", "archive"]);
            assert_eq!(code, Some(0), "{text}");
            post(observer, "worker", 1).await;
        };
        adopt(&observer).await;
        // Deletion happens before the next file is closed.
        observer = restart(observer, &clock, 29 * DAY, dir.path(), &config);
        adopt(&observer).await;
        assert!(names(&folder).is_superset(&wrong_names), "{wrong}: {:?}", names(&folder));
        observer = restart(observer, &clock, 32 * DAY, dir.path(), &config);
        adopt(&observer).await;
        wait_until("the file of the wrong time is deleted", async || {
            names(&folder).is_disjoint(&wrong_names)
        })
        .await;
        assert!(fs::read_dir(&folder).unwrap().count() >= 1);
    }
}

#[tokio::test]
async fn event_from_a_future_day_begins_no_file_for_each_flush() {
    let Some(clock) = Clock::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = config(&[
        ("packed", "packed/{date}.jsonl", "compression = \"gzip\""),
        ("own", "own/{event_date}.jsonl", "compression = \"zstd\""),
        ("sources", "sources/{source}-{date}.jsonl", "compression = \"gzip\""),
    ]);
    let observer = clock.start(dir.path(), &config);
    post(&observer, "worker", 1).await;
    clock.set(3 * DAY);
    post(&observer, "worker", 1).await;
    clock.set(0);
    for _ in 0..8 {
        post(&observer, "worker", 1).await;
    }
    assert!(observer.terminate().0.success());
    for folder in ["packed", "own", "sources"] {
        let names = names(&dir.path().join(folder));
        assert!(names.len() <= 3, "{names:?}");
    }
}
