//! Recovery at the start of a sink: its position, and the lines past it that are already in files.
//!
//! Only files of the ledger are read, and a file is changed only after it was recognised. With an
//! intact sidecar only lines that were written after it are read: the recorded files from their
//! recorded sizes on (a renamed file is found by its inode and its contents), and files that were
//! modified later than the sidecar. Lines past the position are made durable, and their events are
//! skipped when the pipeline delivers them again.
//!
//! Without a sidecar the position is unknown. Recovery reads the ends of the newest files, so that
//! events that are delivered again soon are not duplicated.

mod reconcile;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use observer_core::{Position, Uuid};

use self::reconcile::{Reconciler, Scan};
use crate::compression::Compression;
use crate::disk::{Disk, parent};
use crate::error::FileError;
use crate::ledger::{Kind, Ledger};
use crate::names::listing::Listing;
use crate::writer::open_file::OpenFile;
use crate::writer::sidecar::{Loaded, Recorded};
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

/// Files and their record at the start.
pub(crate) struct Files<'a> {
    pub(crate) ledger: &'a mut Ledger,
    /// Folder of the last start, if it is not the present one.
    pub(crate) previous_base: Option<PathBuf>,
    /// Files on disk, if an earlier version has left its state. Those that were not adopted are
    /// read, too, and never changed: an earlier version may have written them.
    pub(crate) unrecorded: Option<&'a Listing>,
    /// Latest date that an event can have, in seconds since 1970. Lines with a later one were
    /// written by a wrong clock, and don't date their file.
    pub(crate) latest: i64,
}

/// Restores the state of the sink, and makes the lines past its position durable.
pub(crate) fn recover(
    loaded: Loaded,
    files: Files<'_>,
    disk: &dyn Disk,
) -> Result<Recovered, FileError> {
    let (recorded, since) = match loaded {
        Loaded::Intact(recorded, written) => {
            (Some(recorded), Some(written.checked_sub(SLACK).unwrap_or(SystemTime::UNIX_EPOCH)))
        }
        Loaded::Missing => (None, None),
        Loaded::Damaged(problem) => {
            tracing::warn!(
                problem,
                "sidecar is damaged; events since the last committed position may be duplicated"
            );
            (None, None)
        }
    };
    let Files { ledger, previous_base, unrecorded, latest } = files;
    let marks = recorded.iter().flat_map(|recorded| &recorded.files);
    let marks: HashMap<_, _> = marks
        .map(|mark| (mark.file.clone().unwrap_or_else(|| ledger.key(&mark.path)), mark.clone()))
        .collect();
    let after = recorded.as_ref().map(|recorded| recorded.position.seq);
    let mut reconciler = Reconciler::new(ledger, previous_base, marks, after, since);
    reconciler.run()?;
    let mut scans = reconciler.into_scans();
    if recorded.is_none() {
        newest_only(&mut scans);
    }
    if let Some(listing) = unrecorded {
        scans.extend(unrecorded_files(listing, ledger, since));
    }
    let mut recovered = recorded.map_or_else(Recovered::default, Recovered::from);
    let mut folders = BTreeSet::new();
    for scan in scans {
        read(&scan, (after.unwrap_or(0), latest), ledger, disk, &mut recovered.ahead)?;
        folders.insert(parent(&scan.path).to_owned());
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

/// Collects the lines of a file that are past a position, and makes them durable. Removes a torn
/// line at the end of an open file.
fn read(
    scan: &Scan,
    (after, latest): (u64, i64),
    ledger: &mut Ledger,
    disk: &dyn Disk,
    ahead: &mut HashSet<(u64, Uuid)>,
) -> Result<(), FileError> {
    let path = &scan.path;
    let file = match File::open(path) {
        // Nothing can be appended to a file that nobody may read, nor to one that is gone.
        Err(error) if !scan.is_open => {
            tracing::warn!(file = %path.display(), %error, "a closed file can't be read");
            return Ok(());
        }
        file => file.map_err(FileError::io("open", path))?,
    };
    let (mut found, mut newest) = (0_u64, 0);
    let foreign = tail::scan(&file, scan.from, |line| {
        let received = line.received_at.as_second();
        newest = if received <= latest { newest.max(received) } else { newest };
        if line.seq > after {
            found += 1;
            ahead.insert((line.seq, line.id));
        }
    });
    let foreign = foreign.map_err(FileError::io("read", path))?;
    let len = file.metadata().map_err(FileError::io("read", path))?.len();
    let end = tail::last_line(&file, len).map_err(FileError::io("read", path))?;
    let is_torn = !end.is_empty() && !end.ends_with(b"\n");
    if foreign > u64::from(is_torn) {
        tracing::warn!(
            file = %path.display(),
            lines = foreign,
            "file contains lines that are not envelopes; they are left unchanged"
        );
    }
    let key = ledger.key(path);
    let entry = ledger.get(&key).copied().filter(|entry| entry.kind == Kind::Open);
    let Some(entry) = entry.filter(|_| scan.is_open) else {
        return if found > 0 { sync(&file, path, disk) } else { Ok(()) };
    };
    let (mut file, _) = OpenFile::append_to(path)?;
    if found > 0 {
        file.mark_unsynced();
        // The clock may have been set back when the sink wrote them.
        newest = newest.max(ledger.clock().map_or(i64::MIN, |clock| clock.time()));
    }
    file.sync(disk)?;
    file.newest = entry.newest.max(newest);
    let now = file.entry(Kind::Open);
    if now != entry {
        ledger.put(&key, now);
    }
    Ok(())
}

fn sync(file: &File, path: &std::path::Path, disk: &dyn Disk) -> Result<(), FileError> {
    disk.sync(file).map_err(FileError::io("sync", path))
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

/// Keeps the newest files, of which only the ends are read.
fn newest_only(scans: &mut Vec<Scan>) {
    scans.sort_by_key(|scan| std::cmp::Reverse(scan.modified));
    let mut left = TAILS_LENGTH;
    for scan in scans.iter_mut() {
        scan.from = ScanFrom::LastBytes(TAIL_LENGTH);
    }
    scans.retain(|scan| {
        left = left.saturating_sub(scan.len.min(TAIL_LENGTH));
        // An open file is recognised in any case.
        left > 0 || scan.is_open
    });
}

/// Returns the files of an earlier version that were not adopted and may hold lines past the
/// position.
fn unrecorded_files(listing: &Listing, ledger: &Ledger, since: Option<SystemTime>) -> Vec<Scan> {
    let files = listing.files.iter().filter(|found| {
        found.compression == Compression::None
            && since.is_none_or(|since| found.modified >= since)
            && ledger.get(&ledger.key(&found.path)).is_none()
    });
    let mut scans: Vec<_> = files
        .map(|found| Scan {
            path: found.path.clone(),
            from: ScanFrom::Line(0),
            len: found.len,
            modified: found.modified,
            is_open: false,
        })
        .collect();
    if since.is_none() {
        newest_only(&mut scans);
    }
    scans
}
