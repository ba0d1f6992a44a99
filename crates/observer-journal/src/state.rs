//! State that the writer, the readers, and the maintenance of a journal share.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::Key;
use crate::durations::Durations;
use crate::error::AppendError;
use crate::folder::Folder;
use crate::fs::FileSystem;
use crate::lock::lock;
use crate::options::Options;
use crate::positions::readers::Readers;
use crate::positions::reserve::{self, Reserve, Space};
use crate::removed_keys::RemovedKeys;
use crate::segment::{Segment, SegmentName};

#[derive(Debug)]
pub(crate) struct JournalState {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    /// Last committed record; readers read no further.
    head: AtomicU64,
    /// Head at the time when the journal was opened.
    pub(crate) opened_head: u64,
    /// Segments, oldest first. Only the last one is written to.
    segments: Mutex<VecDeque<Segment>>,
    readers: Mutex<Readers>,
    folder: Mutex<Folder>,
    /// Held while the file of positions is replaced, which happens as a whole.
    storing: Mutex<Reserve>,
    /// Size of the reserve in bytes.
    reserve_bytes: AtomicU64,
    /// First record of the newest file before the oldest segment that was set aside as unreadable.
    pub(crate) quarantined: Option<u64>,
    removed_keys: Mutex<RemovedKeys>,
    /// Error of the last commit; `None` if it succeeded.
    failure: Mutex<Option<AppendError>>,
    pub(crate) syncs: Durations,
}

/// Returns the first record of the newest file that was set aside and that lies before the oldest
/// segment. A name that can't be listed only changes the reason that readers report.
fn quarantined_before(
    fs: &dyn FileSystem,
    dir: &Path,
    segments: &VecDeque<Segment>,
) -> Option<u64> {
    let oldest = segments.front()?.name.first_seq;
    let names = fs.list(dir).unwrap_or_default();
    let first_seq =
        |name: &String| Some(SegmentName::parse(name.split_once(".corrupt")?.0)?.first_seq);
    names.iter().filter_map(first_seq).filter(|first_seq| *first_seq < oldest).max()
}

impl JournalState {
    pub(crate) fn new(
        options: Options,
        fs: Arc<dyn FileSystem>,
        segments: VecDeque<Segment>,
        head: u64,
        readers: Readers,
        removed_keys: RemovedKeys,
    ) -> Self {
        // An identity that can't be read counts as another one, which is found at the next commit.
        let id = fs.id(&options.dir).ok().flatten();
        let quarantined = quarantined_before(&*fs, &options.dir, &segments);
        let reserve_bytes = AtomicU64::new(reserve::size(&*fs, &options.dir));
        Self {
            folder: Mutex::new(Folder { id, lock: None }),
            dir: options.dir.clone(),
            options,
            fs,
            head: AtomicU64::new(head),
            opened_head: head,
            segments: Mutex::new(segments),
            readers: Mutex::new(readers),
            storing: Mutex::default(),
            reserve_bytes,
            quarantined,
            removed_keys: Mutex::new(removed_keys),
            failure: Mutex::default(),
            syncs: Durations::default(),
        }
    }

    pub(crate) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    pub(crate) fn advance(&self, head: u64) {
        self.head.store(head, Ordering::Release);
    }

    pub(crate) fn segments(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        lock(&self.segments)
    }

    pub(crate) fn readers(&self) -> MutexGuard<'_, Readers> {
        lock(&self.readers)
    }

    pub(crate) fn folder(&self) -> MutexGuard<'_, Folder> {
        lock(&self.folder)
    }

    pub(crate) fn failure(&self) -> MutexGuard<'_, Option<AppendError>> {
        lock(&self.failure)
    }

    /// Stores the positions if they have changed, and refills the reserve.
    pub(crate) fn store_positions(&self, space: Space) -> io::Result<()> {
        let mut reserve = lock(&self.storing);
        let readers = self.readers();
        let changed = (readers.is_file_unknown || readers.positions != readers.durable)
            .then(|| readers.positions.clone());
        drop(readers);
        if let Some(positions) = changed {
            self.require_folder()?;
            let stored = match space {
                Space::Free => positions.store(&*self.fs, &self.dir),
                Space::Reserve => {
                    *reserve = Reserve::Incomplete;
                    let stored = positions.store_from_reserve(&*self.fs, &self.dir);
                    self.measure_reserve();
                    stored
                }
            };
            self.readers().stored(positions, stored.is_ok());
            stored?;
        }
        if *reserve == Reserve::Incomplete {
            if reserve::refill(&*self.fs, &self.dir).is_ok() {
                *reserve = Reserve::Complete;
            }
            self.measure_reserve();
        }
        Ok(())
    }

    /// Returns the size of the reserve in bytes.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes.load(Ordering::Relaxed)
    }

    fn measure_reserve(&self) {
        self.reserve_bytes.store(reserve::size(&*self.fs, &self.dir), Ordering::Relaxed);
    }

    /// Stores the positions if there is a new reader. This happens before the next record is
    /// committed: after a crash the reader would begin after that record and never read it.
    pub(crate) fn store_new_readers(&self) -> io::Result<()> {
        if !self.readers().has_new_reader() {
            return Ok(());
        }
        match self.store_positions(Space::Free) {
            Err(error) if reserve::is_full(&error) => self.store_positions(Space::Reserve),
            stored => stored,
        }
    }

    /// Returns the size of all segments in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.size).sum()
    }

    /// Removes segments that are older than the retention time, and that no reader holds.
    pub(crate) fn remove_expired(&self) -> io::Result<()> {
        let now = (self.options.clock)();
        let retain = u64::try_from(self.options.retain.as_micros()).unwrap_or(u64::MAX);
        let floor = self.readers().floor().unwrap_or(u64::MAX);
        loop {
            let segments = self.segments();
            let Some((oldest, next)) = segments.front().zip(segments.get(1)) else { return Ok(()) };
            // The records of a segment are older than the next segment.
            let expired = next.header.created_at.saturating_add(retain) < now;
            if !expired || next.name.first_seq > floor.saturating_add(1) {
                return Ok(());
            }
            let oldest = *oldest;
            drop(segments);
            self.remove(&oldest)?;
        }
    }

    /// Removes the oldest segments until `wanted` more bytes fit into the size limit.
    pub(crate) fn free_up(&self, wanted: u64) -> Result<(), AppendError> {
        let max_size = self.options.max_size;
        loop {
            if self.bytes().saturating_add(wanted) <= max_size {
                return Ok(());
            }
            let segments = self.segments();
            let oldest =
                segments.front().copied().zip(segments.get(1).map(|next| next.name.first_seq - 1));
            drop(segments);
            // The segment that is written to is never removed, even if it exceeds the limit alone.
            let Some((oldest, last_seq)) = oldest else { return Ok(()) };
            if let Some(holder) = self.readers().required_before(last_seq) {
                return Err(AppendError::Full { max_size, holder, wanted });
            }
            self.remove(&oldest).map_err(|source| AppendError::Write {
                path: oldest.name.path(&self.dir),
                source: Arc::new(source),
            })?;
            for sink in self.readers().mark_lagging(last_seq) {
                tracing::error!(
                    sink,
                    max_size,
                    "the journal is at its size limit; events are removed before the sink has \
                     received them"
                );
            }
        }
    }

    pub(crate) fn removed_keys(&self) -> MutexGuard<'_, RemovedKeys> {
        lock(&self.removed_keys)
    }

    /// Removes a segment after its keys are kept. On a full disk there may be space for the keys
    /// only after the removal.
    fn remove(&self, oldest: &Segment) -> io::Result<()> {
        self.require_folder()?;
        let Some(remembered) = self.options.remembered else { return self.remove_segment(oldest) };
        let now = (self.options.clock)();
        let keep =
            |keys: &Vec<_>| self.removed_keys().add(&*self.fs, &self.dir, keys, (remembered, now));
        let keys = self.keys(oldest);
        let kept = keys.as_ref().is_ok_and(|keys| keep(keys).is_ok());
        self.remove_segment(oldest)?;
        if kept {
            return Ok(());
        }
        if let Err(error) = keys.and_then(|keys| keep(&keys)) {
            tracing::warn!(
                segment = %oldest.name,
                %error,
                "the keys of a removed segment can't be kept; after a restart, repeated events of \
                 it count as new"
            );
        }
        Ok(())
    }

    /// Returns the keys of a segment that is not the last one.
    fn keys(&self, segment: &Segment) -> io::Result<Vec<(u64, Key)>> {
        let segments = self.segments();
        let next = segments.iter().find(|next| next.name.first_seq > segment.name.first_seq);
        let last = next.map_or(u64::MAX, |next| next.name.first_seq - 1);
        drop(segments);
        segment.keys(&*self.fs, &self.dir, last)
    }

    fn remove_segment(&self, oldest: &Segment) -> io::Result<()> {
        // The segment leaves the list first, so that a reader finds a gap and not a missing file.
        self.segments().retain(|segment| segment.name != oldest.name);
        let removed = self.remove_files(oldest.name);
        if removed.is_err() {
            self.segments().push_front(*oldest);
        }
        removed
    }

    /// Removes the files of a segment, earlier generations first: a file that is left after an
    /// error must not be used in place of the segment.
    fn remove_files(&self, name: SegmentName) -> io::Result<()> {
        for generation in 0..=name.generation {
            match self.fs.remove(&SegmentName { generation, ..name }.path(&self.dir)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
