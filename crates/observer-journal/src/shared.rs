//! What the writer, the readers and the keeper of positions look at together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::durations::Durations;
use crate::error::AppendError;
use crate::fs::FileSystem;
use crate::options::Options;
use crate::positions::Positions;
use crate::positions::reserve::{self, Reserve, Space};
use crate::segment::{Segment, SegmentName};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    /// The last record that readers may see.
    head: AtomicU64,
    /// The head when the journal was opened.
    pub(crate) opened_head: u64,
    /// Oldest first; the last one is written to.
    segments: Mutex<VecDeque<Segment>>,
    places: Mutex<Places>,
    /// One at a time: the file of positions is replaced as a whole.
    storing: Mutex<Reserve>,
    /// Why the last commit failed, until one succeeds.
    failure: Mutex<Option<AppendError>>,
    pub(crate) syncs: Durations,
}

/// Where readers stand, as said and as made durable.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) positions: Positions,
    /// As they stand in the file.
    pub(crate) durable: Positions,
    /// The file may be another than that, since it could not be replaced, or only almost.
    pub(crate) is_unsure: bool,
    /// Whom segments are kept for.
    pub(crate) held: BTreeMap<String, Hold>,
    /// Of these, the ones that records went before; they learn of it when they come there, which
    /// may be much later.
    pub(crate) overtaken: BTreeSet<String>,
}

/// Whether records may be expired that a reader has not had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Under pressure, the oldest records go.
    Optional,
    /// Rather refuse new records.
    Required,
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        fs: Arc<dyn FileSystem>,
        segments: VecDeque<Segment>,
        head: u64,
        places: Places,
    ) -> Self {
        Self {
            dir: options.dir.clone(),
            options,
            fs,
            head: AtomicU64::new(head),
            opened_head: head,
            segments: Mutex::new(segments),
            places: Mutex::new(places),
            storing: Mutex::default(),
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
        self.segments.lock().expect("nothing panics while it holds the list of segments")
    }

    pub(crate) fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().expect("nothing panics while it holds the positions")
    }

    pub(crate) fn failure(&self) -> MutexGuard<'_, Option<AppendError>> {
        self.failure.lock().expect("nothing panics while it holds the failure")
    }

    /// Make positions durable.
    pub(crate) fn store_positions(&self, space: Space) -> io::Result<()> {
        let mut reserve = self.storing.lock().expect("nothing panics while it stores positions");
        let places = self.places();
        let changed = (places.is_unsure || places.positions != places.durable)
            .then(|| places.positions.clone());
        drop(places);
        if let Some(positions) = changed {
            let stored = match space {
                Space::Free => positions.store(&*self.fs, &self.dir),
                Space::Reserve => {
                    *reserve = Reserve::Short;
                    positions.store_from_reserve(&*self.fs, &self.dir)
                }
            };
            self.places().were_stored(positions, stored.is_ok());
            stored?;
        }
        if *reserve == Reserve::Short && reserve::keep(&*self.fs, &self.dir).is_ok() {
            *reserve = Reserve::Whole;
        }
        Ok(())
    }

    /// Where a new reader begins is made durable before the next record is: it would begin
    /// elsewhere after a crash, and never know of that record.
    pub(crate) fn admit_readers(&self) -> io::Result<()> {
        if !self.places().has_newcomers() {
            return Ok(());
        }
        match self.store_positions(Space::Free) {
            Err(error) if reserve::is_full(&error) => self.store_positions(Space::Reserve),
            stored => stored,
        }
    }

    /// The size of all segments, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.size).sum()
    }

    /// Remove segments that are older than they have to be kept, and that no one waits for.
    pub(crate) fn retire(&self) -> io::Result<()> {
        let now = (self.options.clock)();
        let retain = u64::try_from(self.options.retain.as_micros()).unwrap_or(u64::MAX);
        let floor = self.places().floor().unwrap_or(u64::MAX);
        loop {
            let segments = self.segments();
            let Some((oldest, next)) = segments.front().zip(segments.get(1)) else { return Ok(()) };
            // A segment's records are older than the segment after it.
            let expired = next.header.created_at.saturating_add(retain) < now;
            if !expired || next.name.first_seq > floor.saturating_add(1) {
                return Ok(());
            }
            let oldest = *oldest;
            drop(segments);
            self.remove(&oldest)?;
        }
    }

    /// Remove the oldest segments until `wanted` more bytes fit.
    pub(crate) fn make_room(&self, wanted: u64) -> Result<(), AppendError> {
        let max_size = self.options.max_size;
        loop {
            if self.bytes().saturating_add(wanted) <= max_size {
                return Ok(());
            }
            let segments = self.segments();
            let oldest =
                segments.front().copied().zip(segments.get(1).map(|next| next.name.first_seq - 1));
            drop(segments);
            // The segment that is written to is never removed; a single one that is too large goes
            // past the limit.
            let Some((oldest, last_seq)) = oldest else { return Ok(()) };
            if let Some(holder) = self.places().required_before(last_seq) {
                return Err(AppendError::Full { max_size, holder, wanted });
            }
            self.remove(&oldest).map_err(|source| AppendError::Write {
                path: oldest.name.path(&self.dir),
                source: Arc::new(source),
            })?;
            for sink in self.places().overtake(last_seq) {
                tracing::error!(
                    sink,
                    max_size,
                    "the journal is at its size limit: events go now before the sink has had them"
                );
            }
        }
    }

    fn remove(&self, oldest: &Segment) -> io::Result<()> {
        // Out of the list first: a reader that comes now sees a gap rather than a file that isn't
        // there.
        self.segments().retain(|segment| segment.name != oldest.name);
        let removed = self.remove_files(oldest.name);
        if removed.is_err() {
            self.segments().push_front(*oldest);
        }
        removed
    }

    /// With all that was given up in its place, and that first: what is left when this fails
    /// halfway must not be taken for it.
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

impl Places {
    /// The last record that everyone who is waited for has settled durably; `None` when no one is
    /// waited for.
    fn floor(&self) -> Option<u64> {
        self.held.keys().map(|name| self.durable_seq(name)).min()
    }

    /// A required reader that has not settled `seq` durably.
    fn required_before(&self, seq: u64) -> Option<String> {
        let required = self.held.iter().filter(|(_, hold)| **hold == Hold::Required);
        required.map(|(name, _)| name).find(|name| self.durable_seq(name) < seq).cloned()
    }

    /// Records up to `seq` are gone. Names whom that costs some, once until they have caught up.
    fn overtake(&mut self, seq: u64) -> Vec<String> {
        let (behind, caught_up): (Vec<_>, Vec<_>) =
            self.held.keys().cloned().partition(|name| self.durable_seq(name) < seq);
        caught_up.iter().for_each(|name| {
            self.overtaken.remove(name);
        });
        behind.into_iter().filter(|name| self.overtaken.insert(name.clone())).collect()
    }

    /// These were to be made durable. If that failed, only who is in both is sure to be in the
    /// file.
    fn were_stored(&mut self, positions: Positions, is_durable: bool) {
        if is_durable {
            self.durable = positions;
        } else {
            self.durable.readers.retain(|name, _| positions.readers.contains_key(name));
        }
        self.is_unsure = !is_durable;
    }

    fn has_newcomers(&self) -> bool {
        self.positions.readers.keys().any(|name| !self.durable.readers.contains_key(name))
    }

    fn durable_seq(&self, name: &str) -> u64 {
        let stored = self.durable.readers.get(name);
        // In terms of the present epoch, in case it began since.
        stored.map_or(0, |stored| self.positions.resolve(stored.epoch, stored.seq).unwrap_or(0))
    }
}
