//! Log that writes groups of records as blocks, and blocks into segments.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::error::AppendError;
use crate::fs::{File, FileId, OpenMode};
use crate::options::Durability;
use crate::positions;
use crate::positions::reserve::is_full;
use crate::record::{Append, Group};
use crate::segment::format::{
    BLOCKS_OFFSET, BlockBuilder, FooterBuilder, Salt, SegmentHeader, Version,
};
use crate::segment::{Segment, SegmentName};
use crate::state::JournalState;
use crate::writer::failures::FailureLog;

/// Number of records after which a new segment begins. It limits the memory for the keys of the
/// footer.
const MAX_RECORDS: usize = 128 * 1024;
/// Number of zeros that are written ahead of the blocks. A sync within them does not change the
/// size of the file, which saves a third of its time.
const FILL_SIZE: usize = 2 << 20;
/// Size of a block in bytes up to which zeros are written ahead.
const SMALL_BLOCK: usize = 64 << 10;
/// Shortest and longest pause between a failed sync and the next new segment, in microseconds.
const PAUSE: (u64, u64) = (100_000, 30_000_000);

/// Writing end of the journal.
#[derive(Debug)]
pub(crate) struct Log {
    pub(super) state: Arc<JournalState>,
    pub(super) active: Option<Active>,
    /// Former active segment whose file was removed or replaced. The blocks in it are written to
    /// another file before the next commit.
    pub(super) removed: Option<Active>,
    block: BlockBuilder,
    /// Last segment that was created, or whose creation failed.
    pub(super) last_created: Option<SegmentName>,
    /// Time of the monotonic clock until which no new segment is created, and the length of that
    /// pause.
    pause: Option<(u64, u64)>,
    failures: FailureLog,
}

/// Segment to which blocks are written.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) name: SegmentName,
    pub(crate) file: Arc<dyn File>,
    /// Identity of the file.
    pub(crate) id: FileId,
    pub(crate) salt: Salt,
    pub(crate) epoch: u64,
    /// Offset of the next block.
    pub(crate) end: u64,
    /// Offset of the end of the zeros that were written ahead.
    pub(crate) filled: u64,
    pub(crate) footer: FooterBuilder,
    /// True if there were writes since the last sync.
    pub(crate) unsynced: bool,
}

impl Active {
    /// Returns whether the path of the segment leads to the open file.
    fn is_in_place(&self, state: &JournalState) -> bool {
        state.fs.id(&self.name.path(&state.dir)).is_ok_and(|id| id == Some(self.id))
    }

    /// Truncates the file after the last block.
    fn truncate(&mut self) -> io::Result<()> {
        self.filled = self.end;
        self.file.truncate(self.end)
    }

    /// Writes zeros after the block that ends at `end`, up to `limit`. They are optional: a failed
    /// write is ignored.
    fn fill_ahead(&mut self, end: u64, limit: u64) {
        if end <= self.filled || end >= limit {
            return;
        }
        let zeros = vec![0; FILL_SIZE.min(usize::try_from(limit - end).unwrap_or(FILL_SIZE))];
        match self.file.write_at(&zeros, end) {
            Ok(()) => self.filled = end + zeros.len() as u64,
            Err(_) => {
                // Zeros that are left do no harm.
                let _ = self.file.truncate(end);
            }
        }
    }
}

impl Log {
    pub(crate) fn new(state: Arc<JournalState>, active: Option<Active>) -> Self {
        let (block, failures) = (BlockBuilder::default(), FailureLog::default());
        Self { state, active, removed: None, block, last_created: None, pause: None, failures }
    }

    /// Writes a group as one block, makes it durable, and passes it to `on_commit` with the result.
    pub(crate) fn commit<T>(&mut self, appends: Vec<Append<T>>, on_commit: &dyn Fn(Group<T>)) {
        self.block.clear();
        let records = || appends.iter().flat_map(|append| &append.records);
        records().for_each(|record| self.block.push(record));
        let result = self.write(&appends);
        *self.state.failure() = result.as_ref().err().cloned();
        if let Err(error) = &result {
            self.failures.commit_failed(
                error,
                records().count() as u64,
                (self.state.options.monotonic)(),
            );
        }
        on_commit(Group { appends, result });
    }

    /// Writes the block and makes it durable. Returns the first sequence number of the group.
    fn write<T>(&mut self, group: &[Append<T>]) -> Result<u64, AppendError> {
        let first_seq = self.state.head() + 1;
        let count = group.iter().map(|append| append.records.len() as u64).sum::<u64>();
        self.prepare()?;
        self.state.free_up(self.block.size() as u64)?;
        let active = self.active.as_mut().expect("prepare() ensures an active segment");
        let name = active.name;
        let path = || name.path(&self.state.dir);

        let block = self.block.finish(active.salt, active.epoch, first_seq);
        if let Err(source) = active.file.write_at(block, active.end) {
            // A file of the largest possible size; another one has space.
            let is_complete =
                source.kind() == io::ErrorKind::FileTooLarge && active.end > BLOCKS_OFFSET;
            let error = AppendError::Write { path: path(), source: Arc::new(source) };
            if let Err(error) = active.truncate() {
                tracing::error!(
                    segment = %active.name,
                    %error,
                    "a partial write could not be rolled back; the next commit creates a new \
                     segment"
                );
                self.active = None;
            } else if is_complete {
                self.active = None;
            }
            return Err(error);
        }
        match self.state.options.durability {
            Durability::Write => active.unsynced = true,
            Durability::Fsync | Durability::Memory => {
                // Large blocks gain little, and the zeros would double the bytes written.
                if block.len() < SMALL_BLOCK {
                    active.fill_ahead(
                        active.end + block.len() as u64,
                        self.state.options.segment_limit(),
                    );
                }
                let started = Instant::now();
                let synced = active.file.sync();
                self.state.syncs.record(started.elapsed());
                if let Err(source) = synced {
                    let error = AppendError::Sync { path: path(), source: Arc::new(source) };
                    self.abandon_segment();
                    return Err(error);
                }
            }
        }
        let size = block.len() as u64;
        // Only what a later process finds at this path is durable.
        if !active.is_in_place(&self.state) {
            return Err(self.lose_segment());
        }
        let active = self.active.as_mut().expect("the segment is still active");
        active.end += size;
        let end = active.end;
        group
            .iter()
            .flat_map(|append| &append.records)
            .for_each(|record| active.footer.push(&record.key()));
        if let Some(segment) = self.state.segments().back_mut() {
            segment.size = end;
        }
        self.pause = None;
        self.state.advance(first_seq + count - 1);
        Ok(first_seq)
    }

    /// Stores the positions of new readers, and ensures an active segment with space for the block.
    fn prepare(&mut self) -> Result<(), AppendError> {
        if self.active.is_none() {
            self.enter()?;
        }
        self.state.store_new_readers().map_err(|source| AppendError::Write {
            path: self.state.dir.join(positions::FILE),
            source: Arc::new(source),
        })?;
        if let Some(active) = &self.active {
            let is_full = active.end + self.block.size() as u64
                > self.state.options.segment_limit()
                || active.footer.count() >= MAX_RECORDS;
            if !is_full || active.end == BLOCKS_OFFSET {
                return Ok(());
            }
            if !active.is_in_place(&self.state) {
                return Err(self.lose_segment());
            }
            self.seal()?;
        }
        self.create_segment()
    }

    /// Prepares the folder for a new segment, unless a pause lasts. If the file of the last segment
    /// was removed, its blocks are written to a new file, and that is the active segment.
    fn enter(&mut self) -> Result<(), AppendError> {
        let now = (self.state.options.monotonic)();
        if let Some((until, _)) = self.pause
            && now < until
            && let Some(error) = &*self.state.failure()
        {
            return Err(error.clone());
        }
        self.state.ensure_folder().and_then(|()| self.restore()).inspect_err(|_| {
            // Another attempt is cheap.
            self.pause = Some((now + PAUSE.0, PAUSE.0));
        })
    }

    /// Creates the segment of the next record.
    fn create_segment(&mut self) -> Result<(), AppendError> {
        let now = (self.state.options.monotonic)();
        let first_seq = self.state.head() + 1;
        // A segment that was abandoned before its first commit is empty. It is removed only once
        // its successor exists, since the name of the last segment preserves the sequence number.
        let abandoned = self
            .state
            .segments()
            .back()
            .map(|last| last.name)
            .filter(|name| name.first_seq == first_seq);
        // A file whose creation failed may still exist. Only the latest generation is read.
        let last = abandoned.max(self.last_created.filter(|name| name.first_seq == first_seq));
        let name =
            SegmentName { first_seq, generation: last.map_or(0, |name| name.generation + 1) };
        self.last_created = Some(name);
        let epoch = self.state.readers().positions.epoch();
        match create(&self.state, name, epoch, (self.state.options.clock)()) {
            Ok((segment, active)) => {
                let mut segments = self.state.segments();
                if abandoned.is_some() {
                    segments.pop_back();
                }
                segments.push_back(segment);
                drop(segments);
                if let Some(name) = abandoned {
                    let _ = self.state.fs.remove(&name.path(&self.state.dir));
                }
                self.active = Some(active);
                Ok(())
            }
            Err(source) => {
                if is_full(&source) {
                    // Space may become free at any time, and another attempt is cheap.
                    self.pause = Some((now + PAUSE.0, PAUSE.0));
                } else {
                    self.start_pause(now);
                }
                Err(AppendError::Write {
                    path: name.path(&self.state.dir),
                    source: Arc::new(source),
                })
            }
        }
    }

    /// Writes the footer of the active segment, which ends its use.
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
                if let Some(segment) = self.state.segments().back_mut() {
                    segment.size = end;
                }
            }
            // A missing footer is tolerated, since the blocks can be read instead; unsynced blocks
            // are not.
            Err(source) if active.unsynced => {
                let path = active.name.path(&self.state.dir);
                return Err(AppendError::Sync { path, source: Arc::new(source) });
            }
            Err(error) => {
                tracing::warn!(
                    segment = %active.name,
                    %error,
                    "the footer of the segment could not be written"
                );
                let _ = active.truncate();
            }
        }
        Ok(())
    }

    /// Removes the zeros after the last block.
    pub(crate) fn close(&mut self) {
        if let Some(active) = self.active.as_mut().filter(|active| active.filled > active.end) {
            // Zeros that are left do no harm.
            let _ = active.truncate();
        }
    }

    /// Syncs the active segment if there were writes since the last sync.
    pub(crate) fn sync(&mut self) -> Result<(), AppendError> {
        let Some(active) = self.active.as_mut().filter(|active| active.unsynced) else {
            return Ok(());
        };
        let started = Instant::now();
        let synced = active.file.sync();
        self.state.syncs.record(started.elapsed());
        match synced {
            Ok(()) => {
                active.unsynced = false;
                Ok(())
            }
            Err(source) => {
                let path = active.name.path(&self.state.dir);
                self.abandon_segment();
                Err(AppendError::Sync { path, source: Arc::new(source) })
            }
        }
    }

    /// After a failed commit, tests whether the next one would succeed. If it would, the journal
    /// reports no failure any more, and producers can retry.
    pub(crate) fn probe(&mut self) {
        const SIZE: usize = 4096;
        let wanted = match &*self.state.failure() {
            None => {
                self.failures.commits_work((self.state.options.monotonic)());
                return;
            }
            Some(AppendError::Full { wanted, .. }) => *wanted,
            Some(_) => SIZE as u64,
        };
        self.block.clear();
        if let Err(error) = self.prepare().and_then(|()| self.state.free_up(wanted)) {
            *self.state.failure() = Some(error);
            return;
        }
        let Some(active) = self.active.as_mut() else { return };
        // After the zeros: they have their space already, so writing over them proves nothing.
        let written = active.file.write_at(&[0; SIZE], active.end.max(active.filled));
        if let Err(error) = active.truncate() {
            tracing::error!(
                segment = %active.name,
                %error,
                "a probe could not be rolled back; the next commit creates a new segment"
            );
            self.active = None;
        } else if written.is_ok() {
            *self.state.failure() = None;
        }
    }

    /// Sets the failure if the active segment or the folder was removed or replaced. A commit
    /// finds that, too; this finds it while there are none.
    pub(crate) fn check_place(&mut self) {
        let error = match &self.active {
            Some(active) if !active.is_in_place(&self.state) => self.lose_segment(),
            None if self.state.failure().is_none() && self.state.require_folder().is_err() => {
                AppendError::Removed { path: self.state.dir.clone() }
            }
            _ => return,
        };
        self.failures.commit_failed(&error, 0, (self.state.options.monotonic)());
        *self.state.failure() = Some(error);
    }

    /// Ends the use of the active segment, whose file was removed or replaced.
    fn lose_segment(&mut self) -> AppendError {
        let mut active = self.active.take().expect("the caller found the active segment");
        // The rejected block must not be found when the folder is moved back.
        let _ = active.truncate();
        let path = active.name.path(&self.state.dir);
        self.removed = Some(active);
        AppendError::Removed { path }
    }

    /// Ends the use of the active segment after a failed sync: from then on, the page cache may
    /// differ from the disk.
    fn abandon_segment(&mut self) {
        if let Some(active) = &mut self.active {
            // The rejected block must not be found when the journal is opened again.
            let _ = active.truncate();
        }
        self.active = None;
        self.start_pause((self.state.options.monotonic)());
    }

    fn start_pause(&mut self, now: u64) {
        let pause = self.pause.map_or(PAUSE.0, |(_, last)| (last * 2).min(PAUSE.1));
        self.pause = Some((now + pause, pause));
    }
}

/// Creates a segment and makes its header and its name durable.
fn create(
    state: &JournalState,
    name: SegmentName,
    epoch: u64,
    now: u64,
) -> io::Result<(Segment, Active)> {
    let header = SegmentHeader {
        version: Version::CURRENT,
        epoch,
        first_seq: name.first_seq,
        created_at: now,
        salt: state.options.salt(name.first_seq),
    };
    let path = name.path(&state.dir);
    let file = state.fs.open(&path, OpenMode::Create)?;
    let written = file
        .write_at(&header.encode(), 0)
        .and_then(|()| file.sync())
        .and_then(|()| state.fs.sync_dir(&state.dir));
    if let Err(error) = written {
        let _ = state.fs.remove(&path);
        return Err(error);
    }
    let segment = Segment { name, header, size: BLOCKS_OFFSET };
    let active = Active {
        name,
        id: file.id()?,
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
