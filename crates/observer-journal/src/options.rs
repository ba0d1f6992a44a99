//! Options of a journal.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::fs::{Disk, FileSystem};

/// Clock that returns microseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Durability of records at the time when their commit is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The records are on disk (`fdatasync`).
    #[default]
    Fsync,
    /// The operating system has the records: they survive the end of the process, but not a power
    /// cut.
    Write,
    /// The records are in the memory of this process alone, and are lost when it ends. A journal in
    /// memory has this durability, whatever its options are.
    Memory,
}

impl Durability {
    /// Returns the durability as configurations and responses spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Write => "write",
            Self::Memory => "memory",
        }
    }
}

/// Thread that commits appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Runner {
    /// A thread of the journal, which commits all appends in its queue as one group.
    #[default]
    Thread,
    /// The thread that calls `append`, before the call returns: for journals in memory, and for
    /// deterministic tests.
    Caller,
}

/// Limits of the keys of removed records that are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RememberedKeys {
    /// Age of the oldest key, in microseconds.
    pub(crate) micros: u64,
    /// Number of keys.
    pub(crate) max: u64,
}

/// Folder, limits, and behavior of a journal.
#[derive(Clone)]
pub struct Options {
    pub(crate) dir: PathBuf,
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) durability: Durability,
    pub(crate) runner: Runner,
    pub(crate) max_size: u64,
    pub(crate) segment_size: u64,
    pub(crate) retain: Duration,
    pub(crate) remembered: Option<RememberedKeys>,
    pub(crate) clock: Clock,
    /// Clock of pauses, which no setting of the system changes.
    pub(crate) monotonic: Clock,
    pub(crate) seed: Option<u64>,
}

impl Options {
    /// Creates the default options for a journal in the folder `dir`: on disk, with
    /// [`Durability::Fsync`], at most 10 GiB in segments of 64 MiB, and a retention time of 24
    /// hours.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let started = Instant::now();
        let monotonic = move || u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        #[expect(clippy::disallowed_methods, reason = "the time of records")]
        let clock = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        };
        Self {
            dir: dir.into(),
            fs: Arc::new(Disk),
            durability: Durability::default(),
            runner: Runner::default(),
            max_size: 10 << 30,
            segment_size: 64 << 20,
            retain: Duration::from_secs(24 * 60 * 60),
            remembered: None,
            clock: Arc::new(clock),
            monotonic: Arc::new(monotonic),
            seed: None,
        }
    }

    /// Sets the file system; the default is the disk.
    #[must_use]
    pub fn file_system(self, fs: impl FileSystem) -> Self {
        Self { fs: Arc::new(fs), ..self }
    }

    /// Sets the durability.
    #[must_use]
    pub fn durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// Sets the thread that commits appends.
    #[must_use]
    pub fn runner(self, runner: Runner) -> Self {
        Self { runner, ..self }
    }

    /// Sets the size limit in bytes. At the limit, the oldest segments are removed.
    #[must_use]
    pub fn max_size(self, max_size: u64) -> Self {
        Self { max_size, ..self }
    }

    /// Sets the size in bytes at which a new segment begins. At most an eighth of the size limit is
    /// used.
    #[must_use]
    pub fn segment_size(self, segment_size: u64) -> Self {
        Self { segment_size, ..self }
    }

    /// Sets the retention time: records are kept at least this long, even if all readers are done
    /// with them, unless the size limit is reached.
    #[must_use]
    pub fn retain(self, retain: Duration) -> Self {
        Self { retain, ..self }
    }

    /// Keeps the keys of removed records, for the time `window` since their receipt, and about as
    /// many as `max` (with 28 bytes each) of them. By default the keys are removed with the records.
    #[must_use]
    pub fn remember_keys(self, window: Duration, max: usize) -> Self {
        let micros = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
        Self { remembered: Some(RememberedKeys { micros, max: max as u64 }), ..self }
    }

    /// Sets the clock, which also determines pauses between attempts. By default, records have the
    /// time of the system, and pauses are measured by a monotonic clock.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { monotonic: clock.clone(), clock, ..self }
    }

    /// Sets the clock of records alone. Pauses are still measured by a monotonic clock.
    #[must_use]
    pub fn wall_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Derives the salts of segments from a seed, so that the same calls write the same bytes.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Returns the folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the thread that commits appends.
    #[must_use]
    pub fn get_runner(&self) -> Runner {
        self.runner
    }

    /// Returns the file system, for components that store files beside the journal.
    #[must_use]
    pub fn fs(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }

    /// Returns the clock.
    #[must_use]
    pub fn get_clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Returns the size limit of a segment in bytes. It is a small part of the limit of the
    /// journal, so that removing the oldest segment frees only a small part of the records.
    pub(crate) fn segment_limit(&self) -> u64 {
        self.segment_size.min(self.max_size / 8).max(4096)
    }

    /// Returns the salt of the segment that begins at `first_seq`.
    pub(crate) fn salt(&self, first_seq: u64) -> u64 {
        use std::hash::{BuildHasher, RandomState};
        self.seed.map_or_else(
            || RandomState::new().hash_one(first_seq),
            |seed| (seed ^ first_seq).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        )
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("dir", &self.dir)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::fs::Memory;
    use crate::testing::record;
    use crate::{Append, Group, Journal};

    #[test]
    fn appends_are_committed_on_the_thread_of_the_runner() {
        for (runner, is_caller) in [(Runner::Caller, true), (Runner::Thread, false)] {
            let groups = Arc::new(AtomicU64::new(0));
            let (counted, here) = (groups.clone(), thread::current().id());
            let options = Options::new("j").file_system(Memory::default()).runner(runner);
            assert_eq!(options.get_runner(), runner);
            let on_commit = move |group: Group<mpsc::Sender<()>>| {
                assert_eq!(thread::current().id() == here, is_caller);
                counted.fetch_add(1, Ordering::SeqCst);
                for append in group.appends {
                    append.into_parts().1.send(()).unwrap();
                }
            };
            let (journal, _) = Journal::open(options, on_commit).unwrap();
            for records in [vec![record(1)], vec![record(2), record(3)]] {
                let (sender, committed) = mpsc::channel();
                journal.append(Append::new(records, sender));
                committed.recv().unwrap();
            }
            drop(journal);
            assert_eq!(groups.load(Ordering::SeqCst), 2, "one call for each commit");
        }
    }

    #[test]
    fn segment_limit_is_a_small_part_of_the_size_limit() {
        let limit = |max_size, segment_size| {
            Options::new("j").max_size(max_size).segment_size(segment_size).segment_limit()
        };
        assert_eq!(limit(10 << 30, 64 << 20), 64 << 20);
        assert_eq!(limit(80 << 20, 64 << 20), 10 << 20);
        assert_eq!(limit(16 << 10, 64 << 20), 4096);
    }

    #[test]
    fn segments_have_different_salts() {
        for seed in [None, Some(4), Some(7)] {
            let mut options = Options::new("j");
            options.seed = seed;
            let salts: BTreeSet<_> = (1..=100).map(|first_seq| options.salt(first_seq)).collect();
            assert_eq!(salts.len(), 100, "{seed:?}");
            let again = options.salt(1) == options.salt(1);
            assert_eq!(again, seed.is_some(), "{seed:?}");
        }
    }
}
