//! Store of the dead letters of one sink: writes, syncs, and rotation of the files.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use observer_core::{Envelope, Timestamp, Uuid};
use observer_journal::Clock;
use observer_journal::fs::{File, FileSystem, OpenMode};
use serde::Serialize;

/// Default size limit of a sink's dead letters, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// Number of files that the size limit is divided into.
const FILES: u64 = 8;

/// Dead letter that is about to be written.
#[derive(Debug, Clone)]
pub(crate) struct NewDeadLetter {
    pub(crate) envelope: Arc<Envelope>,
    /// Response of the destination.
    pub(crate) reason: String,
    /// Number of deliveries that the event was part of.
    pub(crate) attempts: u32,
}

/// Dead letters of one sink.
pub(crate) struct DeadLetterStore {
    pub(super) fs: Arc<dyn FileSystem>,
    pub(super) dir: PathBuf,
    max_bytes: u64,
    clock: Clock,
    pub(super) files: Option<Files>,
    /// Events that were written since the last sync. After a rewind the worker writes the same ones
    /// again. They come in any order: an event that a receipt names is written at once, a suspect
    /// only after the events around it were tried.
    unsynced: BTreeSet<u64>,
    /// Some of the unsynced dead letters may be lost and have to be written again.
    lost: bool,
    /// Events with a dead letter, once they were counted. An event that is written again after a
    /// crash has two lines and is one dead letter.
    pub(super) ids: HashSet<Uuid>,
    /// Number of dead letters, shared with the status.
    count: Arc<AtomicU64>,
    /// The number is known.
    is_counted: bool,
}

#[derive(Debug)]
pub(super) struct Files {
    /// Number and size of each file, oldest first.
    pub(super) sizes: VecDeque<(u64, u64)>,
    /// Last file, which is written to.
    active: Arc<dyn File>,
    unsynced: bool,
}

impl DeadLetterStore {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, dir: PathBuf, clock: Clock) -> Self {
        Self {
            fs,
            dir,
            max_bytes: MAX_BYTES,
            clock,
            files: None,
            unsynced: BTreeSet::new(),
            lost: false,
            ids: HashSet::new(),
            count: Arc::default(),
            is_counted: false,
        }
    }

    /// Sets the size limit, in bytes; `None` is the default.
    pub(crate) fn set_max_bytes(&mut self, max_bytes: Option<u64>) {
        self.max_bytes = max_bytes.unwrap_or(MAX_BYTES);
    }

    /// Returns the number of dead letters, which [`count_all`](Self::count_all) determines first.
    pub(crate) fn counter(&self) -> Arc<AtomicU64> {
        self.count.clone()
    }

    /// Counts the dead letters in all files, unless their number is known.
    ///
    /// # Errors
    /// If a file can't be read.
    pub(crate) fn count_all(&mut self) -> io::Result<()> {
        if !self.is_counted {
            self.ids.extend(self.index()?.iter().map(|entry| entry.id));
            self.publish_count();
            self.is_counted = true;
        }
        Ok(())
    }

    pub(super) fn publish_count(&self) {
        self.count.store(self.ids.len() as u64, Ordering::Relaxed);
    }

    /// Writes dead letters, which are durable after the next [`sync`](Self::sync).
    ///
    /// # Errors
    /// If a file operation fails, or the dead letters would exceed the size limit:
    /// [`QuotaExceeded`](io::ErrorKind::QuotaExceeded).
    pub(crate) fn put(&mut self, dead_letters: &[NewDeadLetter]) -> io::Result<()> {
        let now = crate::event_log::record::timestamp((self.clock)());
        let mut lines = Vec::new();
        for dead_letter in dead_letters {
            if !self.unsynced.contains(&dead_letter.envelope.seq) {
                write_line(&mut lines, dead_letter, now);
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.leave_removed_file()?;
        self.rotate(lines.len() as u64)?;
        let files = self.open()?;
        let (_, size) = files.sizes.back_mut().expect("open() creates a file to write to");
        if let Err(error) = files.active.write_at(&lines, *size) {
            let _ = files.active.truncate(*size);
            return Err(error);
        }
        *size += lines.len() as u64;
        files.unsynced = true;
        self.ids.extend(dead_letters.iter().map(|dead_letter| dead_letter.envelope.id));
        self.publish_count();
        self.unsynced.extend(dead_letters.iter().map(|dead_letter| dead_letter.envelope.seq));
        Ok(())
    }

    /// Makes all dead letters durable that were written since the last successful sync.
    ///
    /// # Errors
    /// If some of them may be lost. All of them have to be written again.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let synced = self.sync_active();
        if std::mem::take(&mut self.lost) {
            return synced.and(Err(io::Error::other(
                "some may be lost, since their file could not be synced or was removed",
            )));
        }
        self.unsynced.clear();
        synced
    }

    pub(super) fn sync_active(&mut self) -> io::Result<()> {
        let Some(files) = self.files.as_mut().filter(|files| files.unsynced) else { return Ok(()) };
        if let Err(error) = files.active.sync() {
            // The page cache can't be trusted after a failed sync: the dead letters have to be
            // written again, to another file.
            self.files = None;
            self.unsynced.clear();
            self.lost = true;
            return Err(error);
        }
        // Dead letters in a file that was removed meanwhile are lost although the sync succeeded.
        self.leave_removed_file()?;
        if let Some(files) = &mut self.files {
            files.unsynced = false;
        }
        Ok(())
    }

    /// Stops using the last file if it was removed or replaced, so that the next dead letter begins
    /// another one.
    fn leave_removed_file(&mut self) -> io::Result<()> {
        let Some(files) = &self.files else { return Ok(()) };
        let (number, _) = files.sizes.back().expect("there is a file to write to");
        let path = self.path(*number);
        if self.fs.id(&path)? == Some(files.active.id()?) {
            return Ok(());
        }
        let unsynced = std::mem::take(&mut self.unsynced).len();
        tracing::error!(
            path = %path.display(),
            unsynced,
            "a file of dead letters was removed or replaced while it was open; dead letters that \
             were not synced are written again to another one"
        );
        self.lost |= files.unsynced;
        self.files = None;
        self.ids.clear();
        self.is_counted = false;
        self.count_all()
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:08}.ndjson"))
    }

    fn open(&mut self) -> io::Result<&mut Files> {
        if self.files.is_none() {
            self.files = Some(self.recover()?);
        }
        Ok(self.files.as_mut().expect("the files were opened above"))
    }

    fn recover(&self) -> io::Result<Files> {
        self.fs.create_dir_all(&self.dir)?;
        let mut numbers: Vec<_> =
            self.fs.list(&self.dir)?.iter().filter_map(|name| number(name)).collect();
        numbers.sort_unstable();
        let mut sizes = VecDeque::new();
        for number in numbers {
            sizes.push_back((number, self.fs.open(&self.path(number), OpenMode::Read)?.size()?));
        }
        // Always a new file, since the last line of the previous one may be torn.
        let number = sizes.back().map_or(1, |(number, _)| number + 1);
        let active = self.create(number)?;
        sizes.push_back((number, 0));
        Ok(Files { sizes, active, unsynced: false })
    }

    fn create(&self, number: u64) -> io::Result<Arc<dyn File>> {
        let file = self.fs.open(&self.path(number), OpenMode::Create)?;
        self.fs.sync_dir(&self.dir)?;
        Ok(file)
    }

    /// Begins another file if the last one has no space for `added` bytes.
    fn rotate(&mut self, added: u64) -> io::Result<()> {
        let (file_limit, max_bytes) = (self.max_bytes / FILES, self.max_bytes);
        let files = self.open()?;
        let total: u64 = files.sizes.iter().map(|(_, size)| size).sum();
        if total > 0 && total + added > max_bytes {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!(
                    "the dead letters take {total} of {max_bytes} bytes; replay or purge some, or \
                     raise `max_dead_letters`"
                ),
            ));
        }
        let (number, size) = *files.sizes.back().expect("open() creates a file to write to");
        if size > 0 && size + added > file_limit {
            self.sync_active()?;
            let active = self.create(number + 1)?;
            let files = self.open()?;
            files.active = active;
            files.sizes.push_back((number + 1, 0));
        }
        Ok(())
    }
}

/// Returns the number of a file with dead letters, by its name.
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_suffix(".ndjson")?.parse().ok()
}

pub(super) fn write_line(lines: &mut Vec<u8>, dead_letter: &NewDeadLetter, now: Timestamp) {
    #[derive(Serialize)]
    struct Head<'a> {
        reason: &'a str,
        attempts: u32,
        dead_at: String,
    }
    let head = Head {
        reason: &dead_letter.reason,
        attempts: dead_letter.attempts,
        dead_at: now.to_string(),
    };
    serde_json::to_writer(&mut *lines, &head)
        .expect("strings and numbers can be written to memory");
    // The envelope replaces the closing brace, and has the raw bytes of the producer.
    lines.pop();
    lines.extend(b",\"envelope\":");
    dead_letter.envelope.write_json(lines);
    lines.extend(b"}\n");
}

#[cfg(test)]
pub(super) mod tests {
    use observer_core::{Event, Uuid};
    use observer_journal::fs::{Fault, Faulty, Memory};

    use super::*;

    pub(in crate::dead_letters) fn dead_letter(seq: u64) -> NewDeadLetter {
        let event =
            Event::parse(r#"{"source":"s","event_kind":"k","ok":true,"extra":{"n":1e999}}"#)
                .unwrap();
        let envelope = Envelope {
            id: Uuid::from_u128(seq.into()),
            seq,
            received_at: Timestamp::UNIX_EPOCH,
            event,
        };
        NewDeadLetter { envelope: Arc::new(envelope), reason: "422: \"no\"".into(), attempts: 3 }
    }

    fn lines(memory: &Memory) -> Vec<String> {
        let dir = PathBuf::from("d");
        let mut names = memory.list(&dir).unwrap();
        names.sort();
        let read = |name: &String| {
            let file = memory.open(&dir.join(name), OpenMode::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
            file.read_at(&mut bytes, 0).unwrap();
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        names.iter().flat_map(read).collect()
    }

    #[test]
    fn dead_letter_is_a_line_with_reason_attempts_and_envelope() {
        let memory = Memory::default();
        let mut store = DeadLetterStore::new(Arc::new(memory.clone()), "d".into(), Arc::new(|| 0));
        store.put(&[dead_letter(1), dead_letter(2)]).unwrap();
        store.put(&[dead_letter(2), dead_letter(3)]).unwrap();
        store.sync().unwrap();
        let lines = lines(&memory);
        assert_eq!(lines.len(), 3, "an event is written once between two syncs");
        let head = r#"{"reason":"422: \"no\"","attempts":3,"dead_at":""#;
        assert!(lines[0].starts_with(head), "{}", lines[0]);
        assert!(
            lines[2]
                .contains(r#""envelope":{"id":"00000000-0000-0000-0000-000000000003","seq":3,"#),
            "{}",
            lines[2]
        );
        assert!(lines[2].ends_with(r#""extra":{"n":1e999}}}}"#), "{}", lines[2]);
    }

    #[test]
    fn dead_letters_can_be_written_out_of_order() {
        let memory = Memory::default();
        let mut store = DeadLetterStore::new(Arc::new(memory.clone()), "d".into(), Arc::new(|| 0));
        store.put(&[dead_letter(3)]).unwrap();
        store.put(&[dead_letter(1), dead_letter(3)]).unwrap();
        let lines = lines(&memory);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].contains("\"seq\":1,"), "{}", lines[1]);
    }

    #[test]
    fn sync_fails_after_the_file_was_removed_and_the_dead_letters_are_written_again() {
        for removed_before_put in [true, false] {
            let memory = Memory::default();
            let mut store =
                DeadLetterStore::new(Arc::new(memory.clone()), "d".into(), Arc::new(|| 0));
            let remove = || memory.remove(&PathBuf::from("d/00000001.ndjson")).unwrap();
            store.put(&[dead_letter(1)]).unwrap();
            store.sync().unwrap();
            if removed_before_put {
                remove();
                // Nothing was lost but what was removed.
                store.put(&[dead_letter(2)]).unwrap();
                store.sync().unwrap();
            } else {
                store.put(&[dead_letter(2)]).unwrap();
                remove();
                assert!(store.sync().is_err(), "the second dead letter is gone");
                store.put(&[dead_letter(2)]).unwrap();
                store.sync().unwrap();
            }
            let lines = lines(&memory);
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains("\"seq\":2,"), "{}", lines[0]);
            assert_eq!(store.counter().load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn sync_fails_after_dead_letters_were_lost_in_a_rotation() {
        let disk = Faulty::new(1);
        let mut store = DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
        store.max_bytes = FILES * 300;
        store.put(&[dead_letter(1)]).unwrap();
        disk.fail_at(disk.operations(), Fault::Error(io::ErrorKind::Other));
        assert!(store.put(&[dead_letter(2)]).is_err(), "the sync of the full file fails");
        store.put(&[dead_letter(2)]).unwrap();
        assert!(store.sync().is_err(), "the first dead letter may be lost");
        store.put(&[dead_letter(1), dead_letter(2)]).unwrap();
        store.sync().unwrap();
        disk.cut_power();
        disk.restart();
        let durable: Vec<u8> = disk.files().into_values().flatten().collect();
        let durable = String::from_utf8_lossy(&durable);
        assert!(durable.contains("\"seq\":1,") && durable.contains("\"seq\":2,"), "{durable}");
    }

    /// Returns the sequence numbers of all complete lines.
    fn seqs_on(disk: &Faulty) -> Vec<u64> {
        let seq = |line: &str| {
            let (_, rest) =
                line.strip_prefix(r#"{"reason":"#)?.strip_suffix("}}")?.split_once(r#""seq":"#)?;
            rest.split_once(',')?.0.parse().ok()
        };
        let text: Vec<u8> = disk.files().into_values().flatten().collect();
        String::from_utf8_lossy(&text).split('\n').filter_map(seq).collect()
    }

    #[test]
    fn dead_letters_go_to_another_file_after_a_failed_sync() {
        for seed in 0..12 {
            let disk = Faulty::new(seed);
            let mut store =
                DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
            store.put(&[dead_letter(1), dead_letter(2)]).unwrap();
            disk.fail_at(disk.operations(), Fault::Error(io::ErrorKind::Other));
            store.sync().unwrap_err();
            store.put(&[dead_letter(1)]).unwrap();
            store.put(&[dead_letter(2)]).unwrap();
            store.sync().unwrap();
            disk.cut_power();
            disk.restart();
            let durable = seqs_on(&disk);
            assert!(durable.contains(&1) && durable.contains(&2), "seed {seed}: {durable:?}");
        }
    }

    #[test]
    fn failed_write_leaves_no_partial_line() {
        for seed in 0..12 {
            let disk = Faulty::new(seed);
            let mut store =
                DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
            store.put(&[dead_letter(1)]).unwrap();
            let before = disk.files();
            disk.fail_at(disk.operations(), Fault::Error(io::ErrorKind::StorageFull));
            store.put(&[dead_letter(2)]).unwrap_err();
            assert!(disk.files() == before, "seed {seed}");
        }
    }

    #[test]
    fn event_written_again_after_a_sync_has_two_lines() {
        let disk = Faulty::new(1);
        let mut store = DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
        for _ in 0..2 {
            store.put(&[dead_letter(1)]).unwrap();
            store.sync().unwrap();
        }
        assert_eq!(seqs_on(&disk), [1, 1]);
    }

    #[test]
    fn dead_letters_of_earlier_processes_stay() {
        let disk = Faulty::new(1);
        for seq in 1..=5 {
            let mut store =
                DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
            store.put(&[dead_letter(seq)]).unwrap();
            store.sync().unwrap();
        }
        assert_eq!(seqs_on(&disk), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn full_store_refuses_dead_letters_and_removes_none() {
        let disk = Faulty::new(1);
        let mut store = DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
        store.set_max_bytes(Some(8 * 1024));
        let full = (1..=200).find_map(|seq| store.put(&[dead_letter(seq)]).err().map(|e| (seq, e)));
        let (seq, error) = full.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        assert!(error.to_string().contains("of 8192 bytes; replay or purge some"), "{error}");
        assert!((20..40).contains(&seq), "{seq}");
        assert_eq!(seqs_on(&disk), (1..seq).collect::<Vec<_>>());
        let sizes: Vec<_> = disk.files().into_values().map(|bytes| bytes.len()).collect();
        assert!(
            sizes.iter().all(|size| *size <= 1024) && sizes.iter().sum::<usize>() <= 8 * 1024,
            "{sizes:?}"
        );
        assert!(sizes.len() >= 7, "{sizes:?}");
        store.clear().unwrap();
        store.put(&[dead_letter(seq)]).unwrap();
    }

    #[test]
    fn number_of_dead_letters_follows_writes_and_removals() {
        let disk = Faulty::new(1);
        let mut store = DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
        let counter = store.counter();
        let count = || counter.load(Ordering::Relaxed);
        store.put(&[dead_letter(1), dead_letter(2)]).unwrap();
        store.put(&[dead_letter(2), dead_letter(3)]).unwrap();
        assert_eq!(count(), 3);
        store.remove(&[1, 9].map(|id: u128| Uuid::from_u128(id)).into(), &(0..=9)).unwrap();
        assert_eq!(count(), 2);
        store.sync().unwrap();
        let mut store = DeadLetterStore::new(Arc::new(disk), "d".into(), Arc::new(|| 0));
        store.count_all().unwrap();
        store.count_all().unwrap();
        assert_eq!(store.counter().load(Ordering::Relaxed), 2);
        store.put(&[dead_letter(3)]).unwrap();
        assert_eq!(store.counter().load(Ordering::Relaxed), 2, "3 was written again after a crash");
        store.clear().unwrap();
        assert_eq!(store.counter().load(Ordering::Relaxed), 0);
    }
}
