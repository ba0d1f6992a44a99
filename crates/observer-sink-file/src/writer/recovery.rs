//! Recovery at the start of a sink: its position, and the lines past it that are already in files.
//!
//! With an intact sidecar only lines that were written after it are read: the recorded files from
//! their recorded sizes on (a renamed file is found by its identity), and all files that were
//! modified later than the sidecar. Lines past the position are made durable, and their events are
//! skipped when the pipeline delivers them again.
//!
//! Without a sidecar the position is unknown. Recovery reads the ends of the newest files, so that
//! events that are delivered again soon are not duplicated.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use observer_core::{Position, Uuid};

use crate::compression::Compression;
use crate::disk::{Disk, Identity, parent};
use crate::error::FileError;
use crate::names::listing::Listing;
use crate::writer::open_file::OpenFile;
use crate::writer::sidecar::{Loaded, Mark, Recorded};
use crate::writer::tail::{self, ScanFrom};

/// Tolerance for the coarse clocks of file systems: the sidecar is written right after the files.
const SLACK: Duration = Duration::from_secs(2);
/// Bytes that are read without a sidecar, per file and in total.
const TAIL_LENGTH: u64 = 4 << 20;
const TAILS_LENGTH: u64 = 16 << 20;

/// Result of a recovery.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    pub(crate) position: Option<Position>,
    /// Sequence numbers and ids of the lines past the position.
    pub(crate) ahead: HashSet<(u64, Uuid)>,
}

/// Restores the state of the sink, and makes the lines past its position durable.
pub(crate) fn recover(
    loaded: Loaded,
    listing: &Listing,
    disk: &dyn Disk,
) -> Result<Recovered, FileError> {
    let (scans, recorded) = match loaded {
        Loaded::Intact(recorded, written) => {
            let mut scans: Vec<_> = recorded.files.iter().filter_map(locate).collect();
            let known: HashSet<_> = scans.iter().map(|(path, _)| path.clone()).collect();
            let since = written.checked_sub(SLACK).unwrap_or(SystemTime::UNIX_EPOCH);
            let later = listing.files.iter().filter(|found| {
                found.compression == Compression::None
                    && found.modified >= since
                    && !known.contains(&found.path)
            });
            scans.extend(later.map(|found| (found.path.clone(), ScanFrom::Line(0))));
            (scans, Some(recorded))
        }
        Loaded::Missing => (newest_files(listing), None),
        Loaded::Damaged(problem) => {
            tracing::warn!(
                problem,
                "sidecar is damaged; events since the last committed position may be duplicated"
            );
            (newest_files(listing), None)
        }
    };
    let mut recovered = recorded.map_or_else(Recovered::default, Recovered::from);
    let after = recovered.position.map_or(0, |position| position.seq);
    let mut folders = BTreeSet::new();
    for (path, from) in scans {
        let mut file = OpenFile::open(&path)?.file;
        let mut found = 0_u64;
        let foreign = tail::scan(file.handle(), from, |line| {
            if line.seq > after {
                found += 1;
                recovered.ahead.insert((line.seq, line.id));
            }
        });
        let foreign = foreign.map_err(FileError::io("read", &path))?;
        if foreign > 0 {
            tracing::warn!(
                file = %path.display(),
                lines = foreign,
                "file contains lines that are not envelopes; they are left unchanged"
            );
        }
        if found > 0 {
            file.mark_unsynced();
        }
        file.sync(disk)?;
        folders.insert(parent(&path).to_owned());
    }
    folders.iter().try_for_each(|folder| disk.sync_folder(folder))?;
    if !recovered.ahead.is_empty() && recovered.position.is_some() {
        tracing::info!(
            lines = recovered.ahead.len(),
            "found lines that were written before a crash; their events are skipped"
        );
    }
    Ok(recovered)
}

impl From<Recorded> for Recovered {
    fn from(recorded: Recorded) -> Self {
        let parse = |(seq, id): (u64, String)| Some((seq, Uuid::parse_str(&id).ok()?));
        Self {
            position: Some(recorded.position),
            ahead: recorded.ahead.into_iter().filter_map(parse).collect(),
        }
    }
}

/// Returns the present path of a recorded file, and the offset from which to read it. A truncated
/// file is read from its start.
fn locate(mark: &Mark) -> Option<(PathBuf, ScanFrom)> {
    let has_identity = |path: &PathBuf| {
        fs::symlink_metadata(path)
            .is_ok_and(|metadata| metadata.is_file() && Identity::of(&metadata) == mark.identity)
            || (*path == mark.path
                && fs::metadata(path)
                    .is_ok_and(|metadata| Identity::of(&metadata) == mark.identity))
    };
    let path = if has_identity(&mark.path) {
        mark.path.clone()
    } else {
        let siblings = fs::read_dir(parent(&mark.path)).ok()?;
        siblings.filter_map(|entry| Some(entry.ok()?.path())).find(has_identity)?
    };
    let len = fs::metadata(&path).ok()?.len();
    Some((path, ScanFrom::Line(if len < mark.size { 0 } else { mark.size })))
}

/// Returns the newest uncompressed files, of which only the ends are read.
fn newest_files(listing: &Listing) -> Vec<(PathBuf, ScanFrom)> {
    let mut files: Vec<_> =
        listing.files.iter().filter(|found| found.compression == Compression::None).collect();
    files.sort_by_key(|found| std::cmp::Reverse(found.modified));
    let mut left = TAILS_LENGTH;
    let mut scans = Vec::new();
    for found in files {
        let bytes = found.len.min(TAIL_LENGTH);
        if bytes > left {
            break;
        }
        left -= bytes;
        scans.push((found.path.clone(), ScanFrom::LastBytes(TAIL_LENGTH)));
    }
    scans
}
