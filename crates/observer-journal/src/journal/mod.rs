//! Public interface of the journal, and the [`recovery`] when it is opened.

pub(crate) mod recovery;

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::durations::DurationsSnapshot;
use crate::error::{AppendError, OpenError};
use crate::folder::LOCK;
use crate::journal::recovery::Recovery;
use crate::lock::lock;
use crate::options::{Durability, Options, Runner};
use crate::positions::StoredPosition;
use crate::positions::readers::Hold;
use crate::positions::reserve::{self, Space};
use crate::reader::Reader;
use crate::record::{Append, Group, Key, OnCommit};
use crate::state::JournalState;
use crate::writer::Writer;
use crate::writer::log::Log;

/// Durable log of records, with the position of each reader.
///
/// All methods block on file operations, except [`append`](Self::append) with
/// [`Runner::Thread`]. `T` is the type of the tokens of appends, see [`Append`].
pub struct Journal<T = ()> {
    state: Arc<JournalState>,
    log: Arc<Mutex<Log>>,
    on_commit: OnCommit<T>,
    writer: Option<Writer<T>>,
}

/// Status of a journal at one time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JournalStatus {
    /// Last committed record; 0 before the first.
    pub head: u64,
    /// Oldest record in the journal; `head + 1` if there is none.
    pub oldest: u64,
    /// Size of all segments in bytes.
    pub bytes: u64,
    /// Limit of `bytes`: [`Options::max_size`].
    pub max_bytes: u64,
    /// Size of the space that is reserved on the disk for positions, in bytes. It shrinks while the
    /// disk is full.
    pub reserve_bytes: u64,
    /// Number of segments.
    pub segments: usize,
    /// Error of the last commit; `None` if it succeeded or the next one would succeed.
    pub failure: Option<AppendError>,
    /// Durations of the syncs of commits.
    pub syncs: DurationsSnapshot,
}

/// Position of the records that were received from some time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeekResult {
    /// Sequence number from which to read.
    pub first_seq: u64,
    /// Time before which matching records were removed already, in microseconds since 1970; `None`
    /// if all matching records are there.
    pub gone_before: Option<u64>,
}

impl<T> Journal<T> {
    /// Opens the journal, or creates one if the folder holds none.
    ///
    /// `on_commit` is called once for each group of appends, in the order of sequence numbers and
    /// before the next group is written. It is also called for an append that is rejected because
    /// the queue is full or the journal is closed; only such a call can run concurrently with
    /// others. The callback must not block, and must not call the journal.
    ///
    /// # Errors
    /// Returns an error if the journal is open elsewhere, or if a file operation fails. Corrupt
    /// files are no error: [`Recovery`] and gaps between records report them.
    pub fn open(
        options: Options,
        on_commit: impl Fn(Group<T>) + Send + Sync + 'static,
    ) -> Result<(Self, Recovery), OpenError>
    where
        T: Send + 'static,
    {
        let (fs, dir, runner) = (options.fs.clone(), options.dir.clone(), options.runner);
        fs.create_dir_all(&dir).map_err(OpenError::io("create the folder", &dir))?;
        let path = dir.join(LOCK);
        let lock = fs.lock(&path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse { dir },
            _ => OpenError::io("lock", &path)(error),
        })?;
        let (state, log, recovery) = recovery::open(options)?;
        state.folder().lock = Some(lock);
        let log = Arc::new(Mutex::new(log));
        let on_commit: OnCommit<T> = Arc::new(on_commit);
        let writer = match runner {
            Runner::Caller => None,
            Runner::Thread => Some(
                Writer::start(log.clone(), on_commit.clone())
                    .map_err(OpenError::io("start a thread for", &path))?,
            ),
        };
        Ok((Self { state, log, on_commit, writer }, recovery))
    }

    /// Appends records: all of them are committed, or none. The callback given to
    /// [`open`](Self::open) receives the result.
    pub fn append(&self, append: Append<T>) {
        let Some(writer) = &self.writer else {
            return self.log().commit(vec![append], &*self.on_commit);
        };
        if let Err((append, error)) = writer.append(append) {
            (self.on_commit)(Group { appends: vec![append], result: Err(error) });
        }
    }

    /// Returns the durability of committed records.
    #[must_use]
    pub fn durability(&self) -> Durability {
        let options = &self.state.options;
        if options.fs.is_volatile() { Durability::Memory } else { options.durability }
    }

    /// Returns the last committed record; 0 before the first.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.state.head()
    }

    /// Returns the oldest record in the journal; `head + 1` if there is none.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        let oldest = self.state.segments().front().map(|segment| segment.name.first_seq);
        oldest.unwrap_or_else(|| self.head() + 1)
    }

    /// Returns the current epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.state.readers().positions.epoch()
    }

    /// Finds the records that were received at `since` (microseconds since 1970) or later.
    ///
    /// The result is at or before the first of them: it is the start of a segment and depends on
    /// the accuracy of the clock. For an exact result, compare the time of each record.
    #[must_use]
    pub fn seek(&self, since: u64) -> SeekResult {
        let segments = self.state.segments();
        // The records of a segment are older than the next segment.
        let after =
            segments.iter().skip(1).take_while(|segment| segment.header.created_at < since).count();
        let (Some(oldest), Some(found)) = (segments.front(), segments.get(after)) else {
            return SeekResult { first_seq: self.head() + 1, gone_before: None };
        };
        let is_incomplete = oldest.name.first_seq > 1 && since < oldest.header.created_at;
        SeekResult {
            first_seq: found.name.first_seq,
            gone_before: is_incomplete.then_some(oldest.header.created_at),
        }
    }

    /// Returns a reader of the records after `after`.
    #[must_use]
    pub fn reader(&self, after: u64) -> Reader {
        Reader::new(self.state.clone(), after)
    }

    /// Passes the keys of the last records to `visit` with their sequence numbers, oldest first: of
    /// the last `max` records, those that were received at `since` (microseconds since 1970) or
    /// later. Removed records are among them if their keys are
    /// [remembered](Options::remember_keys). The keys of one segment are in memory at a time.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    pub fn visit_recent_keys(
        &self,
        max: usize,
        since: u64,
        mut visit: impl FnMut(u64, Key),
    ) -> io::Result<()> {
        let segments: Vec<_> = self.state.segments().iter().copied().collect();
        let head = self.head();
        let first = (head + 1).saturating_sub(max as u64);
        self.state.removed_keys().visit(
            &*self.state.fs,
            &self.state.dir,
            self.oldest(),
            |seq, key| {
                if seq >= first && key.received_at >= since {
                    visit(seq, key);
                }
            },
        )?;
        for (at, segment) in segments.iter().enumerate() {
            let next = segments.get(at + 1);
            let last = next.map_or(head, |next| next.name.first_seq - 1);
            // The records of a segment are older than the next segment.
            if last < first || next.is_some_and(|next| next.header.created_at < since) {
                continue;
            }
            let keys = segment.keys(&*self.state.fs, &self.state.dir, last)?;
            keys.into_iter()
                .filter(|(seq, key)| *seq >= first && key.received_at >= since)
                .for_each(|(seq, key)| visit(seq, key));
        }
        Ok(())
    }

    /// Returns the name and position of every reader, with or without a hold.
    #[must_use]
    pub fn positions(&self) -> Vec<(String, StoredPosition)> {
        let readers = self.state.readers();
        readers
            .positions
            .readers
            .iter()
            .map(|(name, stored)| (name.clone(), stored.clone()))
            .collect()
    }

    /// Returns the position of a reader, converted to the current epoch; `None` if it has none or
    /// if its epoch is unknown.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<StoredPosition> {
        let readers = self.state.readers();
        let stored = readers.positions.readers.get(name)?;
        let seq = readers.positions.translate(stored.epoch, stored.seq)?;
        Some(StoredPosition { epoch: readers.positions.epoch(), seq, state: stored.state.clone() })
    }

    /// Returns the number of records after the position of a reader that the journal lost at its
    /// end, since the position was last set.
    #[must_use]
    pub fn lost_after_position(&self, name: &str) -> u64 {
        let readers = self.state.readers();
        let stored = readers.positions.readers.get(name);
        stored.map_or(0, |stored| readers.positions.lost_after(stored.epoch, stored.seq))
    }

    /// Resolves a position that a client kept, without changing anything: returns its sequence
    /// number in the current epoch, and the number of records after it that the journal lost at its
    /// end. Returns `None` if this journal never had the epoch, or has no such record yet.
    #[must_use]
    pub fn resolve(&self, epoch: u64, seq: u64) -> Option<(u64, u64)> {
        let readers = self.state.readers();
        let resolved = readers.positions.translate(epoch, seq)?;
        let lost = readers.positions.lost_after(epoch, seq);
        drop(readers);
        (resolved <= self.head()).then_some((resolved, lost))
    }

    /// Converts a position that a reader stores itself to the current epoch; `None` if this journal
    /// never had its epoch.
    ///
    /// `delivered` is the last record that the reader has received since the journal was opened. A
    /// position after it and after the head at opening refers to records that were lost: a new
    /// epoch begins, and is made durable.
    #[must_use]
    pub fn translate(&self, epoch: u64, seq: u64, delivered: u64) -> Option<u64> {
        let mut readers = self.state.readers();
        let resolved = readers.positions.translate(epoch, seq)?;
        let known = self.state.opened_head.max(delivered);
        if resolved <= known {
            return Some(resolved);
        }
        let head = self.state.opened_head;
        tracing::error!(
            position = seq,
            head,
            "the position of a sink is after the end of the journal; a new epoch begins"
        );
        let now = (self.state.options.clock)();
        // The positions of the other readers stay valid in the new epoch.
        let names: Vec<_> = readers.positions.readers.keys().cloned().collect();
        let resolved_positions: Vec<_> = names
            .into_iter()
            .filter_map(|name| {
                let stored = readers.positions.readers.get(&name)?;
                Some((name.clone(), readers.positions.translate(stored.epoch, stored.seq)?))
            })
            .collect();
        readers.positions.begin_epoch(now, head);
        let epoch = readers.positions.epoch();
        for (name, seq) in resolved_positions {
            if let Some(stored) = readers.positions.readers.get_mut(&name) {
                (stored.epoch, stored.seq) = (epoch, seq);
            }
        }
        drop(readers);
        // If the epoch were lost, the reader's position would refer to new records, which now get
        // those sequence numbers.
        if let Err(error) = self.store() {
            tracing::warn!(%error, "the new epoch could not be stored yet");
        }
        Some(head)
    }

    /// Holds segments for a reader from now on.
    pub fn hold(&self, name: &str, hold: Hold) {
        self.state.readers().held.insert(name.to_owned(), hold);
    }

    /// Ends the hold of a reader. Its position stays.
    pub fn release(&self, name: &str) {
        self.state.readers().held.remove(name);
    }

    /// Removes the position and the hold of a reader.
    pub fn forget(&self, name: &str) {
        let mut readers = self.state.readers();
        readers.held.remove(name);
        readers.positions.readers.remove(name);
    }

    /// Sets the position of a reader, with state of its own. The position is durable after the next
    /// [`maintain`](Self::maintain), and that of a new reader before the next record is.
    pub fn set_position(&self, name: &str, seq: u64, state: Bytes) {
        let mut readers = self.state.readers();
        let epoch = readers.positions.epoch();
        readers.positions.readers.insert(name.to_owned(), StoredPosition { epoch, seq, state });
    }

    /// Makes positions durable, removes expired segments, and tests whether a failure is over. Call
    /// it once a second.
    ///
    /// # Errors
    /// Returns the first operation that failed. The next call repeats it.
    pub fn maintain(&self) -> Result<(), AppendError> {
        let failed = |source: io::Error| AppendError::Write {
            path: self.state.dir.clone(),
            source: Arc::new(source),
        };
        if self.state.options.durability == Durability::Write {
            self.log().sync()?;
        }
        {
            let mut log = self.log();
            log.check_place();
            log.probe();
        }
        if !self.state.is_folder_in_place().map_err(failed)? {
            // The failure of the log reports it.
            return Ok(());
        }
        self.store().map_err(failed)?;
        self.state.remove_expired().map_err(failed)
    }

    /// Makes positions durable if they have changed.
    fn store(&self) -> io::Result<()> {
        match self.state.store_positions(Space::Free) {
            Err(error) if reserve::is_full(&error) => {
                // An append could take the released space before the reserve is refilled.
                let _log = self.log();
                self.state.store_positions(Space::Reserve)
            }
            stored => stored,
        }
    }

    /// Returns the current status.
    #[must_use]
    pub fn status(&self) -> JournalStatus {
        let (bytes, segments) = (self.state.bytes(), self.state.segments().len());
        JournalStatus {
            head: self.head(),
            oldest: self.oldest(),
            bytes,
            max_bytes: self.state.options.max_size,
            reserve_bytes: self.state.reserve_bytes(),
            segments,
            failure: self.state.failure().clone(),
            syncs: self.state.syncs.snapshot(),
        }
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        lock(&self.log)
    }
}

impl<T> std::fmt::Debug for Journal<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("dir", &self.state.dir)
            .field("head", &self.head())
            .finish_non_exhaustive()
    }
}

impl<T> Drop for Journal<T> {
    /// Commits all queued appends and stores the positions.
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.stop();
        }
        self.log().close();
        if let Err(error) = self.maintain() {
            tracing::warn!(
                %error,
                "the last positions could not be stored; some records will be read again"
            );
        }
        // Readers may exist longer than the journal.
        self.state.folder().lock = None;
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
