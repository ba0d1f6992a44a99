//! Index of the store: finding, loading and removing dead letters.

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

/// Name of the temporary file that replaces another one.
const REWRITTEN: &str = "rewritten";

/// Range of all file numbers.
pub(crate) const ALL_FILES: RangeInclusive<u64> = 0..=u64::MAX;

/// Event that a sink rejected permanently.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Event with its envelope. Its id is also the id of the dead letter.
    pub envelope: Arc<Envelope>,
    /// Response of the destination.
    pub reason: String,
    /// Number of deliveries that the event was part of.
    pub attempts: u32,
    /// Time at which the event became a dead letter.
    pub dead_at: Timestamp,
}

/// Entry of the index: a dead letter without its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: Uuid,
    pub(crate) seq: u64,
    pub(crate) dead_at: Timestamp,
    /// First and last file with the dead letter: after a crash, the same one may have been written
    /// again.
    pub(crate) files: RangeInclusive<u64>,
}

#[derive(Deserialize)]
pub(super) struct Line<'a> {
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
    /// Parses a line. Returns `None` if a crash has torn it.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    fn dead_at(&self) -> Timestamp {
        self.dead_at.parse().unwrap_or(Timestamp::UNIX_EPOCH)
    }

    pub(super) fn into_dead_letter(self) -> DeadLetter {
        let dead_at = self.dead_at();
        let Enveloped { id, seq, received_at, event } = self.envelope;
        let received_at = received_at.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        let event = Event::from_parsed(Bytes::copy_from_slice(event.get().as_bytes()));
        let envelope = Arc::new(Envelope { id, seq, received_at, event });
        DeadLetter { envelope, reason: self.reason.into_owned(), attempts: self.attempts, dead_at }
    }
}

impl DeadLetterStore {
    /// Returns an entry per dead letter, in the order of the events.
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

    /// Loads dead letters from a range of files, in the order of the events. Unknown ids are
    /// skipped.
    pub(crate) fn load(
        &self,
        ids: &BTreeSet<Uuid>,
        files: &RangeInclusive<u64>,
    ) -> io::Result<Vec<DeadLetter>> {
        let mut found = BTreeMap::new();
        for file in self.numbers(files)? {
            let bytes = self.read(file)?;
            let wanted = lines(&bytes)
                .filter_map(Line::parse)
                .filter(|line| ids.contains(&line.envelope.id));
            found.extend(wanted.map(|line| (line.envelope.id, line.into_dead_letter())));
        }
        let mut dead_letters: Vec<_> = found.into_values().collect();
        dead_letters.sort_by_key(|found| (found.envelope.seq, found.envelope.id));
        Ok(dead_letters)
    }

    /// Removes dead letters from a range of files. Returns how many there were.
    ///
    /// Each file is replaced atomically, so after a crash a dead letter is either there or removed.
    pub(crate) fn remove(
        &mut self,
        ids: &BTreeSet<Uuid>,
        files: &RangeInclusive<u64>,
    ) -> io::Result<u64> {
        // A dead letter that is copied has to be durable before its old file is replaced.
        self.sync_active()?;
        let mut removed = BTreeSet::new();
        for file in self.numbers(files)? {
            let bytes = self.read(file)?;
            let mut left = Vec::with_capacity(bytes.len());
            let before = removed.len();
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                match Line::parse(line) {
                    Some(line) if ids.contains(&line.envelope.id) => {
                        removed.insert(line.envelope.id);
                    }
                    _ => left.extend_from_slice(line),
                }
            }
            if removed.len() > before || left.len() < bytes.len() {
                self.replace(file, &left)?;
            }
        }
        self.ids.retain(|id| !removed.contains(id));
        self.publish_count();
        Ok(removed.len() as u64)
    }

    /// Removes all dead letters, and torn lines, too. Returns how many dead letters there were.
    pub(crate) fn clear(&mut self) -> io::Result<u64> {
        let count = self.index()?.len() as u64;
        self.sync_active()?;
        for file in self.numbers(&ALL_FILES)? {
            self.replace(file, &[])?;
        }
        self.ids.clear();
        self.publish_count();
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
            // The open file was replaced, so the next dead letter begins a new file.
            self.files = None;
        } else if let Some(files) = &mut self.files {
            files.sizes.retain(|(number, _)| *number != file || !bytes.is_empty());
            if let Some((_, size)) = files.sizes.iter_mut().find(|(number, _)| *number == file) {
                *size = bytes.len() as u64;
            }
        }
        self.fs.sync_dir(&self.dir)
    }

    /// Returns the numbers of the existing files within a range, oldest first.
    fn numbers(&self, range: &RangeInclusive<u64>) -> io::Result<Vec<u64>> {
        let names = match self.fs.list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names?,
        };
        let mut numbers: Vec<_> = names
            .iter()
            .filter_map(|name| number(name))
            .filter(|number| range.contains(number))
            .collect();
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

    use super::super::store::tests::dead_letter;
    use super::*;

    fn open(memory: &Memory) -> DeadLetterStore {
        DeadLetterStore::new(Arc::new(memory.clone()), "d".into(), Arc::new(|| 0))
    }

    fn seqs(store: &DeadLetterStore) -> Vec<u64> {
        store.index().unwrap().iter().map(|entry| entry.seq).collect()
    }

    fn ids(seqs: impl IntoIterator<Item = u64>) -> BTreeSet<Uuid> {
        seqs.into_iter().map(|seq| Uuid::from_u128(seq.into())).collect()
    }

    #[test]
    fn dead_letter_is_loaded_byte_for_byte() {
        let mut store = open(&Memory::default());
        assert_eq!(store.index().unwrap(), []);
        store.put(&[dead_letter(2), dead_letter(1)]).unwrap();
        assert_eq!(seqs(&store), [1, 2]);
        let read = store.load(&ids([2]), &ALL_FILES).unwrap();
        let put = dead_letter(2);
        assert_eq!(read.len(), 1);
        assert_eq!((&read[0].reason, read[0].attempts), (&put.reason, put.attempts));
        assert_eq!(read[0].envelope.to_json(), put.envelope.to_json());
    }

    #[test]
    fn removed_dead_letters_leave_the_others_and_new_ones_intact() {
        let memory = Memory::default();
        let mut store = open(&memory);
        store.put(&[dead_letter(1), dead_letter(2), dead_letter(3)]).unwrap();
        assert_eq!(store.remove(&ids([2, 9]), &ALL_FILES).unwrap(), 1);
        store.put(&[dead_letter(4)]).unwrap();
        store.sync().unwrap();
        assert_eq!(seqs(&store), [1, 3, 4]);
        assert_eq!(store.remove(&ids([1, 3]), &ALL_FILES).unwrap(), 2);
        assert_eq!(seqs(&open(&memory)), [4]);
        assert_eq!(store.clear().unwrap(), 1);
        assert!(memory.list("d".as_ref()).unwrap().is_empty());
    }

    #[test]
    fn dead_letter_in_two_files_is_one_entry_and_removed_from_both() {
        let memory = Memory::default();
        open(&memory).put(&[dead_letter(1), dead_letter(2)]).unwrap();
        let mut store = open(&memory);
        store.put(&[dead_letter(2)]).unwrap();
        assert_eq!(seqs(&store), [1, 2]);
        assert_eq!(store.index().unwrap()[1].files, 1..=2);
        assert_eq!(store.remove(&ids([2]), &(1..=2)).unwrap(), 1);
        assert_eq!(seqs(&store), [1]);
    }

    #[test]
    fn torn_line_is_ignored_and_kept_until_all_are_removed() {
        let memory = Memory::default();
        open(&memory).put(&[dead_letter(1), dead_letter(2)]).unwrap();
        let file = memory.open("d/00000001.ndjson".as_ref(), OpenMode::Write).unwrap();
        file.truncate(file.size().unwrap() - 5).unwrap();
        let mut store = open(&memory);
        store.put(&[dead_letter(3)]).unwrap();
        assert_eq!(seqs(&store), [1, 3]);
        store.remove(&ids([1, 3]), &ALL_FILES).unwrap();
        assert_eq!(
            memory.list("d".as_ref()).unwrap().len(),
            1,
            "an operator may want to see the torn line"
        );
        store.clear().unwrap();
        assert!(memory.list("d".as_ref()).unwrap().is_empty());
    }

    #[test]
    fn interrupted_removal_loses_no_other_dead_letter() {
        let other = Fault::Error(io::ErrorKind::Other);
        for fault in [Fault::PowerCut, Fault::Kill, other, Fault::Error(io::ErrorKind::StorageFull)]
        {
            let mut tried = 0;
            loop {
                let disk = Faulty::new(tried);
                let reopen =
                    || DeadLetterStore::new(Arc::new(disk.clone()), "d".into(), Arc::new(|| 0));
                let mut store = reopen();
                store.put(&[dead_letter(1), dead_letter(2), dead_letter(3)]).unwrap();
                store.sync().unwrap();
                disk.fail_at(disk.operations() + tried, fault);
                let removed = store.remove(&ids([2]), &ALL_FILES);
                if disk.fault_count() == 0 {
                    assert_eq!(removed.unwrap(), 1);
                    break;
                }
                if disk.is_off() {
                    disk.restart();
                    store = reopen();
                }
                disk.clear_faults();
                let left = seqs(&store);
                assert!(
                    left == [1, 3] || removed.is_err() && left == [1, 2, 3],
                    "{fault:?} {tried}: {left:?}"
                );
                store.remove(&ids([2]), &ALL_FILES).unwrap();
                store.put(&[dead_letter(4)]).unwrap();
                store.sync().unwrap();
                disk.cut_power();
                disk.restart();
                assert_eq!(seqs(&reopen()), [1, 3, 4], "{fault:?} {tried}");
                tried += 1;
            }
            assert!(tried >= 5, "{fault:?}: {tried} operations");
        }
    }
}
