//! How a journal is opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::fs::{Disk, FileSystem};

/// Microseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What an answer to an append promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The records are on disk (`fdatasync`).
    #[default]
    Fsync,
    /// The records are with the operating system: they survive the end of the process, not a power
    /// cut.
    Write,
}

/// Who does the writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Runner {
    /// A thread of its own, which commits what has gathered as one group.
    #[default]
    Thread,
    /// The caller of `append`, before it returns: for memory, and for tests in which one thing
    /// follows another.
    Caller,
}

/// Where a journal is and how it behaves.
#[derive(Clone)]
pub struct Options {
    pub(crate) dir: PathBuf,
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) durability: Durability,
    pub(crate) runner: Runner,
    pub(crate) max_size: u64,
    pub(crate) segment_size: u64,
    pub(crate) retain: Duration,
    pub(crate) clock: Clock,
    pub(crate) seed: Option<u64>,
}

impl Options {
    /// A journal in the folder `dir`: `fsync`, at most 10 GiB in segments of 64 MiB, kept for 24
    /// hours.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
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
            clock: Arc::new(clock),
            seed: None,
        }
    }

    /// On another file system than the disk.
    #[must_use]
    pub fn file_system(self, fs: impl FileSystem) -> Self {
        Self { fs: Arc::new(fs), ..self }
    }

    /// What an answer promises.
    #[must_use]
    pub fn durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// Who does the writing.
    #[must_use]
    pub fn runner(self, runner: Runner) -> Self {
        Self { runner, ..self }
    }

    /// At most this many bytes; the oldest segments make room for new ones.
    #[must_use]
    pub fn max_size(self, max_size: u64) -> Self {
        Self { max_size, ..self }
    }

    /// A fresh segment begins when one has this many bytes. Never more than an eighth of the size
    /// limit.
    #[must_use]
    pub fn segment_size(self, segment_size: u64) -> Self {
        Self { segment_size, ..self }
    }

    /// Records are kept at least this long, even when everyone is done with them.
    #[must_use]
    pub fn retain(self, retain: Duration) -> Self {
        Self { retain, ..self }
    }

    /// Another clock than the system's.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Draw salts from this seed, so that the same calls make the same bytes.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Who does the writing, for those who keep to the same.
    #[must_use]
    pub fn get_runner(&self) -> Runner {
        self.runner
    }

    /// The file system, for those who keep something beside the journal.
    #[must_use]
    pub fn fs(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }

    /// The clock, for those who need the same one.
    #[must_use]
    pub fn get_clock(&self) -> Clock {
        self.clock.clone()
    }

    /// The limit of a segment, small enough that removing the oldest gives back a part and not
    /// half.
    pub(crate) fn segment_limit(&self) -> u64 {
        self.segment_size.min(self.max_size / 8).max(4096)
    }

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
    fn a_caller_that_writes_by_itself_has_no_thread_do_it() {
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
            assert_eq!(groups.load(Ordering::SeqCst), 2, "once after each commit");
        }
    }

    #[test]
    fn a_segment_is_a_small_part_of_the_whole() {
        let limit = |max_size, segment_size| {
            Options::new("j").max_size(max_size).segment_size(segment_size).segment_limit()
        };
        assert_eq!(limit(10 << 30, 64 << 20), 64 << 20);
        assert_eq!(limit(80 << 20, 64 << 20), 10 << 20);
        assert_eq!(limit(16 << 10, 64 << 20), 4096);
    }

    #[test]
    fn no_two_segments_have_one_salt() {
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
