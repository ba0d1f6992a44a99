//! The writing end: puts groups of records into blocks, and blocks into segments.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::error::AppendError;
use crate::format::{BLOCKS_OFFSET, BlockBuilder, FooterBuilder, Salt, SegmentHeader};
use crate::fs::{File, OpenMode};
use crate::options::Durability;
use crate::positions;
use crate::positions::reserve::is_full;
use crate::record::{Append, Group};
use crate::segment::{Segment, SegmentName};
use crate::shared::Shared;
use crate::writer::failures::Trouble;

/// A fresh segment begins after this many records, so that the keys kept for its footer stay small.
const MAX_RECORDS: usize = 128 * 1024;
/// How many zeros are written ahead of the blocks. A sync within them has no new length of the file
/// to write, which takes a third off its time.
const AHEAD: usize = 2 << 20;
/// Zeros are written ahead of blocks up to this size.
const SMALL_BLOCK: usize = 64 << 10;
/// How long a fresh segment is not tried after a failed sync, in microseconds: at first, and at
/// most.
const PAUSE: (u64, u64) = (100_000, 30_000_000);

#[derive(Debug)]
pub(crate) struct Log {
    shared: Arc<Shared>,
    active: Option<Active>,
    block: BlockBuilder,
    /// The last segment that was begun, or was to be.
    begun: Option<SegmentName>,
    /// After a failed sync: when a fresh segment may be tried, and how long the pause was.
    paused: Option<(u64, u64)>,
    trouble: Trouble,
}

/// The segment that is written to.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) name: SegmentName,
    pub(crate) file: Arc<dyn File>,
    pub(crate) salt: Salt,
    pub(crate) epoch: u64,
    /// Where the next block goes.
    pub(crate) end: u64,
    /// Where the zeros end that were written ahead.
    pub(crate) filled: u64,
    pub(crate) footer: FooterBuilder,
    /// Something was written since the last sync.
    pub(crate) unsynced: bool,
}

impl Active {
    /// Away with what stands behind the last block.
    fn cut(&mut self) -> io::Result<()> {
        self.filled = self.end;
        self.file.truncate(self.end)
    }

    /// After a block up to `end`: zeros behind it, within `limit`. Where there is no space for them
    /// it goes without.
    fn fill_ahead(&mut self, end: u64, limit: u64) {
        if end <= self.filled || end >= limit {
            return;
        }
        let zeros = vec![0; AHEAD.min(usize::try_from(limit - end).unwrap_or(AHEAD))];
        match self.file.write_at(&zeros, end) {
            Ok(()) => self.filled = end + zeros.len() as u64,
            Err(_) => {
                // If the zeros can't be cut either, they do no harm.
                let _ = self.file.truncate(end);
            }
        }
    }
}

impl Log {
    pub(crate) fn new(shared: Arc<Shared>, active: Option<Active>) -> Self {
        let (block, trouble) = (BlockBuilder::default(), Trouble::default());
        Self { shared, active, block, begun: None, paused: None, trouble }
    }

    /// Writes a group as one block, makes it durable, and passes it to `on_commit` with the result.
    pub(crate) fn commit<T>(&mut self, appends: Vec<Append<T>>, on_commit: &dyn Fn(Group<T>)) {
        self.block.clear();
        let records = || appends.iter().flat_map(|append| &append.records);
        records().for_each(|record| self.block.push(record));
        let result = self.write(&appends);
        *self.shared.failure() = result.as_ref().err().cloned();
        if let Err(error) = &result {
            self.trouble.failed(error, records().count() as u64, (self.shared.options.clock)());
        }
        on_commit(Group { appends, result });
    }

    /// The first sequence number of the group.
    fn write<T>(&mut self, group: &[Append<T>]) -> Result<u64, AppendError> {
        let first_seq = self.shared.head() + 1;
        let count = group.iter().map(|append| append.records.len() as u64).sum::<u64>();
        self.prepare()?;
        self.shared.free_up(self.block.size() as u64)?;
        let active = self.active.as_mut().expect("prepare() leaves a segment to write to");
        let name = active.name;
        let path = || name.path(&self.shared.dir);

        let block = self.block.finish(active.salt, active.epoch, first_seq);
        if let Err(source) = active.file.write_at(block, active.end) {
            let error = AppendError::Write { path: path(), source: Arc::new(source) };
            if let Err(error) = active.cut() {
                tracing::error!(segment = %active.name, %error, "a partial write could not be rolled back; a fresh segment is begun");
                self.give_up();
            }
            return Err(error);
        }
        match self.shared.options.durability {
            Durability::Write => active.unsynced = true,
            Durability::Fsync => {
                // Large blocks outweigh that, and would only be written twice.
                if block.len() < SMALL_BLOCK {
                    active.fill_ahead(
                        active.end + block.len() as u64,
                        self.shared.options.segment_limit(),
                    );
                }
                let begun = Instant::now();
                let synced = active.file.sync();
                self.shared.syncs.record(begun.elapsed());
                if let Err(source) = synced {
                    let error = AppendError::Sync { path: path(), source: Arc::new(source) };
                    self.poison();
                    return Err(error);
                }
            }
        }
        active.end += block.len() as u64;
        let end = active.end;
        group
            .iter()
            .flat_map(|append| &append.records)
            .for_each(|record| active.footer.push(&record.key()));
        if let Some(segment) = self.shared.segments().back_mut() {
            segment.size = end;
        }
        self.paused = None;
        self.shared.advance(first_seq + count - 1);
        Ok(first_seq)
    }

    /// See to it that new readers will know of the block, and that there is a segment with room for
    /// it.
    fn prepare(&mut self) -> Result<(), AppendError> {
        self.shared.store_new_readers().map_err(|source| AppendError::Write {
            path: self.shared.dir.join(positions::FILE),
            source: Arc::new(source),
        })?;
        if let Some(active) = &self.active {
            let full = active.end + self.block.size() as u64 > self.shared.options.segment_limit()
                || active.footer.count() >= MAX_RECORDS;
            if !full || active.end == BLOCKS_OFFSET {
                return Ok(());
            }
            self.seal()?;
        }
        let now = (self.shared.options.clock)();
        if let Some((until, _)) = self.paused
            && now < until
            && let Some(error) = &*self.shared.failure()
        {
            return Err(error.clone());
        }
        let first_seq = self.shared.head() + 1;
        // A segment that was given up before its first commit holds nothing. It goes when the one
        // in its place is there: what comes next is known by its name.
        let given_up = self
            .shared
            .segments()
            .back()
            .map(|last| last.name)
            .filter(|name| name.first_seq == first_seq);
        // One that could not be begun may be there still. What is committed is in the last one.
        let last = given_up.max(self.begun.filter(|name| name.first_seq == first_seq));
        let name =
            SegmentName { first_seq, generation: last.map_or(0, |name| name.generation + 1) };
        self.begun = Some(name);
        let epoch = self.shared.readers().positions.epoch();
        match create(&self.shared, name, epoch, now) {
            Ok((segment, active)) => {
                let mut segments = self.shared.segments();
                if given_up.is_some() {
                    segments.pop_back();
                }
                segments.push_back(segment);
                drop(segments);
                if let Some(name) = given_up {
                    let _ = self.shared.fs.remove(&name.path(&self.shared.dir));
                }
                self.active = Some(active);
                Ok(())
            }
            Err(source) => {
                if is_full(&source) {
                    // Space may be there at any moment, and to look for it costs little.
                    self.paused = Some((now + PAUSE.0, PAUSE.0));
                } else {
                    self.pause(now);
                }
                Err(AppendError::Write {
                    path: name.path(&self.shared.dir),
                    source: Arc::new(source),
                })
            }
        }
    }

    /// Put the footer under the present segment, which is written to no more.
    fn seal(&mut self) -> Result<(), AppendError> {
        let Some(mut active) = self.active.take() else { return Ok(()) };
        let footer = std::mem::take(&mut active.footer).finish(active.salt, active.name.first_seq);
        let end = active.end + footer.len() as u64;
        let write = || {
            active.file.write_at(&footer, active.end)?;
            active.file.truncate(end)?;
            active.file.sync()
        };
        let result = write();
        match result {
            Ok(()) => {
                if let Some(segment) = self.shared.segments().back_mut() {
                    segment.size = end;
                }
            }
            // Without a footer the blocks are read instead; with unsynced blocks, the sync
            // mattered.
            Err(source) if active.unsynced => {
                let path = active.name.path(&self.shared.dir);
                return Err(AppendError::Sync { path, source: Arc::new(source) });
            }
            Err(error) => {
                tracing::warn!(segment = %active.name, %error, "the segment stays without its footer");
                let _ = active.cut();
            }
        }
        Ok(())
    }

    /// Leave no zeros behind the last block.
    pub(crate) fn close(&mut self) {
        if let Some(active) = self.active.as_mut().filter(|active| active.filled > active.end) {
            // What stands there is zeros, which do no harm.
            let _ = active.cut();
        }
    }

    /// Make durable what was only written.
    pub(crate) fn sync(&mut self) -> Result<(), AppendError> {
        let Some(active) = self.active.as_mut().filter(|active| active.unsynced) else {
            return Ok(());
        };
        let begun = Instant::now();
        let synced = active.file.sync();
        self.shared.syncs.record(begun.elapsed());
        match synced {
            Ok(()) => {
                active.unsynced = false;
                Ok(())
            }
            Err(source) => {
                let path = active.name.path(&self.shared.dir);
                self.poison();
                Err(AppendError::Sync { path, source: Arc::new(source) })
            }
        }
    }

    /// After a failed commit: find out whether the next one would work, so that producers can be
    /// told to come back.
    pub(crate) fn probe(&mut self) {
        const SIZE: usize = 4096;
        let wanted = match &*self.shared.failure() {
            None => {
                self.trouble.none((self.shared.options.clock)());
                return;
            }
            Some(AppendError::Full { wanted, .. }) => *wanted,
            Some(_) => SIZE as u64,
        };
        self.block.clear();
        let works = self.prepare().and_then(|()| self.shared.free_up(wanted)).is_ok();
        let Some(active) = self.active.as_mut().filter(|_| works) else { return };
        // Behind what is there, since what lies ahead has its space already.
        let written = active.file.write_at(&[0; SIZE], active.end.max(active.filled));
        if let Err(error) = active.cut() {
            tracing::error!(segment = %active.name, %error, "a probe could not be taken back; a fresh segment is begun");
            self.give_up();
        } else if written.is_ok() {
            *self.shared.failure() = None;
        }
    }

    /// After a failed sync the page cache may say what the disk doesn't hold: nothing more goes
    /// into that file.
    fn poison(&mut self) {
        if let Some(active) = &mut self.active {
            // What was refused takes no space, and is not found when the journal is opened again.
            let _ = active.cut();
        }
        self.give_up();
        self.pause((self.shared.options.clock)());
    }

    fn give_up(&mut self) {
        self.active = None;
    }

    fn pause(&mut self, now: u64) {
        let pause = self.paused.map_or(PAUSE.0, |(_, last)| (last * 2).min(PAUSE.1));
        self.paused = Some((now + pause, pause));
    }
}

/// Begin a segment: its header is durable, and so is its name.
fn create(
    shared: &Shared,
    name: SegmentName,
    epoch: u64,
    now: u64,
) -> io::Result<(Segment, Active)> {
    let header = SegmentHeader {
        epoch,
        first_seq: name.first_seq,
        created_at: now,
        salt: shared.options.salt(name.first_seq),
    };
    let path = name.path(&shared.dir);
    let file = shared.fs.open(&path, OpenMode::Create)?;
    let begun = file
        .write_at(&header.encode(), 0)
        .and_then(|()| file.sync())
        .and_then(|()| shared.fs.sync_dir(&shared.dir));
    if let Err(error) = begun {
        let _ = shared.fs.remove(&path);
        return Err(error);
    }
    let segment = Segment { name, header, size: BLOCKS_OFFSET };
    let active = Active {
        name,
        file,
        salt: header.salt.into(),
        epoch,
        end: BLOCKS_OFFSET,
        filled: BLOCKS_OFFSET,
        footer: FooterBuilder::default(),
        unsynced: false,
    };
    Ok((segment, active))
}
