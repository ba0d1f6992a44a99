//! Events that a sink refused for good, kept as lines for a person to look at.
//!
//! One folder a sink, with numbered files of JSON Lines:
//! `{"reason":…,"attempts":…,"dead_at":…,"envelope":{…}}`. When they grow past their limit the
//! oldest file goes, and how many letters were in it is logged.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use observer_core::{Envelope, Timestamp};
use observer_journal::Clock;
use observer_journal::fs::{File, FileSystem, OpenMode};
use serde::Serialize;

/// At most this many bytes a sink, in this many files.
const MAX_BYTES: u64 = 64 << 20;
const FILES: u64 = 8;

/// One event that is put aside.
#[derive(Debug, Clone)]
pub(crate) struct NewDeadLetter {
    pub(crate) envelope: Arc<Envelope>,
    /// What the far side said.
    pub(crate) reason: String,
    /// How many deliveries it was part of.
    pub(crate) attempts: u32,
}

pub(crate) struct DeadLetterStore {
    pub(super) fs: Arc<dyn FileSystem>,
    pub(super) dir: PathBuf,
    max_bytes: u64,
    clock: Clock,
    pub(super) files: Option<Files>,
    /// The events that were put aside since the last sync: after a rewind the same ones come again.
    /// They are in no order, since one that is named in a receipt is put aside at once, and one
    /// that stood alone when its neighbours were tried.
    put: BTreeSet<u64>,
    /// Some of them are gone, and have to come again.
    lost: bool,
}

#[derive(Debug)]
pub(super) struct Files {
    /// The number and size of each file, oldest first.
    pub(super) sizes: VecDeque<(u64, u64)>,
    /// The last of them.
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
            put: BTreeSet::new(),
            lost: false,
        }
    }

    /// Put events aside. They are durable after the next [`sync`](Self::sync).
    pub(crate) fn put(&mut self, letters: &[NewDeadLetter]) -> io::Result<()> {
        let now = crate::record::timestamp((self.clock)());
        let mut lines = Vec::new();
        for letter in letters.iter().filter(|letter| !self.put.contains(&letter.envelope.seq)) {
            write_line(&mut lines, letter, now);
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.make_room(lines.len() as u64)?;
        let files = self.open()?;
        let (_, size) = files.sizes.back_mut().expect("open() leaves a file to write to");
        if let Err(error) = files.active.write_at(&lines, *size) {
            let _ = files.active.truncate(*size);
            return Err(error);
        }
        *size += lines.len() as u64;
        files.unsynced = true;
        self.put.extend(letters.iter().map(|letter| letter.envelope.seq));
        Ok(())
    }

    /// Make durable what was put aside since this worked last.
    ///
    /// # Errors
    /// When some of that may be gone. All of it has to be put aside again.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let synced = self.sync_active();
        if std::mem::take(&mut self.lost) {
            return synced.and(Err(io::Error::other(
                "some were lost when a file was full and could not be synced",
            )));
        }
        self.put.clear();
        synced
    }

    pub(super) fn sync_active(&mut self) -> io::Result<()> {
        let Some(files) = self.files.as_mut().filter(|files| files.unsynced) else { return Ok(()) };
        if let Err(error) = files.active.sync() {
            // What the page cache says can't be trusted now: the letters are written again, to
            // another file.
            self.files = None;
            self.put.clear();
            self.lost = true;
            return Err(error);
        }
        files.unsynced = false;
        Ok(())
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:08}.ndjson"))
    }

    fn open(&mut self) -> io::Result<&mut Files> {
        if self.files.is_none() {
            self.files = Some(self.recover()?);
        }
        Ok(self.files.as_mut().expect("it was opened just now"))
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
        // Always a fresh file: what was torn in the last one stays there, with its line.
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

    /// Begin another file where the present one is full, and remove the oldest where all of them
    /// are.
    fn make_room(&mut self, wanted: u64) -> io::Result<()> {
        let file_limit = self.max_bytes / FILES;
        let (number, size) = *self.open()?.sizes.back().expect("open() leaves a file to write to");
        if size > 0 && size + wanted > file_limit {
            self.sync_active()?;
            let active = self.create(number + 1)?;
            let files = self.open()?;
            files.active = active;
            files.sizes.push_back((number + 1, 0));
        }
        let max_bytes = self.max_bytes;
        loop {
            let files = self.open()?;
            let total: u64 = files.sizes.iter().map(|(_, size)| size).sum();
            if files.sizes.len() == 1 || total + wanted <= max_bytes {
                return Ok(());
            }
            let (oldest, size) = files.sizes.pop_front().expect("there is more than one file");
            let path = self.path(oldest);
            let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
            let count = self.fs.open(&path, OpenMode::Read)?.read_at(&mut bytes, 0)?;
            let letters = bytes[..count].iter().filter(|byte| **byte == b'\n').count();
            self.fs.remove(&path)?;
            tracing::error!(file = %path.display(), letters, limit = self.max_bytes, "the oldest dead letters were removed to make room");
        }
    }
}

/// The number of a file with letters.
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_suffix(".ndjson")?.parse().ok()
}

fn write_line(lines: &mut Vec<u8>, letter: &NewDeadLetter, now: Timestamp) {
    #[derive(Serialize)]
    struct Head<'a> {
        reason: &'a str,
        attempts: u32,
        dead_at: String,
    }
    let head = Head { reason: &letter.reason, attempts: letter.attempts, dead_at: now.to_string() };
    serde_json::to_writer(&mut *lines, &head).expect("plain strings and numbers, into memory");
    // In place of the closing brace: the envelope, with the producer's own bytes.
    lines.pop();
    lines.extend(b",\"envelope\":");
    letter.envelope.write_json(lines);
    lines.extend(b"}\n");
}

#[cfg(test)]
pub(super) mod tests {
    use observer_core::{Event, Uuid};
    use observer_journal::fs::{Fault, Faulty, Memory};

    use super::*;

    pub(in crate::dead_letters) fn letter(seq: u64) -> NewDeadLetter {
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
    fn letters_are_lines_with_reason_attempts_and_envelope() {
        let memory = Memory::default();
        let mut letters =
            DeadLetterStore::new(Arc::new(memory.clone()), "d".into(), Arc::new(|| 0));
        letters.put(&[letter(1), letter(2)]).unwrap();
        letters.put(&[letter(2), letter(3)]).unwrap();
        letters.sync().unwrap();
        let lines = lines(&memory);
        assert_eq!(lines.len(), 3, "one that comes again is not put aside twice");
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
    fn letters_may_be_put_aside_out_of_order() {
        let memory = Memory::default();
        let mut letters =
            DeadLetterStore::new(Arc::new(memory.clone()), "d".into(), Arc::new(|| 0));
        letters.put(&[letter(3)]).unwrap();
        letters.put(&[letter(1), letter(3)]).unwrap();
        let lines = lines(&memory);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].contains("\"seq\":1,"), "{}", lines[1]);
    }

    #[test]
    fn letters_that_were_lost_while_room_was_made_are_told_at_the_next_sync() {
        let disk = Faulty::new(1);
        let mut letters = DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
        letters.max_bytes = FILES * 300;
        letters.put(&[letter(1)]).unwrap();
        disk.fail_at(disk.operations(), Fault::Error(io::ErrorKind::Other));
        assert!(letters.put(&[letter(2)]).is_err(), "the file is full, and its sync fails");
        letters.put(&[letter(2)]).unwrap();
        assert!(letters.sync().is_err(), "the first one may be gone");
        letters.put(&[letter(1), letter(2)]).unwrap();
        letters.sync().unwrap();
        disk.cut_power();
        disk.restart();
        let durable: Vec<u8> = disk.files().into_values().flatten().collect();
        let durable = String::from_utf8_lossy(&durable);
        assert!(durable.contains("\"seq\":1,") && durable.contains("\"seq\":2,"), "{durable}");
    }

    /// The sequence numbers of all whole lines.
    fn on(disk: &Faulty) -> Vec<u64> {
        let seq = |line: &str| {
            let (_, rest) =
                line.strip_prefix(r#"{"reason":"#)?.strip_suffix("}}")?.split_once(r#""seq":"#)?;
            rest.split_once(',')?.0.parse().ok()
        };
        let text: Vec<u8> = disk.files().into_values().flatten().collect();
        String::from_utf8_lossy(&text).split('\n').filter_map(seq).collect()
    }

    #[test]
    fn after_a_sync_that_failed_letters_begin_another_file() {
        for seed in 0..12 {
            let disk = Faulty::new(seed);
            let mut letters =
                DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
            letters.put(&[letter(1), letter(2)]).unwrap();
            disk.fail_at(disk.operations(), Fault::Error(io::ErrorKind::Other));
            letters.sync().unwrap_err();
            letters.put(&[letter(1)]).unwrap();
            letters.put(&[letter(2)]).unwrap();
            letters.sync().unwrap();
            disk.cut_power();
            disk.restart();
            let durable = on(&disk);
            assert!(durable.contains(&1) && durable.contains(&2), "seed {seed}: {durable:?}");
        }
    }

    #[test]
    fn a_write_that_fails_leaves_no_half_a_letter() {
        for seed in 0..12 {
            let disk = Faulty::new(seed);
            let mut letters =
                DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
            letters.put(&[letter(1)]).unwrap();
            let before = disk.files();
            disk.fail_at(disk.operations(), Fault::Error(io::ErrorKind::StorageFull));
            letters.put(&[letter(2)]).unwrap_err();
            assert!(disk.files() == before, "seed {seed}");
        }
    }

    #[test]
    fn one_that_comes_again_after_a_sync_is_another_letter() {
        let disk = Faulty::new(1);
        let mut letters = DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
        for _ in 0..2 {
            letters.put(&[letter(1)]).unwrap();
            letters.sync().unwrap();
        }
        assert_eq!(on(&disk), [1, 1]);
    }

    #[test]
    fn letters_of_earlier_times_stay() {
        let disk = Faulty::new(1);
        for seq in 1..=5 {
            let mut letters =
                DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
            letters.put(&[letter(seq)]).unwrap();
            letters.sync().unwrap();
        }
        assert_eq!(on(&disk), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn the_oldest_letters_make_room() {
        let disk = Faulty::new(1);
        let mut letters = DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
        letters.max_bytes = 8 * 1024;
        (1..=200).for_each(|seq| letters.put(&[letter(seq)]).unwrap());
        let left = on(&disk);
        assert!((20..40).contains(&left.len()), "{}", left.len());
        assert_eq!(
            left,
            (201 - left.len() as u64..=200).collect::<Vec<_>>(),
            "the last ones, each once"
        );
        let sizes: Vec<_> = disk.files().into_values().map(|bytes| bytes.len()).collect();
        assert!(
            sizes.iter().all(|size| *size <= 1024) && sizes.iter().sum::<usize>() <= 8 * 1024,
            "{sizes:?}"
        );
        assert!(sizes.len() >= 7, "{sizes:?}");
    }
}
