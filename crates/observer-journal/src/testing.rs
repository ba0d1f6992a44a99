//! Test helpers: a file system whose operations fail on demand, and shorthands for journals and
//! records.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use crate::fs::{File, FileId, FileSystem, Memory, OpenMode};
use crate::{Append, AppendError, Chunk, Group, Key, OpenError, Options, Record, Recovery, Runner};

/// Number of bytes in which the disk allocates space.
const PAGE: u64 = 4096;

/// File system in memory with switches for failures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Switched {
    pub(crate) memory: Memory,
    pub(crate) switches: Arc<Switches>,
}

#[derive(Debug, Default)]
pub(crate) struct Switches {
    /// Makes syncs fail.
    pub(crate) no_sync: AtomicBool,
    /// Makes writes fail on a full disk, after half of their bytes.
    pub(crate) no_space: AtomicBool,
    /// Makes the creation of files fail.
    pub(crate) no_create: AtomicBool,
    /// Size of the disk in pages of 4 KiB; 0 for no limit.
    pub(crate) pages: AtomicU64,
    /// Makes another program take all free space after a file is renamed.
    pub(crate) takes_free_space: AtomicBool,
    /// Operations so far, in order.
    pub(crate) operations: Mutex<Vec<&'static str>>,
    /// Channels to report the next removal, and to wait after it.
    removed: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

impl Switches {
    fn record(&self, operation: &'static str) {
        self.operations.lock().unwrap().push(operation);
    }

    /// Blocks the thread that removes the next file after the removal. The receiver reports the
    /// removal, and dropping the sender unblocks the thread.
    pub(crate) fn block_after_remove(&self) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((removed, is_removed), (unblock, blocked)) = (mpsc::channel(), mpsc::channel());
        *self.removed.lock().unwrap() = Some((removed, blocked));
        (is_removed, unblock)
    }

    pub(crate) fn set(&self, switch: impl Fn(&Self) -> &AtomicBool, on: bool) {
        switch(self).store(on, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct SwitchedFile(Arc<dyn File>, Switched);

impl Switched {
    /// Returns the number of pages that the files occupy.
    pub(crate) fn pages(&self) -> u64 {
        let size = |name: String| {
            self.memory.open(&Path::new("j").join(name), OpenMode::Read).unwrap().size().unwrap()
        };
        self.memory
            .list(Path::new("j"))
            .unwrap()
            .into_iter()
            .map(|name| size(name).div_ceil(PAGE))
            .sum()
    }

    /// Leaves no free space on the disk.
    pub(crate) fn fill_up(&self) {
        self.switches.pages.store(self.pages(), Ordering::SeqCst);
    }
}

impl FileSystem for Switched {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.memory.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.memory.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        if mode == OpenMode::Create && self.switches.no_create.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(Arc::new(SwitchedFile(self.memory.open(path, mode)?, self.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.switches.record("rename");
        self.memory.rename(from, to)?;
        if self.switches.takes_free_space.load(Ordering::SeqCst) {
            self.fill_up();
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.memory.remove(path)?;
        let channels = self.switches.removed.lock().unwrap().take();
        if let Some((removed, blocked)) = channels {
            removed.send(()).unwrap();
            let _ = blocked.recv();
        }
        Ok(())
    }

    fn id(&self, path: &Path) -> io::Result<Option<FileId>> {
        self.memory.id(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.switches.record("sync_dir");
        self.memory.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.memory.lock(path)
    }
}

impl File for SwitchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let Self(file, Switched { switches, .. }) = self;
        switches.record("write");
        if switches.no_space.load(Ordering::SeqCst) {
            file.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let before = file.size()?;
        file.write_at(bytes, offset)?;
        let pages = switches.pages.load(Ordering::SeqCst);
        let missing = if pages == 0 { 0 } else { self.1.pages().saturating_sub(pages) };
        if missing > 0 {
            let kept = file.size()?.div_ceil(PAGE).saturating_sub(missing) * PAGE;
            file.truncate(kept.max(before))?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn id(&self) -> io::Result<FileId> {
        self.0.id()
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.0.truncate(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.switches.record("sync");
        if self.1.switches.no_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("the sync failed"));
        }
        self.0.sync()
    }
}

pub(crate) fn options(fs: impl FileSystem) -> Options {
    Options::new("j").file_system(fs).runner(Runner::Caller).seed(1).clock(Arc::new(|| 1_000_000))
}

/// Journal whose appends have a callback as their token.
pub(crate) type Journal = crate::Journal<Done>;

type Done = Box<dyn FnOnce(Result<Commit, AppendError>) + Send>;

/// Committed records of one append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Sequence number of the first record; the others follow it.
    pub(crate) first_seq: u64,
    pub(crate) records: Vec<Record>,
}

pub(crate) fn open(options: Options) -> (Journal, Recovery) {
    try_open(options).unwrap()
}

pub(crate) fn try_open(options: Options) -> Result<(Journal, Recovery), OpenError> {
    Journal::open(options, |group: Group<Done>| {
        let mut result = group.result;
        for append in group.appends {
            let (records, done) = append.into_parts();
            let count = records.len() as u64;
            done(result.clone().map(|first_seq| Commit { first_seq, records }));
            result = result.map(|first_seq| first_seq + count);
        }
    })
}

/// An append whose result is passed to `done`.
pub(crate) fn append_of(
    records: Vec<Record>,
    done: impl FnOnce(Result<Commit, AppendError>) + Send + 'static,
) -> Append<Done> {
    Append::new(records, Box::new(done))
}

/// A record with this number as its time, identity, and payload, and a tag that depends on it.
pub(crate) fn record(number: u64) -> Record {
    let tag = u16::try_from(number * 37 % 1024).unwrap();
    Record::new(number, u128::from(number).to_le_bytes(), format!("payload {number}")).with_tag(tag)
}

pub(crate) fn append(journal: &Journal, records: Vec<Record>) -> Result<Commit, AppendError> {
    let (sender, receiver) = mpsc::channel();
    journal.append(append_of(records, move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap()
}

/// Appends records of these numbers one by one.
pub(crate) fn fill(journal: &Journal, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        append(journal, vec![record(number)]).unwrap();
    }
}

/// Returns everything after `after`: the records with their sequence numbers, and the gaps.
pub(crate) fn read(journal: &Journal, after: u64) -> (Vec<(u64, Record)>, Vec<Chunk>) {
    let mut reader = journal.reader(after);
    let (mut found, mut gaps) = (Vec::new(), Vec::new());
    while let Some(chunk) = reader.read().unwrap() {
        match chunk {
            Chunk::Records { first_seq, records } => found.extend((first_seq..).zip(records)),
            gap @ Chunk::Gap { .. } => gaps.push(gap),
        }
    }
    (found, gaps)
}

/// Returns the numbers of all records, and asserts that there is no gap.
pub(crate) fn numbers(journal: &Journal) -> Vec<u64> {
    let (records, gaps) = read(journal, 0);
    assert_eq!(gaps, []);
    for (seq, found) in &records {
        assert_eq!(found.payload, format!("payload {}", found.received_at), "record {seq}");
    }
    records.into_iter().map(|(_, record)| record.received_at).collect()
}

/// Returns the keys that [`visit_recent_keys`](crate::Journal::visit_recent_keys) visits.
pub(crate) fn recent_keys(journal: &Journal, max: usize, since: u64) -> Vec<(u64, Key)> {
    let mut keys = Vec::new();
    journal.visit_recent_keys(max, since, |seq, key| keys.push((seq, key))).unwrap();
    keys
}
