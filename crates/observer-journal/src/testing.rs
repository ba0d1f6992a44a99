//! A file system whose operations fail on demand, and short ways to say what tests say often.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use crate::fs::{File, FileSystem, Memory, OpenMode};
use crate::{Append, AppendError, Chunk, Group, OpenError, Options, Record, Recovery, Runner};

/// What the disk gives and takes at once.
const PAGE: u64 = 4096;

/// Memory with switches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Switched {
    pub(crate) memory: Memory,
    pub(crate) switches: Arc<Switches>,
}

#[derive(Debug, Default)]
pub(crate) struct Switches {
    /// Syncs fail.
    pub(crate) no_sync: AtomicBool,
    /// Writes put down half of their bytes and fail for want of space.
    pub(crate) no_space: AtomicBool,
    /// No file can be created.
    pub(crate) no_create: AtomicBool,
    /// How many pages of 4 KiB there are on the disk; 0 for as many as are wanted.
    pub(crate) pages: AtomicU64,
    /// Whatever is free after a file was renamed is taken by someone else.
    pub(crate) greed: AtomicBool,
    /// What was done, in order.
    pub(crate) done: Mutex<Vec<&'static str>>,
    /// Told of the next removal, which then waits.
    removed: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

impl Switches {
    fn note(&self, what: &'static str) {
        self.done.lock().unwrap().push(what);
    }

    /// Have whoever removes the next file stop after that: the first end tells of it, and dropping
    /// the second lets it go on.
    pub(crate) fn stop_after_remove(&self) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((removed, told), (go_on, waiting)) = (mpsc::channel(), mpsc::channel());
        *self.removed.lock().unwrap() = Some((removed, waiting));
        (told, go_on)
    }

    pub(crate) fn set(&self, switch: impl Fn(&Self) -> &AtomicBool, on: bool) {
        switch(self).store(on, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct SwitchedFile(Arc<dyn File>, Switched);

impl Switched {
    /// How many pages the files take.
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

    /// From now on there is no more space than the files have.
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
        self.switches.note("rename");
        self.memory.rename(from, to)?;
        if self.switches.greed.load(Ordering::SeqCst) {
            self.fill_up();
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.memory.remove(path)?;
        let stop = self.switches.removed.lock().unwrap().take();
        if let Some((removed, waiting)) = stop {
            removed.send(()).unwrap();
            let _ = waiting.recv();
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.switches.note("sync_dir");
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
        switches.note("write");
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

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.0.truncate(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.switches.note("sync");
        if self.1.switches.no_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk says no"));
        }
        self.0.sync()
    }
}

pub(crate) fn options(fs: impl FileSystem) -> Options {
    Options::new("j").file_system(fs).runner(Runner::Caller).seed(1).clock(Arc::new(|| 1_000_000))
}

/// A journal whose appends carry a callback of their own as token.
pub(crate) type Journal = crate::Journal<Done>;

type Done = Box<dyn FnOnce(Result<Commit, AppendError>) + Send>;

/// Records as they were committed.
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

/// A record whose identity and payload tell its number.
pub(crate) fn record(number: u64) -> Record {
    Record::new(number, u128::from(number).to_le_bytes(), format!("payload {number}"))
}

pub(crate) fn append(journal: &Journal, records: Vec<Record>) -> Result<Commit, AppendError> {
    let (sender, receiver) = mpsc::channel();
    journal.append(append_of(records, move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap()
}

/// Append records of these numbers, one by one.
pub(crate) fn fill(journal: &Journal, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        append(journal, vec![record(number)]).unwrap();
    }
}

/// Everything after `after`: each record by its sequence number, and gaps.
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

pub(crate) fn numbers(journal: &Journal) -> Vec<u64> {
    let (records, gaps) = read(journal, 0);
    assert_eq!(gaps, []);
    for (seq, found) in &records {
        assert_eq!(found.payload, format!("payload {}", found.received_at), "record {seq}");
    }
    records.into_iter().map(|(_, record)| record.received_at).collect()
}
