//! The journal as others see it.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::durations::DurationsSnapshot;
use crate::error::{AppendError, OpenError};
use crate::options::{Durability, Options, Runner};
use crate::positions::StoredPosition;
use crate::positions::readers::Hold;
use crate::positions::reserve::{self, Space};
use crate::reader::Reader;
use crate::record::{Append, Group, Key, OnCommit};
use crate::recovery::{self, Recovery};
use crate::shared::Shared;
use crate::writer::Writer;
use crate::writer::log::Log;

/// A durable log of records, and how far each of its readers has come.
///
/// Its methods block on files, but for [`append`](Self::append) where a thread does the writing.
///
/// `T` is the token of an [`Append`], which comes back when the append is committed.
pub struct Journal<T = ()> {
    shared: Arc<Shared>,
    log: Arc<Mutex<Log>>,
    on_commit: OnCommit<T>,
    writer: Option<Writer<T>>,
    _lock: Box<dyn std::any::Any + Send + Sync>,
}

/// What a journal holds at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JournalStatus {
    /// The last committed record; 0 before the first.
    pub head: u64,
    /// The oldest record that is still there; one past the head when there is none.
    pub oldest: u64,
    /// The size of all segments.
    pub bytes: u64,
    /// How many segments there are.
    pub segments: usize,
    /// Why the last commit failed, if it did.
    pub failure: Option<AppendError>,
    /// How long it took to make commits durable.
    pub syncs: DurationsSnapshot,
}

/// Where records of some time begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeekResult {
    /// Where to begin to read.
    pub first_seq: u64,
    /// There were older records that were wanted: what was received before this (microseconds) is
    /// gone.
    pub gone_before: Option<u64>,
}

impl<T> Journal<T> {
    /// Opens the journal, or creates one if the folder holds none.
    ///
    /// `on_commit` is called once for each group of appends, in the order of sequence numbers and
    /// before the next group is written. It is also called with an append that is refused because
    /// the queue is full or the journal is closed; only that call may run at the same time as
    /// another one. It must not block.
    ///
    /// # Errors
    /// When another process has it, or its files can't be reached. Corrupt files are no error: what
    /// can be read is served, and what can't is told.
    pub fn open(
        options: Options,
        on_commit: impl Fn(Group<T>) + Send + Sync + 'static,
    ) -> Result<(Self, Recovery), OpenError>
    where
        T: Send + 'static,
    {
        let (fs, dir, runner) = (options.fs.clone(), options.dir.clone(), options.runner);
        fs.create_dir_all(&dir).map_err(OpenError::io("create the folder", &dir))?;
        let path = dir.join("lock");
        let lock = fs.lock(&path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse { dir },
            _ => OpenError::io("lock", &path)(error),
        })?;
        let (shared, log, recovery) = recovery::open(options)?;
        let log = Arc::new(Mutex::new(log));
        let on_commit: OnCommit<T> = Arc::new(on_commit);
        let writer = match runner {
            Runner::Caller => None,
            Runner::Thread => Some(
                Writer::start(log.clone(), on_commit.clone())
                    .map_err(OpenError::io("start a thread for", &path))?,
            ),
        };
        Ok((Self { shared, log, on_commit, writer, _lock: lock }, recovery))
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

    /// What an answer to an append promises.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.shared.options.durability
    }

    /// The last committed record; 0 before the first.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.shared.head()
    }

    /// The oldest record that is still there; one past the head when there is none.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        let oldest = self.shared.segments().front().map(|segment| segment.name.first_seq);
        oldest.unwrap_or_else(|| self.head() + 1)
    }

    /// The epoch in which positions are counted now.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.readers().positions.epoch()
    }

    /// Where to read from for the records that were received at `since` (microseconds) or later: no
    /// later than the first of them.
    ///
    /// That is by segment, and as right as the clock was: who needs it exactly looks at each
    /// record's own time.
    #[must_use]
    pub fn seek(&self, since: u64) -> SeekResult {
        let segments = self.shared.segments();
        // A segment's records are older than the segment after it.
        let after =
            segments.iter().skip(1).take_while(|segment| segment.header.created_at < since).count();
        let (Some(oldest), Some(found)) = (segments.front(), segments.get(after)) else {
            return SeekResult { first_seq: self.head() + 1, gone_before: None };
        };
        let is_short = oldest.name.first_seq > 1 && since < oldest.header.created_at;
        SeekResult {
            first_seq: found.name.first_seq,
            gone_before: is_short.then_some(oldest.header.created_at),
        }
    }

    /// Read the records after `after`.
    #[must_use]
    pub fn reader(&self, after: u64) -> Reader {
        Reader::new(self.shared.clone(), after)
    }

    /// The keys of the last records: at most `max`, none received before `since` (microseconds);
    /// oldest first.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn recent_keys(
        &self,
        max: usize,
        since: u64,
    ) -> io::Result<impl Iterator<Item = (u64, Key)> + use<T>> {
        let segments: Vec<_> = self.shared.segments().iter().copied().collect();
        let mut last = self.head();
        let mut groups = Vec::new();
        let mut count = 0;
        for segment in segments.iter().rev() {
            let mut keys = segment.keys(&*self.shared.fs, &self.shared.dir, last)?;
            last = segment.name.first_seq - 1;
            let reached = keys.first().is_some_and(|(_, key)| key.received_at < since);
            keys.retain(|(_, key)| key.received_at >= since);
            count += keys.len();
            groups.push(keys);
            if count >= max || reached {
                break;
            }
        }
        Ok(groups.into_iter().rev().flatten().skip(count.saturating_sub(max)))
    }

    /// Where every reader stands, also those that are not there now.
    #[must_use]
    pub fn positions(&self) -> Vec<(String, StoredPosition)> {
        let readers = self.shared.readers();
        readers
            .positions
            .readers
            .iter()
            .map(|(name, stored)| (name.clone(), stored.clone()))
            .collect()
    }

    /// Where a reader stands, in terms of the present epoch.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<StoredPosition> {
        let readers = self.shared.readers();
        let stored = readers.positions.readers.get(name)?;
        let seq = readers.positions.resolve(stored.epoch, stored.seq)?;
        Some(StoredPosition { epoch: readers.positions.epoch(), seq, state: stored.state.clone() })
    }

    /// A position that a reader kept by itself, in terms of the present epoch; `None` where this
    /// journal never had its epoch.
    ///
    /// `delivered` is how far the reader has been served since the journal was opened. A position
    /// past that and past the head at opening speaks of records that were lost: a new epoch begins
    /// there, and is made durable.
    #[must_use]
    pub fn resolve(&self, epoch: u64, seq: u64, delivered: u64) -> Option<u64> {
        let mut readers = self.shared.readers();
        let resolved = readers.positions.resolve(epoch, seq)?;
        let known = self.shared.opened_head.max(delivered);
        if resolved <= known {
            return Some(resolved);
        }
        let head = self.shared.opened_head;
        tracing::error!(
            position = seq,
            head,
            "a sink has more than the journal had when it was opened; a new epoch begins"
        );
        let now = (self.shared.options.clock)();
        // Those that were served since are right about where they stand.
        let before: Vec<_> = readers.positions.readers.keys().cloned().collect();
        let standing: Vec<_> = before
            .into_iter()
            .filter_map(|name| {
                let stored = readers.positions.readers.get(&name)?;
                Some((name.clone(), readers.positions.resolve(stored.epoch, stored.seq)?))
            })
            .collect();
        readers.positions.begin_epoch(now, head);
        let epoch = readers.positions.epoch();
        for (name, seq) in standing {
            if let Some(stored) = readers.positions.readers.get_mut(&name) {
                (stored.epoch, stored.seq) = (epoch, seq);
            }
        }
        drop(readers);
        // If it were forgotten, the reader's position would come to mean the records that take
        // those numbers now.
        if let Err(error) = self.store() {
            tracing::warn!(%error, "the new epoch is not durable yet");
        }
        Some(head)
    }

    /// Keep segments for this reader from now on.
    pub fn hold(&self, name: &str, hold: Hold) {
        self.shared.readers().held.insert(name.to_owned(), hold);
    }

    /// Keep no segments for this reader any more. Its position stays.
    pub fn release(&self, name: &str) {
        self.shared.readers().held.remove(name);
    }

    /// Forget where a reader stands.
    pub fn forget(&self, name: &str) {
        let mut readers = self.shared.readers();
        readers.held.remove(name);
        readers.positions.readers.remove(name);
    }

    /// Set where a reader stands, with bytes of its own. Durable after the next
    /// [`maintain`](Self::maintain); for a reader that is new here, before the next record is.
    pub fn set_position(&self, name: &str, seq: u64, state: Bytes) {
        let mut readers = self.shared.readers();
        let epoch = readers.positions.epoch();
        readers.positions.readers.insert(name.to_owned(), StoredPosition { epoch, seq, state });
    }

    /// Make positions durable, give back what no one needs, and find out whether a failure is over.
    /// Meant to be called once a second, and last.
    ///
    /// # Errors
    /// What could not be done. The next call tries again.
    pub fn maintain(&self) -> Result<(), AppendError> {
        let failed = |source: io::Error| AppendError::Write {
            path: self.shared.dir.clone(),
            source: Arc::new(source),
        };
        if self.shared.options.durability == Durability::Write {
            self.log().sync()?;
        }
        self.log().probe();
        self.store().map_err(failed)?;
        self.shared.remove_expired().map_err(failed)
    }

    /// Make positions durable, if they have changed.
    fn store(&self) -> io::Result<()> {
        match self.shared.store_positions(Space::Free) {
            Err(error) if reserve::is_full(&error) => {
                // Those who append would take what is given up before it can be taken back.
                let _log = self.log();
                self.shared.store_positions(Space::Reserve)
            }
            stored => stored,
        }
    }

    /// What the journal holds now.
    #[must_use]
    pub fn status(&self) -> JournalStatus {
        let (bytes, segments) = (self.shared.bytes(), self.shared.segments().len());
        JournalStatus {
            head: self.head(),
            oldest: self.oldest(),
            bytes,
            segments,
            failure: self.shared.failure().clone(),
            syncs: self.shared.syncs.snapshot(),
        }
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().expect("nothing panics while it writes to the journal")
    }
}

impl<T> std::fmt::Debug for Journal<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("dir", &self.shared.dir)
            .field("head", &self.head())
            .finish_non_exhaustive()
    }
}

impl<T> Drop for Journal<T> {
    /// What was appended is committed, what was set is stored.
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.stop();
        }
        self.log().close();
        if let Err(error) = self.maintain() {
            tracing::warn!(%error, "the last positions are not durable; some records will be read again");
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
