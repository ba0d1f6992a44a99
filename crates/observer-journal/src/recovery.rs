//! Opening a journal: what is there, what was torn, and where to go on.

use std::collections::VecDeque;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

use crate::error::OpenError;
use crate::format::FooterBuilder;
use crate::fs::{File, FileSystem, OpenMode, quarantine};
use crate::options::Options;
use crate::positions::reserve;
use crate::positions::{Loaded, Positions};
use crate::segment::layout::Layout;
use crate::segment::{Segment, scan, written_after};
use crate::shared::{Places, Shared};
use crate::writer::log::{Active, Log};

/// What was found when a journal was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// There was no journal; one was begun.
    pub created: bool,
    /// The last record.
    pub head: u64,
    /// How many bytes at the end were a block half written, and were cut.
    pub torn_bytes: u64,
    /// Records that should be there and can't be read, in the last segment. Others are told when
    /// they are come to.
    pub lost: Vec<RangeInclusive<u64>>,
    /// Files that are no segments any more, and were given another name.
    pub quarantined: Vec<String>,
    /// Some reader had come further than the journal goes: a new epoch began.
    pub new_epoch: bool,
    /// There were records, but no positions of readers.
    pub positions_lost: bool,
}

pub(crate) fn open(options: Options) -> Result<(Arc<Shared>, Log, Recovery), OpenError> {
    let (fs, dir) = (options.fs.clone(), options.dir.clone());
    let mut recovery = Recovery::default();

    let layout = Layout::read(&*fs, &dir)?;
    tidy(&*fs, &dir, &layout, &mut recovery)?;
    let mut segments = layout.segments;
    let loaded =
        Positions::load(&*fs, &dir).map_err(OpenError::io("read the positions in", &dir))?;
    let mut known = None;
    let mut positions = match loaded {
        Loaded::Good(positions) => known.insert(positions).clone(),
        Loaded::Missing => {
            recovery.created = segments.is_empty();
            recovery.positions_lost = !segments.is_empty();
            Positions::default()
        }
        Loaded::Corrupt { moved_to } => {
            tracing::error!(moved_to = %moved_to.display(), "the file of positions was corrupt; sinks get again what the journal still has");
            recovery.positions_lost = true;
            Positions::default()
        }
    };
    let (head, active) = recover_last(&*fs, &options, &mut segments, &mut recovery)?;
    recovery.head = head;
    settle_epoch(&mut positions, &segments, head, &options, &mut recovery);

    // Positions first: segments without them look like a loss. All names in the folder become
    // durable with them.
    store(&*fs, &dir, &positions, known.as_ref())
        .map_err(OpenError::io("write the positions in", &dir))?;
    if let Err(error) = reserve::keep(&*fs, &dir) {
        tracing::warn!(%error, "no space can be set aside for positions");
    }
    let places = Places { durable: positions.clone(), positions, ..Places::default() };
    let shared = Arc::new(Shared::new(options, fs, segments, head, places));
    let log = Log::new(shared.clone(), active);
    Ok((shared, log, recovery))
}

/// Have positions in the file, where they may be what was found there.
fn store(
    fs: &dyn FileSystem,
    dir: &Path,
    positions: &Positions,
    known: Option<&Positions>,
) -> io::Result<()> {
    if known == Some(positions) {
        // Its bytes are durable since before it got its name, and that is now.
        return fs.sync_dir(dir);
    }
    match positions.store(fs, dir) {
        Err(error) if reserve::is_full(&error) => {
            positions.store_from_reserve(fs, dir).map_err(|_| error)
        }
        result => result,
    }
}

/// Away with what was given up and with what was only begun; what has no header any more gets
/// another name.
fn tidy(
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
        let aside =
            quarantine(fs, dir, &name.to_string()).map_err(OpenError::io("rename", &path))?;
        tracing::error!(segment = %name, renamed_to = aside, "both headers of a segment are corrupt; its records can't be read");
        recovery.quarantined.push(aside);
    }
    Ok(())
}

/// Find the last record, cut what was torn behind it, and make durable what is served from now on.
fn recover_last(
    fs: &dyn FileSystem,
    options: &Options,
    segments: &mut VecDeque<Segment>,
    recovery: &mut Recovery,
) -> Result<(u64, Option<Active>), OpenError> {
    let Some(last) = segments.back_mut() else { return Ok((0, None)) };
    let path = last.name.path(&options.dir);
    let file = fs.open(&path, OpenMode::Write).map_err(OpenError::io("open", &path))?;
    if let Some(head) = last.sealed_last(&*file).map_err(OpenError::io("read", &path))? {
        // Whoever sealed it may have ended before it was durable.
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
    let mended: io::Result<()> = (|| {
        if last.size > end {
            file.truncate(end)?;
        }
        // The next bad sector may hit the other one.
        if !last.has_both_headers(&*file)? {
            file.write_at(&last.header.encode(), 0)?;
        }
        write_again(&*file, &last.header.encode(), last_block)?;
        file.sync()
    })();
    mended.map_err(OpenError::io("sync", &path))?;
    last.size = end;
    recovery.torn_bytes = torn;
    if torn > 0 {
        tracing::warn!(segment = %last.name, offset = end, bytes = torn, "the last write was torn and is cut off");
    }
    for range in &lost {
        tracing::error!(segment = %last.name, first = range.start(), last = range.end(), "records are corrupt and can't be read");
    }
    let complete = lost.is_empty();
    recovery.lost = lost;
    // A footer counts its records from the first one on, so a segment with a hole is not gone on
    // with.
    let active = complete.then(|| Active {
        name: last.name,
        file,
        salt: last.salt(),
        epoch: last.header.epoch,
        end,
        filled: end,
        footer,
        unsynced: false,
    });
    Ok((head, active))
}

/// A sync may have failed just before another process was killed. What can be read is with the page
/// cache alone then, and the next sync says that all is well, unless it is written again. It can be
/// no more than the last block, or the headers before the first: after a failed sync nothing
/// follows.
fn write_again(file: &dyn File, headers: &[u8], last_block: Range<u64>) -> io::Result<()> {
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
        // Some file systems want new space for what is written over.
        Err(error) if reserve::is_full(&error) => Ok(()),
        written => written,
    }
}

fn settle_epoch(
    positions: &mut Positions,
    segments: &VecDeque<Segment>,
    head: u64,
    options: &Options,
    recovery: &mut Recovery,
) {
    let now = (options.clock)();
    if positions.epochs.is_empty() {
        match segments.front() {
            // The epochs before are forgotten with the positions; this one covers what is left.
            Some(oldest) => {
                let epoch =
                    segments.iter().map(|segment| segment.header.epoch).max().unwrap_or_default();
                positions.epochs.push((epoch, oldest.name.first_seq));
            }
            None => positions.begin_epoch(now, 0),
        }
        return;
    }
    let ahead = positions.readers.iter().find(|(_, stored)| {
        positions.resolve(stored.epoch, stored.seq).is_some_and(|seq| seq > head)
    });
    if let Some((name, stored)) = ahead {
        tracing::error!(
            sink = name,
            position = stored.seq,
            head,
            "the journal ends before what a sink already has; a new epoch begins"
        );
        positions.begin_epoch(now, head);
        recovery.new_epoch = true;
    }
}
