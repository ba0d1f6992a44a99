//! What a sink knows after a start: how far it came, and which lines past that are in its files
//! already.
//!
//! With the sidecar whole, only what was written since is read: the files it lists from their
//! recorded sizes on (found by identity where they were renamed), and those that were written to
//! later than it. Lines past its position are kept, made durable, and skipped when their events
//! come again. Without it the position is unknown; the ends of the newest files are read, so that
//! events that come again soon aren't written twice.

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
use crate::writer::tail::{self, From};

/// The sidecar is written right after the files; clocks of file systems are coarse.
const SLACK: Duration = Duration::from_secs(2);
/// How much is read without a sidecar: of one file, and in all.
const LAST: u64 = 4 << 20;
const LAST_IN_ALL: u64 = 16 << 20;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    pub(crate) position: Option<Position>,
    /// Sequence numbers and ids of lines past the position.
    pub(crate) ahead: HashSet<(u64, Uuid)>,
}

pub(crate) fn recover(
    loaded: Loaded,
    listing: &Listing,
    disk: &dyn Disk,
) -> Result<Recovered, FileError> {
    let (places, recorded) = match loaded {
        Loaded::Whole(recorded, written) => {
            let mut places: Vec<_> = recorded.files.iter().filter_map(place).collect();
            let known: HashSet<_> = places.iter().map(|(path, _)| path.clone()).collect();
            let since = written.checked_sub(SLACK).unwrap_or(SystemTime::UNIX_EPOCH);
            let later = listing.files.iter().filter(|found| {
                found.compression == Compression::None
                    && found.modified >= since
                    && !known.contains(&found.path)
            });
            places.extend(later.map(|found| (found.path.clone(), From::Line(0))));
            (places, Some(recorded))
        }
        Loaded::Missing => (newest(listing), None),
        Loaded::Damaged(problem) => {
            tracing::warn!(
                problem,
                "the sink's position can't be read; events that were written since it was last committed may come twice"
            );
            (newest(listing), None)
        }
    };
    let mut recovered = recorded.map_or_else(Recovered::default, Recovered::from);
    let after = recovered.position.map_or(0, |position| position.seq);
    let mut folders = BTreeSet::new();
    for (path, from) in places {
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
            tracing::warn!(file = %path.display(), lines = foreign, "some lines are no envelopes; they are left as they are");
        }
        if found > 0 {
            file.sync_is_due();
        }
        file.sync(disk)?;
        folders.insert(parent(&path).to_owned());
    }
    folders.iter().try_for_each(|folder| disk.sync_folder(folder))?;
    if !recovered.ahead.is_empty() && recovered.position.is_some() {
        tracing::info!(
            lines = recovered.ahead.len(),
            "found lines that were written before a crash; they are not written again"
        );
    }
    Ok(recovered)
}

impl std::convert::From<Recorded> for Recovered {
    fn from(recorded: Recorded) -> Self {
        let parse = |(seq, id): (u64, String)| Some((seq, Uuid::parse_str(&id).ok()?));
        Self {
            position: Some(recorded.position),
            ahead: recorded.ahead.into_iter().filter_map(parse).collect(),
        }
    }
}

/// Where a recorded file is now, and from where on it is to be read.
fn place(mark: &Mark) -> Option<(PathBuf, From)> {
    let is_it = |path: &PathBuf| {
        fs::symlink_metadata(path)
            .is_ok_and(|metadata| metadata.is_file() && Identity::of(&metadata) == mark.identity)
            || (*path == mark.path
                && fs::metadata(path)
                    .is_ok_and(|metadata| Identity::of(&metadata) == mark.identity))
    };
    let path = if is_it(&mark.path) {
        mark.path.clone()
    } else {
        let siblings = fs::read_dir(parent(&mark.path)).ok()?;
        siblings.filter_map(|entry| Some(entry.ok()?.path())).find(is_it)?
    };
    let len = fs::metadata(&path).ok()?.len();
    Some((path, From::Line(if len < mark.size { 0 } else { mark.size })))
}

fn newest(listing: &Listing) -> Vec<(PathBuf, From)> {
    let mut files: Vec<_> =
        listing.files.iter().filter(|found| found.compression == Compression::None).collect();
    files.sort_by_key(|found| std::cmp::Reverse(found.modified));
    let mut left = LAST_IN_ALL;
    let mut places = Vec::new();
    for found in files {
        let bytes = found.len.min(LAST);
        if bytes > left {
            break;
        }
        left -= bytes;
        places.push((found.path.clone(), From::Last(LAST)));
    }
    places
}
