//! Dead letters that are there: found, read, and taken away.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use observer_core::{Envelope, Event, Timestamp, Uuid};
use observer_journal::fs::OpenMode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::store::{DeadLetterStore, Files, number};

/// Where a file is written anew before it takes the place of the old one.
const REWRITTEN: &str = "rewritten";

/// All files.
pub(crate) const ALL_FILES: RangeInclusive<u64> = 0..=u64::MAX;

/// An event that a sink refused for good, as it is kept.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The event. Its id is what the letter is known by.
    pub envelope: Arc<Envelope>,
    /// What the far side said.
    pub reason: String,
    /// How many deliveries it was part of.
    pub attempts: u32,
    /// When it was put aside.
    pub dead_at: Timestamp,
}

/// What is known of a letter without having it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: Uuid,
    pub(crate) seq: u64,
    pub(crate) dead_at: Timestamp,
    /// The first and the last file with it: after a crash the same one may have been put aside
    /// again.
    pub(crate) files: RangeInclusive<u64>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    reason: Cow<'a, str>,
    attempts: u32,
    #[serde(borrow)]
    dead_at: Cow<'a, str>,
    #[serde(borrow)]
    envelope: Enveloped<'a>,
}

#[derive(Deserialize)]
struct Enveloped<'a> {
    #[serde(deserialize_with = "uuid")]
    id: Uuid,
    seq: u64,
    #[serde(borrow)]
    received_at: Cow<'a, str>,
    #[serde(borrow)]
    event: &'a RawValue,
}

impl<'a> Line<'a> {
    /// `None` for a line that was torn by a crash.
    fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    fn dead_at(&self) -> Timestamp {
        self.dead_at.parse().unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn into_letter(self) -> DeadLetter {
        let dead_at = self.dead_at();
        let Enveloped { id, seq, received_at, event } = self.envelope;
        let received_at = received_at.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        let event = Event::from_parsed(Bytes::copy_from_slice(event.get().as_bytes()));
        let envelope = Arc::new(Envelope { id, seq, received_at, event });
        DeadLetter { envelope, reason: self.reason.into_owned(), attempts: self.attempts, dead_at }
    }
}

impl DeadLetterStore {
    /// Every letter once, by the order of the events.
    pub(crate) fn index(&self) -> io::Result<Vec<Entry>> {
        let mut entries = BTreeMap::<Uuid, Entry>::new();
        for file in self.numbers(&ALL_FILES)? {
            for line in lines(&self.read(file)?).filter_map(Line::parse) {
                let id = line.envelope.id;
                let first = entries.get(&id).map_or(file, |known| *known.files.start());
                let entry = Entry {
                    id,
                    seq: line.envelope.seq,
                    dead_at: line.dead_at(),
                    files: first..=file,
                };
                entries.insert(id, entry);
            }
        }
        let mut entries: Vec<_> = entries.into_values().collect();
        entries.sort_unstable_by_key(|entry| (entry.seq, entry.id));
        Ok(entries)
    }

    /// Those of these letters that are in these files, by the order of the events.
    pub(crate) fn load(
        &self,
        ids: &BTreeSet<Uuid>,
        files: &RangeInclusive<u64>,
    ) -> io::Result<Vec<DeadLetter>> {
        let mut letters = BTreeMap::new();
        for file in self.numbers(files)? {
            let bytes = self.read(file)?;
            let wanted = lines(&bytes)
                .filter_map(Line::parse)
                .filter(|line| ids.contains(&line.envelope.id));
            letters.extend(wanted.map(|line| (line.envelope.id, line.into_letter())));
        }
        let mut letters: Vec<_> = letters.into_values().collect();
        letters.sort_by_key(|letter| (letter.envelope.seq, letter.envelope.id));
        Ok(letters)
    }

    /// Take these letters out of these files, for good. Says how many there were.
    ///
    /// Each file is replaced as a whole, so a crash leaves a letter where it was or takes it away.
    pub(crate) fn remove(
        &mut self,
        ids: &BTreeSet<Uuid>,
        files: &RangeInclusive<u64>,
    ) -> io::Result<u64> {
        // What is copied has to be durable before its file goes.
        self.sync_active()?;
        let mut removed = BTreeSet::new();
        for file in self.numbers(files)? {
            let bytes = self.read(file)?;
            let mut left = Vec::with_capacity(bytes.len());
            let before = removed.len();
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                match Line::parse(line) {
                    Some(letter) if ids.contains(&letter.envelope.id) => {
                        removed.insert(letter.envelope.id);
                    }
                    _ => left.extend_from_slice(line),
                }
            }
            if removed.len() > before || left.len() < bytes.len() {
                self.replace(file, &left)?;
            }
        }
        Ok(removed.len() as u64)
    }

    /// Take all letters away, and what a crash has torn with them. Says how many there were.
    pub(crate) fn clear(&mut self) -> io::Result<u64> {
        let count = self.index()?.len() as u64;
        self.sync_active()?;
        for file in self.numbers(&ALL_FILES)? {
            self.replace(file, &[])?;
        }
        Ok(count)
    }

    fn replace(&mut self, file: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(file);
        if bytes.is_empty() {
            self.fs.remove(&path)?;
        } else {
            let temporary = self.dir.join(REWRITTEN);
            let new = self.fs.open(&temporary, OpenMode::Create)?;
            new.write_at(bytes, 0)?;
            new.sync()?;
            self.fs.rename(&temporary, &path)?;
        }
        let is_active =
            |files: &Files| files.sizes.back().is_none_or(|(number, _)| *number == file);
        if self.files.as_ref().is_some_and(is_active) {
            // It is another file now; what comes next goes into a fresh one.
            self.files = None;
        } else if let Some(files) = &mut self.files {
            files.sizes.retain(|(number, _)| *number != file || !bytes.is_empty());
            if let Some((_, size)) = files.sizes.iter_mut().find(|(number, _)| *number == file) {
                *size = bytes.len() as u64;
            }
        }
        self.fs.sync_dir(&self.dir)
    }

    /// The files of this range that are there, oldest first.
    fn numbers(&self, range: &RangeInclusive<u64>) -> io::Result<Vec<u64>> {
        let names = match self.fs.list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names?,
        };
        let mut numbers: Vec<_> =
            names.iter().filter_map(|name| number(name)).filter(|at| range.contains(at)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read(&self, file: u64) -> io::Result<Vec<u8>> {
        let file = self.fs.open(&self.path(file), OpenMode::Read)?;
        let mut bytes = vec![0; usize::try_from(file.size()?).map_err(io::Error::other)?];
        let count = file.read_at(&mut bytes, 0)?;
        bytes.truncate(count);
        Ok(bytes)
    }
}

fn uuid<'de, D: Deserializer<'de>>(text: D) -> Result<Uuid, D::Error> {
    Uuid::parse_str(&Cow::<str>::deserialize(text)?).map_err(D::Error::custom)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use observer_journal::fs::{Fault, Faulty, FileSystem, Memory};

    use super::super::store::tests::letter;
    use super::*;

    fn letters(memory: &Memory) -> DeadLetterStore {
        DeadLetterStore::new(Arc::new(memory.clone()), "d".into(), Arc::new(|| 0))
    }

    fn seqs(letters: &DeadLetterStore) -> Vec<u64> {
        letters.index().unwrap().iter().map(|entry| entry.seq).collect()
    }

    fn ids(seqs: impl IntoIterator<Item = u64>) -> BTreeSet<Uuid> {
        seqs.into_iter().map(|seq| Uuid::from_u128(seq.into())).collect()
    }

    #[test]
    fn what_was_put_aside_is_read_back_byte_for_byte() {
        let mut shelf = letters(&Memory::default());
        assert_eq!(shelf.index().unwrap(), []);
        shelf.put(&[letter(2), letter(1)]).unwrap();
        assert_eq!(seqs(&shelf), [1, 2]);
        let read = shelf.load(&ids([2]), &ALL_FILES).unwrap();
        let put = letter(2);
        assert_eq!(read.len(), 1);
        assert_eq!((&read[0].reason, read[0].attempts), (&put.reason, put.attempts));
        assert_eq!(read[0].envelope.to_json(), put.envelope.to_json());
    }

    #[test]
    fn letters_go_one_by_one_and_others_can_be_put_aside_after_that() {
        let memory = Memory::default();
        let mut shelf = letters(&memory);
        shelf.put(&[letter(1), letter(2), letter(3)]).unwrap();
        assert_eq!(shelf.remove(&ids([2, 9]), &ALL_FILES).unwrap(), 1);
        shelf.put(&[letter(4)]).unwrap();
        shelf.sync().unwrap();
        assert_eq!(seqs(&shelf), [1, 3, 4]);
        assert_eq!(shelf.remove(&ids([1, 3]), &ALL_FILES).unwrap(), 2);
        assert_eq!(seqs(&letters(&memory)), [4]);
        assert_eq!(shelf.clear().unwrap(), 1);
        assert!(memory.list("d".as_ref()).unwrap().is_empty());
    }

    #[test]
    fn one_that_is_there_twice_is_one_and_goes_as_one() {
        let memory = Memory::default();
        letters(&memory).put(&[letter(1), letter(2)]).unwrap();
        let mut shelf = letters(&memory);
        shelf.put(&[letter(2)]).unwrap();
        assert_eq!(seqs(&shelf), [1, 2]);
        assert_eq!(shelf.index().unwrap()[1].files, 1..=2);
        assert_eq!(shelf.remove(&ids([2]), &(1..=2)).unwrap(), 1);
        assert_eq!(seqs(&shelf), [1]);
    }

    #[test]
    fn a_torn_line_is_no_letter_and_stays_until_all_go() {
        let memory = Memory::default();
        letters(&memory).put(&[letter(1), letter(2)]).unwrap();
        let file = memory.open("d/00000001.ndjson".as_ref(), OpenMode::Write).unwrap();
        file.truncate(file.size().unwrap() - 5).unwrap();
        let mut shelf = letters(&memory);
        shelf.put(&[letter(3)]).unwrap();
        assert_eq!(seqs(&shelf), [1, 3]);
        shelf.remove(&ids([1, 3]), &ALL_FILES).unwrap();
        assert_eq!(memory.list("d".as_ref()).unwrap().len(), 1, "a person may want to see it");
        shelf.clear().unwrap();
        assert!(memory.list("d".as_ref()).unwrap().is_empty());
    }

    #[test]
    fn a_removal_that_breaks_off_anywhere_costs_no_other_letter() {
        let other = Fault::Error(io::ErrorKind::Other);
        for fault in [Fault::PowerCut, Fault::Kill, other, Fault::Error(io::ErrorKind::StorageFull)]
        {
            let mut tried = 0;
            loop {
                let disk = Faulty::new(tried);
                let open =
                    || DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
                let mut shelf = open();
                shelf.put(&[letter(1), letter(2), letter(3)]).unwrap();
                shelf.sync().unwrap();
                disk.fail_at(disk.operations() + tried, fault);
                let removed = shelf.remove(&ids([2]), &ALL_FILES);
                if disk.fault_count() == 0 {
                    assert_eq!(removed.unwrap(), 1);
                    break;
                }
                if disk.is_off() {
                    disk.restart();
                    shelf = open();
                }
                disk.clear_faults();
                let left = seqs(&shelf);
                assert!(
                    left == [1, 3] || removed.is_err() && left == [1, 2, 3],
                    "{fault:?} {tried}: {left:?}"
                );
                shelf.remove(&ids([2]), &ALL_FILES).unwrap();
                shelf.put(&[letter(4)]).unwrap();
                shelf.sync().unwrap();
                disk.cut_power();
                disk.restart();
                assert_eq!(seqs(&open()), [1, 3, 4], "{fault:?} {tried}");
                tried += 1;
            }
            assert!(tried >= 5, "{fault:?}: {tried} operations");
        }
    }
}
