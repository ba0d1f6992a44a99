//! Incidents: faults of people and other programs, which set the clock, put files into the folders
//! of the observer, and remove its folders.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::deployment::{Deployment, ReadState};
use crate::faults::{millis, pause};
use crate::oracle::event::SOURCES;
use crate::producer;

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;
/// Maximum number of foreign files.
const FOREIGN_FILES: usize = 60;
/// Number of events that are sent after the folder of the journal was removed.
const EVENTS_AFTER_REMOVAL: u64 = 20;

/// Incident during a round.
#[derive(Debug)]
enum Incident {
    /// The wall clock jumps to this offset in seconds from the right time.
    Clock { offset: i64 },
    /// Foreign files appear.
    Files { count: u8 },
    /// The folder of the archive is removed.
    ArchiveRemoved,
}

impl Incident {
    fn draw(random: &mut Rng) -> Self {
        match random.u8(..10) {
            0..5 => Self::Clock { offset: draw_offset(random) },
            5..9 => Self::Files { count: random.u8(1..6) },
            _ => Self::ArchiveRemoved,
        }
    }

    async fn execute(&self, random: &mut Rng, deployment: &Deployment) -> Result<(), String> {
        deployment.record(format!("{self:?}"));
        match *self {
            Self::Clock { offset } => {
                deployment.tally.add("fault: the clock jumps", 1);
                deployment.set_clock(offset).await;
            }
            Self::Files { count } => {
                for _ in 0..count {
                    create_foreign_file(random, deployment)?;
                }
            }
            Self::ArchiveRemoved => {
                let mut read_state = deployment.read_state();
                let ReadState { archive, foreign, .. } = &mut *read_state;
                let removed = archive.remove_folder(foreign, || deployment.sent_events())?;
                deployment
                    .tally
                    .add("fault: the folder of the archive is removed", u64::from(removed));
            }
        }
        Ok(())
    }
}

/// Returns an offset of the clock: the right time, hours, or years; back at most to 1970.
fn draw_offset(random: &mut Rng) -> i64 {
    match random.u8(..5) {
        0 => 0,
        1 => random.i64(2..50) * HOUR,
        2 => random.i64(-50..-1) * HOUR,
        3 => random.i64(1..60) * YEAR,
        _ => random.i64(-56..0) * YEAR,
    }
}

/// Causes incidents until `until`, and sets the clock right at the end.
pub(crate) async fn cause(
    random: &mut Rng,
    deployment: &Deployment,
    until: Instant,
) -> Result<(), String> {
    loop {
        let (wait, incident) = (millis(random, 200..2500), Incident::draw(random));
        if !pause(deployment, wait, until).await {
            return Ok(());
        }
        incident
            .execute(random, deployment)
            .await
            .inspect_err(|violation| deployment.report(violation.clone()))?;
    }
}

/// Creates a file with a name that a sink is about to use, or that looks like one of its files.
fn create_foreign_file(random: &mut Rng, deployment: &Deployment) -> Result<(), String> {
    let mut read_state = deployment.read_state();
    let ReadState { archive, shared, foreign, .. } = &mut *read_state;
    if foreign.len() >= FOREIGN_FILES {
        return Ok(());
    }
    let packed = if random.bool() { ".gz" } else { "" };
    let source = random.choice(&SOURCES).expect("there are sources");
    let path = match random.u8(..7) {
        // The newest closed file may not be compressed yet.
        0 => archive.path(archive.last_number(foreign)?, ".gz"),
        1 => archive.path(archive.number() + random.u64(0..6), packed),
        2 | 3 => {
            let number = shared.last_number(source)? + random.u64(0..6);
            shared.dir().join(format!("{source}.{number:06}.jsonl{packed}"))
        }
        4 => shared.dir().join(format!("other-{}.jsonl{packed}", random.u16(..))),
        _ => archive.dir().join(format!("archive.jsonl.{}", random.u16(..))),
    };
    let content = match random.u8(..3) {
        0 => Vec::new(),
        1 => b"a note without an end".to_vec(),
        _ => b"{\"id\":\"00000000-0000-0000-0000-000000000007\",\"seq\":7,\
            \"received_at\":\"2001-01-01T00:00:00Z\",\"event\":{\"source\":\"bot\"}}\n"
            .to_vec(),
    };
    if foreign.create(path, content, &deployment.dir.join("draft"))? {
        deployment.tally.add("fault: a foreign file appears", 1);
    }
    Ok(())
}

/// Removes the folder of the journal while nothing is pending, and checks that the observer goes
/// on with a new one: what it acknowledges afterwards survives a kill. Dead letters are in that
/// folder.
pub(crate) async fn remove_journal(
    random: &mut Rng,
    deployment: &Deployment,
) -> Result<(), String> {
    deployment.tally.add("fault: the folder of the journal is removed", 1);
    deployment.record("the folder of the journal is removed");
    remove_whole(&deployment.dir.join("journal"), &deployment.dir.join("journal.removed"))?;
    deployment.oracle().forget_dead_letters();
    for _ in 0..EVENTS_AFTER_REMOVAL {
        producer::send_single(deployment, random).await?;
    }
    deployment.check_all().await?;
    // Positions are stored once a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    deployment.kill(true).await?;
    deployment.start(true).await?;
    deployment.check_all().await
}

/// Removes a folder at once, by way of another name. The observer may be creating a file in it.
fn remove_whole(folder: &Path, away: &Path) -> Result<(), String> {
    let fail = |error: io::Error| format!("can't remove {}: {error}", folder.display());
    std::fs::rename(folder, away).map_err(fail)?;
    loop {
        match std::fs::remove_dir_all(away) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            removed => return removed.map_err(fail),
        }
    }
}
