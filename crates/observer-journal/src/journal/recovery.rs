//! Recovery at opening: finds the last record, removes a torn write, and checks the epoch.

use std::collections::VecDeque;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

use crate::error::OpenError;
use crate::fs::{File, FileSystem, OpenMode, quarantine};
use crate::options::Options;
use crate::positions::readers::Readers;
use crate::positions::reserve;
use crate::positions::{Loaded, Positions};
use crate::removed_keys::RemovedKeys;
use crate::segment::format::{FooterBuilder, Version};
use crate::segment::layout::Layout;
use crate::segment::{Segment, scan, written_after};
use crate::state::JournalState;
use crate::writer::log::{Active, Log};

/// Report of opening a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// True if the journal was created.
    pub created: bool,
    /// Last record; 0 if there is none.
    pub head: u64,
    /// Size in bytes of an incomplete last block, which was removed.
    pub torn_bytes: u64,
    /// Records of the last segment that are corrupt. Corrupt records of other segments are found
    /// when they are read.
    pub lost: Vec<RangeInclusive<u64>>,
    /// New names of segment files that could not be read and were renamed.
    pub quarantined: Vec<String>,
    /// True if a new epoch began because the position of a reader was after the last record.
    pub new_epoch: bool,
    /// True if there were records, but no usable file of positions.
    pub positions_lost: bool,
}

/// Opens the files of a journal, whose lock the caller holds.
pub(crate) fn open(options: Options) -> Result<(Arc<JournalState>, Log, Recovery), OpenError> {
    let (fs, dir) = (options.fs.clone(), options.dir.clone());
    let mut recovery = Recovery::default();

    let layout = Layout::read(&*fs, &dir)?;
    // A file of a later version is found before anything is changed.
    Positions::read(&*fs, &dir)?;
    let removed_keys = RemovedKeys::load(&*fs, &dir)?;
    clean_up(&*fs, &dir, &layout, &mut recovery)?;
    let mut segments = layout.segments;
    let loaded = Positions::load(&*fs, &dir)?;
    let mut found = None;
    let mut positions = match loaded {
        Loaded::Valid(positions) => found.insert(positions).clone(),
        Loaded::Missing => {
            recovery.created = segments.is_empty();
            recovery.positions_lost = !segments.is_empty();
            Positions::default()
        }
        Loaded::Corrupt { renamed_to } => {
            tracing::error!(
                renamed_to = %renamed_to.display(),
                "the file of positions is corrupt; sinks receive all events in the journal again"
            );
            recovery.positions_lost = true;
            Positions::default()
        }
    };
    let (head, active) = recover_last_segment(&*fs, &options, &mut segments, &mut recovery)?;
    recovery.head = head;
    check_epoch(&mut positions, &segments, head, &options, &mut recovery);

    // The positions are stored before the first segment, since segments without positions count as
    // a loss. This makes all names in the folder durable, too.
    store(&*fs, &dir, &positions, found.as_ref())
        .map_err(OpenError::io("write the positions in", &dir))?;
    if let Err(error) = reserve::refill(&*fs, &dir) {
        tracing::warn!(%error, "can't reserve space for positions");
    }
    let readers = Readers { durable: positions.clone(), positions, ..Readers::default() };
    let state = Arc::new(JournalState::new(options, fs, segments, head, readers, removed_keys));
    let log = Log::new(state.clone(), active);
    Ok((state, log, recovery))
}

/// Makes the positions durable. `found` is the content of the file.
fn store(
    fs: &dyn FileSystem,
    dir: &Path,
    positions: &Positions,
    found: Option<&Positions>,
) -> io::Result<()> {
    if found == Some(positions) {
        // The content was synced before the file was renamed, but the new name perhaps was not.
        return fs.sync_dir(dir);
    }
    match positions.store(fs, dir) {
        Err(error) if reserve::is_full(&error) => {
            positions.store_from_reserve(fs, dir).map_err(|_| error)
        }
        result => result,
    }
}

/// Removes superseded and unfinished files, and quarantines files without a usable header.
fn clean_up(
    fs: &dyn FileSystem,
    dir: &Path,
    layout: &Layout,
    recovery: &mut Recovery,
) -> Result<(), OpenError> {
    for name in &layout.superseded {
        fs.remove(&name.path(dir)).map_err(OpenError::io("remove", name.path(dir)))?;
    }
    for unreadable in &layout.unreadable {
        let name = unreadable.name;
        let path = name.path(dir);
        if unreadable.is_unfinished() {
            fs.remove(&path).map_err(OpenError::io("remove", &path))?;
            continue;
        }
        let quarantined =
            quarantine(fs, dir, &name.to_string()).map_err(OpenError::io("rename", &path))?;
        tracing::error!(
            segment = %name,
            renamed_to = quarantined,
            "a segment has no usable header; its records can't be read"
        );
        recovery.quarantined.push(quarantined);
    }
    Ok(())
}

/// Finds the last record, removes incomplete bytes after it, and makes the segment durable before
/// it is read.
fn recover_last_segment(
    fs: &dyn FileSystem,
    options: &Options,
    segments: &mut VecDeque<Segment>,
    recovery: &mut Recovery,
) -> Result<(u64, Option<Active>), OpenError> {
    let Some(last) = segments.back_mut() else { return Ok((0, None)) };
    let path = last.name.path(&options.dir);
    let file = fs.open(&path, OpenMode::Write).map_err(OpenError::io("open", &path))?;
    if let Some(head) = last.sealed_last(&*file).map_err(OpenError::io("read", &path))? {
        // The process may have ended before the sealed segment was synced.
        file.sync().map_err(OpenError::io("sync", &path))?;
        return Ok((head, None));
    }

    let mut head = last.name.first_seq - 1;
    let mut footer = FooterBuilder::default();
    let mut lost = Vec::new();
    let mut last_block = 0..0;
    let end = scan(last, file.clone(), |block| {
        last_block = block.offset..block.end;
        if block.first_seq > head + 1 {
            lost.push(head + 1..=block.first_seq - 1);
        }
        head = block.last_seq;
        block.keys.iter().for_each(|(_, key)| footer.push(key));
    })
    .map_err(OpenError::io("read", &path))?;

    let torn = written_after(&*file, end).map_err(OpenError::io("read", &path))?;
    let repaired: io::Result<()> = (|| {
        if last.size > end {
            file.truncate(end)?;
        }
        // Another bad sector could destroy the only valid copy.
        if !last.has_both_headers(&*file)? {
            file.write_at(&last.header.encode(), 0)?;
        }
        rewrite_last_block(&*file, &last.header.encode(), last_block)?;
        file.sync()
    })();
    repaired.map_err(OpenError::io("sync", &path))?;
    last.size = end;
    recovery.torn_bytes = torn;
    if torn > 0 {
        tracing::warn!(
            segment = %last.name,
            offset = end,
            bytes = torn,
            "an incomplete last write is removed"
        );
    }
    for range in &lost {
        tracing::error!(
            segment = %last.name,
            first = range.start(),
            last = range.end(),
            "records are corrupt and can't be read"
        );
    }
    // The footer numbers its keys from the first record on, so that no footer can be written for a
    // segment with a gap, and an earlier version has no tags. The next commit creates a new
    // segment.
    let is_continued = lost.is_empty() && last.header.version == Version::CURRENT;
    recovery.lost = lost;
    let id = file.id().map_err(OpenError::io("read", &path))?;
    let active = is_continued.then(|| Active {
        name: last.name,
        file,
        id,
        salt: last.salt(),
        epoch: last.header.epoch,
        end,
        filled: end,
        footer,
        unsynced: false,
    });
    Ok((head, active))
}

/// Writes the last block again, or the headers if there is no block.
///
/// If a sync failed just before the process was killed, these bytes can be read from the page
/// cache, but are not on the disk, and the next sync succeeds without writing them. No other bytes
/// are affected, since nothing is written to a segment after a failed sync.
fn rewrite_last_block(file: &dyn File, headers: &[u8], last_block: Range<u64>) -> io::Result<()> {
    let (bytes, offset) = if last_block.is_empty() {
        (headers.to_vec(), 0)
    } else {
        let mut block =
            vec![0; usize::try_from(last_block.end - last_block.start).map_err(io::Error::other)?];
        let count = file.read_at(&mut block, last_block.start)?;
        block.truncate(count);
        (block, last_block.start)
    };
    match file.write_at(&bytes, offset) {
        // Some file systems allocate new space for bytes that are overwritten.
        Err(error) if reserve::is_full(&error) => Ok(()),
        written => written,
    }
}

/// Begins a new epoch if the position of a reader is after the head.
fn check_epoch(
    positions: &mut Positions,
    segments: &VecDeque<Segment>,
    head: u64,
    options: &Options,
    recovery: &mut Recovery,
) {
    let now = (options.clock)();
    if positions.epochs.is_empty() {
        match segments.front() {
            // Earlier epochs were lost with the file; this one covers all records that are left.
            Some(oldest) => {
                let epoch =
                    segments.iter().map(|segment| segment.header.epoch).max().unwrap_or_default();
                positions.epochs.push((epoch, oldest.name.first_seq));
            }
            None => positions.begin_epoch(now, 0),
        }
        return;
    }
    let resolved = positions
        .readers
        .iter()
        .filter_map(|(name, stored)| Some((positions.translate(stored.epoch, stored.seq)?, name)));
    if let Some((furthest, name)) = resolved.max()
        && furthest > head
    {
        tracing::error!(
            sink = name,
            position = furthest,
            head,
            "the journal ends before the position of a sink; a new epoch begins"
        );
        positions.begin_epoch_after_loss(now, head, furthest);
        recovery.new_epoch = true;
    }
}
