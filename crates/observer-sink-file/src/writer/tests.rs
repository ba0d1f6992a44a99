use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use observer_core::{Envelope, Event, Timestamp};

use super::*;
use crate::FileConfig;
use crate::disk::RealDisk;

mod crashes;
mod durability;
mod failures;
mod file_names;
mod housekeeping;
mod ownership;
mod placement;

/// 2026-11-22T10:00:00Z.
const TEN: i64 = 1_795_341_600;

/// A base folder, a state folder, and a disk with faults.
struct Fixture {
    folder: tempfile::TempDir,
    template: &'static str,
    configure: fn(FileConfig) -> FileConfig,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Debug, Default)]
struct Faults {
    /// Bytes that can be written before the disk is full; `None` means no limit.
    free_bytes: Option<usize>,
    /// Truncation fails.
    truncate: bool,
    /// The sync of a file's contents fails.
    sync: bool,
    /// Number of files that were synced.
    synced: usize,
    /// Folders that were synced.
    folders: Vec<PathBuf>,
    /// The sync of a file with its metadata fails.
    sync_all: bool,
    /// The sync of a folder fails.
    sync_folder: bool,
}

/// Disk that injects faults.
struct FaultyDisk(Arc<Mutex<Faults>>);

impl Disk for FaultyDisk {
    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        let mut faults = self.0.lock().unwrap();
        let Some(free_bytes) = &mut faults.free_bytes else { return file.write(bytes) };
        if *free_bytes == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = file.write(&bytes[..bytes.len().min(*free_bytes)])?;
        *free_bytes -= count;
        Ok(count)
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        if self.0.lock().unwrap().truncate {
            return Err(io::Error::other("injected failure of a truncation"));
        }
        RealDisk.truncate(file, len)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut faults = self.0.lock().unwrap();
        if faults.sync {
            return Err(io::Error::other("injected failure of a sync"));
        }
        faults.synced += 1;
        RealDisk.sync(file)
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        if self.0.lock().unwrap().sync_all {
            return Err(io::Error::other("injected failure of a sync"));
        }
        RealDisk.sync_all(file)
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), FileError> {
        let mut faults = self.0.lock().unwrap();
        if faults.sync_folder {
            return Err(FileError::io("sync the folder", folder)(io::Error::other(
                "injected failure of a sync",
            )));
        }
        faults.folders.push(folder.to_owned());
        RealDisk.sync_folder(folder)
    }
}

impl Fixture {
    fn new(template: &'static str) -> Self {
        Self::with(template, |config| config)
    }

    fn with(template: &'static str, configure: fn(FileConfig) -> FileConfig) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), template, configure, faults: Arc::default() }
    }

    fn base(&self) -> PathBuf {
        self.folder.path().join("base")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn settings(&self) -> Arc<Settings> {
        let path = format!("{}/base/{}", self.folder.path().display(), self.template);
        Arc::new((self.configure)(FileConfig::new(path)).check().unwrap())
    }

    fn try_open(&self) -> Result<Writer, FileError> {
        Writer::open(
            self.settings(),
            &self.state(),
            Arc::new(FaultyDisk(Arc::clone(&self.faults))),
            now(TEN),
            Surroundings::default(),
        )
    }

    fn open(&self) -> Writer {
        self.try_open().unwrap()
    }

    /// Reads the record of the files of a stopped writer.
    fn ledger(&self) -> Ledger {
        let settings = self.settings();
        Ledger::load(&self.state(), settings.template.base(), ".jsonl").unwrap().ledger
    }

    fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock().unwrap());
    }

    /// Returns the files in the base and their text, decompressed.
    fn files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.base()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(self.base()).unwrap().to_str().unwrap().to_owned();
                let mut bytes = fs::read(&path).unwrap();
                if name.ends_with(".gz") {
                    let compressed = std::mem::take(&mut bytes);
                    flate2::read::GzDecoder::new(&compressed[..]).read_to_end(&mut bytes).unwrap();
                } else if name.ends_with(".zst") {
                    bytes = zstd::stream::decode_all(&bytes[..]).unwrap();
                }
                files.insert(name, String::from_utf8(bytes).unwrap());
            }
        }
        files
    }

    fn names(&self) -> Vec<String> {
        self.files().into_keys().collect()
    }

    /// Returns the sequence numbers in each file, which must hold complete lines only.
    fn seqs(&self) -> Vec<(String, Vec<u64>)> {
        let read = |text: String| {
            assert!(text.is_empty() || text.ends_with('\n'), "torn: {text:?}");
            text.lines()
                .map(|line| crate::writer::tail::Line::parse(line.as_bytes()).expect(line).seq)
                .collect()
        };
        self.files().into_iter().map(|(name, text)| (name, read(text))).collect()
    }

    /// Returns the sequence numbers of the only file.
    fn seqs_of_one(&self) -> Vec<u64> {
        let mut seqs = self.seqs();
        assert_eq!(seqs.len(), 1, "{seqs:?}");
        seqs.remove(0).1
    }
}

/// Time of a file system.
fn at(second: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second.try_into().unwrap())
}

/// Time of a clock that doesn't jump.
fn now(second: i64) -> Now {
    Now { wall: second, elapsed: Duration::from_secs(second.try_into().unwrap()) }
}

fn envelope(seq: u64, source: &str, second: i64) -> Arc<Envelope> {
    let source = serde_json::to_string(source).unwrap();
    Arc::new(Envelope {
        id: Uuid::from_u128((7 << 64) + u128::from(seq)),
        seq,
        received_at: Timestamp::from_second(second).unwrap(),
        event: Event::parse(format!(r#"{{"source":{source},"event_kind":"ok","ok":true}}"#))
            .unwrap(),
    })
}

fn batch_in(epoch: u64, seqs: RangeInclusive<u64>) -> Batch {
    Batch::new(epoch, seqs.map(|seq| envelope(seq, "bot", TEN)).collect())
}

fn batch(seqs: RangeInclusive<u64>) -> Batch {
    batch_in(1, seqs)
}

/// Returns a batch of one event that was received at `second`.
fn one(seq: u64, source: &str, second: i64) -> Batch {
    Batch::new(1, vec![envelope(seq, source, second)])
}

fn line_length() -> u64 {
    envelope(1, "bot", TEN).to_json().len() as u64 + 1
}

impl Writer {
    /// Delivers a batch after the reply to the last one was received.
    fn write(&mut self, batch: &Batch) {
        self.deliver(batch, LastReply::Received).unwrap();
    }

    fn flush_now(&mut self) {
        self.flush(now(TEN)).unwrap();
    }
}
