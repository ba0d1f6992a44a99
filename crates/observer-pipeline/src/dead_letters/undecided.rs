//! Store of undecided events: events that are set aside, since the destination refused them while
//! it accepted others.
//!
//! The position of the sink has passed these events, so the journal may expire them; the store has
//! them until the destination accepts them, or there is evidence enough for a dead letter. It is
//! one file of JSON Lines per sink:
//!
//! ```text
//! {"version":1,"delivered":7,"dead":2}          what became of earlier undecided events
//! {"reason":…,"attempts":…,"dead_at":…,"envelope":{…}}   an event that was set aside
//! {"seq":12,"result":"delivered"}               what became of it
//! ```
//!
//! Lines are appended before the position passes their events. A line with a later sequence number
//! than the committed position is left over from before a crash: its event is read again from the
//! journal. After a failed write the whole file is replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use observer_core::Uuid;
use observer_journal::Clock;
use observer_journal::fs::{File, FileSystem, OpenMode};
use serde::{Deserialize, Serialize};

use super::index::Line;
use super::store::{NewDeadLetter, write_line};

/// Version of the format.
const VERSION: u32 = 1;
/// Size of a file beside its undecided events from which on it is compacted, in bytes.
const COMPACT_AT: u64 = 1 << 20;

/// Undecided events of one sink.
pub(crate) struct UndecidedStore {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    clock: Clock,
    /// The open file and its size; `None` if the file has to be written anew.
    file: Option<(Arc<dyn File>, u64)>,
    is_loaded: bool,
    events: BTreeMap<u64, NewDeadLetter>,
    /// Results that the header counts.
    folded: Totals,
    /// Later results, each as a line of its own.
    results: Vec<ResultLine>,
    /// Lines that are not written yet.
    pending: Vec<u8>,
    /// Some lines of the file are outdated.
    is_outdated: bool,
}

/// Number of events that were undecided, by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) delivered: u64,
    pub(crate) dead: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    #[serde(flatten)]
    totals: Totals,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ResultLine {
    seq: u64,
    result: AsideResult,
}

/// Decision about an undecided event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AsideResult {
    Delivered,
    Dead,
}

impl UndecidedStore {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, path: PathBuf, clock: Clock) -> Self {
        Self {
            fs,
            path,
            clock,
            file: None,
            is_loaded: false,
            events: BTreeMap::new(),
            folded: Totals::default(),
            results: Vec::new(),
            pending: Vec::new(),
            is_outdated: false,
        }
    }

    /// Loads the events up to a committed position. Only the first call has an effect.
    ///
    /// # Errors
    /// If the file can't be read, or has a newer format.
    pub(crate) fn load(&mut self, position: u64) -> io::Result<()> {
        if self.is_loaded {
            return Ok(());
        }
        let Some(bytes) = self.read()? else {
            self.is_loaded = true;
            return Ok(());
        };
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let header: Option<Header> =
            lines.next().and_then(|line| serde_json::from_slice(line).ok());
        if let Some(version) = header.as_ref().map(|header| header.version).filter(|v| *v > VERSION)
        {
            return Err(io::Error::other(format!(
                "{} has version {version}, which is newer than this program",
                self.path.display()
            )));
        }
        self.folded = header.map(|header| header.totals).unwrap_or_default();
        (self.events, self.results) = (BTreeMap::new(), Vec::new());
        for line in lines {
            if let Ok(result) = serde_json::from_slice::<ResultLine>(line) {
                if result.seq <= position {
                    self.events.remove(&result.seq);
                    self.results.push(result);
                } else {
                    self.is_outdated = true;
                }
            } else if let Some(aside) = Line::parse(line).map(Line::into_dead_letter) {
                let (envelope, reason, attempts) = (aside.envelope, aside.reason, aside.attempts);
                if envelope.seq <= position {
                    self.events.insert(envelope.seq, NewDeadLetter { envelope, reason, attempts });
                } else {
                    self.is_outdated = true;
                }
            } else {
                // A crash has torn the last line.
                self.is_outdated = true;
            }
        }
        self.fold(position);
        self.is_loaded = true;
        Ok(())
    }

    /// Adds an event. It is durable after the next [`commit`](Self::commit).
    pub(crate) fn set_aside(&mut self, event: NewDeadLetter) {
        let now = crate::event_log::record::timestamp((self.clock)());
        write_line(&mut self.pending, &event, now);
        self.events.insert(event.envelope.seq, event);
    }

    /// Removes an event. The removal is durable after the next [`commit`](Self::commit).
    pub(crate) fn resolve(&mut self, seq: u64, result: AsideResult) {
        if self.events.remove(&seq).is_some() {
            let line = ResultLine { seq, result };
            write_json(&mut self.pending, &line);
            self.results.push(line);
        }
    }

    /// Makes all changes durable.
    ///
    /// # Errors
    /// If some changes may be lost. The next call writes all of them again.
    pub(crate) fn commit(&mut self) -> io::Result<()> {
        if self.pending.is_empty() && !self.is_outdated {
            return Ok(());
        }
        let written = match &mut self.file {
            Some((file, size)) if !self.is_outdated => {
                let written = file.write_at(&self.pending, *size).and_then(|()| file.sync());
                *size += self.pending.len() as u64;
                written
            }
            _ => self.replace(),
        };
        if written.is_ok() {
            self.pending.clear();
            self.is_outdated = false;
        } else {
            // The page cache can't be trusted after a failed sync.
            self.file = None;
            self.is_outdated = true;
        }
        written
    }

    /// Returns whether the file is much larger than its events.
    pub(crate) fn wants_compaction(&self) -> bool {
        let events: u64 =
            self.events.values().map(|event| event.envelope.event.raw().len() as u64).sum();
        self.file.as_ref().is_some_and(|(_, size)| *size > COMPACT_AT + 4 * events)
    }

    /// Prepares the compaction of the file, up to a position that is durable.
    pub(crate) fn compact(&mut self, durable: u64) {
        self.fold(durable);
        self.is_outdated = true;
    }

    /// Drops everything after a position, since the events are read again from there.
    pub(crate) fn rewind(&mut self, position: u64) {
        let before = self.events.len() + self.results.len();
        self.events.retain(|seq, _| *seq <= position);
        self.results.retain(|result| result.seq <= position);
        self.is_outdated |= before > self.events.len() + self.results.len();
    }

    /// Forgets all events, and removes the file.
    ///
    /// # Errors
    /// If the file can't be removed.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        let new = Self::new(self.fs.clone(), self.path.clone(), self.clock.clone());
        match self.fs.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => *self = new,
        }
        Ok(())
    }

    /// Returns the undecided events, oldest first.
    pub(crate) fn events(&self) -> impl Iterator<Item = &NewDeadLetter> {
        self.events.values()
    }

    #[cfg(test)]
    pub(crate) fn get(&self, seq: u64) -> Option<&NewDeadLetter> {
        self.events.get(&seq)
    }

    pub(crate) fn ids(&self) -> BTreeSet<Uuid> {
        self.events.values().map(|event| event.envelope.id).collect()
    }

    /// Returns what became of earlier undecided events.
    pub(crate) fn totals(&self) -> Totals {
        let count = |result| self.results.iter().filter(|line| line.result == result).count();
        Totals {
            delivered: self.folded.delivered + count(AsideResult::Delivered) as u64,
            dead: self.folded.dead + count(AsideResult::Dead) as u64,
        }
    }

    /// Makes the number of events that were ever set aside equal to that of the account, for a
    /// sink whose position was lost or restored.
    pub(crate) fn reconcile(&mut self, set_aside: u64) -> u64 {
        let Totals { delivered, dead } = self.totals();
        let undecided = self.events.len() as u64;
        if delivered + dead + undecided != set_aside {
            let dead = dead.min(set_aside.saturating_sub(undecided));
            let delivered = set_aside.saturating_sub(undecided + dead);
            self.folded = Totals { delivered, dead };
            self.results.clear();
            self.is_outdated = true;
        }
        set_aside.max(undecided)
    }

    /// Counts the results up to a durable position in the header.
    fn fold(&mut self, position: u64) {
        let (folded, left) =
            self.results.iter().copied().partition::<Vec<_>, _>(|line| line.seq <= position);
        self.results = left;
        for line in folded {
            match line.result {
                AsideResult::Delivered => self.folded.delivered += 1,
                AsideResult::Dead => self.folded.dead += 1,
            }
        }
    }

    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match self.fs.open(&self.path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = vec![0; usize::try_from(file.size()?).map_err(io::Error::other)?];
        let count = file.read_at(&mut bytes, 0)?;
        bytes.truncate(count);
        Ok(Some(bytes))
    }

    /// Replaces the file atomically.
    fn replace(&mut self) -> io::Result<()> {
        let now = crate::event_log::record::timestamp((self.clock)());
        let mut bytes = Vec::new();
        write_json(&mut bytes, &Header { version: VERSION, totals: self.folded });
        for event in self.events.values() {
            write_line(&mut bytes, event, now);
        }
        for line in &self.results {
            write_json(&mut bytes, line);
        }
        let dir = self.path.parent().expect("the file is in a folder of the journal").to_owned();
        self.fs.create_dir_all(&dir)?;
        let temporary = self.path.with_extension("new");
        let file = self.fs.open(&temporary, OpenMode::Create)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        self.fs.rename(&temporary, &self.path)?;
        self.fs.sync_dir(&dir)?;
        self.file = Some((file, bytes.len() as u64));
        Ok(())
    }
}

fn write_json(lines: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(&mut *lines, value)
        .expect("strings and numbers can be written to memory");
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use observer_journal::fs::{Fault, Faulty, Memory};

    use super::super::store::tests::dead_letter;
    use super::*;

    fn store(fs: impl FileSystem) -> UndecidedStore {
        UndecidedStore::new(Arc::new(fs), "u/sink.ndjson".into(), Arc::new(|| 0))
    }

    fn loaded(fs: impl FileSystem, position: u64) -> UndecidedStore {
        let mut store = store(fs);
        store.load(position).unwrap();
        store
    }

    fn seqs(store: &UndecidedStore) -> Vec<u64> {
        store.events().map(|event| event.envelope.seq).collect()
    }

    fn totals(delivered: u64, dead: u64) -> Totals {
        Totals { delivered, dead }
    }

    #[test]
    fn undecided_events_and_their_results_survive_a_restart() {
        let memory = Memory::default();
        let mut store = loaded(memory.clone(), 0);
        store.commit().unwrap();
        let files = memory.list("u".as_ref()).unwrap_or_default();
        assert!(files.is_empty(), "there is no file without an undecided event: {files:?}");
        for seq in 1..=4 {
            store.set_aside(dead_letter(seq));
            store.commit().unwrap();
        }
        store.resolve(1, AsideResult::Delivered);
        store.resolve(3, AsideResult::Dead);
        store.resolve(9, AsideResult::Dead);
        store.commit().unwrap();
        assert_eq!((seqs(&store), store.totals()), (vec![2, 4], totals(1, 1)));
        for _ in 0..2 {
            let mut store = loaded(memory.clone(), 4);
            assert_eq!((seqs(&store), store.totals()), (vec![2, 4], totals(1, 1)));
            let event = store.get(2).unwrap();
            assert_eq!(event.envelope.to_json(), dead_letter(2).envelope.to_json());
            assert_eq!((&*event.reason, event.attempts), ("422: \"no\"", 3));
            store.compact(4);
            store.commit().unwrap();
        }
    }

    #[test]
    fn lines_after_the_committed_position_are_dropped_for_good() {
        let memory = Memory::default();
        let mut store = loaded(memory.clone(), 0);
        (1..=4).for_each(|seq| store.set_aside(dead_letter(seq)));
        store.resolve(4, AsideResult::Delivered);
        store.commit().unwrap();
        let mut store = loaded(memory.clone(), 2);
        assert_eq!((seqs(&store), store.totals()), (vec![1, 2], totals(0, 0)));
        store.commit().unwrap();
        assert_eq!(seqs(&loaded(memory, 4)), [1, 2]);
    }

    #[test]
    fn rewind_drops_events_after_the_position() {
        let memory = Memory::default();
        let mut store = loaded(memory.clone(), 0);
        store.set_aside(dead_letter(1));
        store.commit().unwrap();
        store.set_aside(dead_letter(2));
        store.commit().unwrap();
        store.rewind(1);
        assert_eq!(seqs(&store), [1]);
        store.commit().unwrap();
        assert_eq!(seqs(&loaded(memory, 9)), [1]);
    }

    #[test]
    fn file_is_compacted_when_it_has_many_outdated_lines() {
        let memory = Memory::default();
        let mut store = loaded(memory.clone(), 0);
        let mut seq = 0;
        while !store.wants_compaction() {
            seq += 1;
            store.set_aside(dead_letter(seq));
            store.resolve(seq, AsideResult::Delivered);
            store.commit().unwrap();
        }
        store.compact(seq);
        store.commit().unwrap();
        assert!(!store.wants_compaction());
        let size = memory.open("u/sink.ndjson".as_ref(), OpenMode::Read).unwrap().size().unwrap();
        assert!(size < 100, "{size}");
        assert_eq!(loaded(memory, seq).totals(), totals(seq, 0));
    }

    #[test]
    fn counts_are_reconciled_with_an_account() {
        let memory = Memory::default();
        for (set_aside, expected, counted) in
            [(3, totals(1, 0), 3), (7, totals(5, 0), 7), (1, totals(0, 0), 2), (0, totals(0, 0), 2)]
        {
            let mut store = loaded(memory.clone(), 0);
            (1..=3).for_each(|seq| store.set_aside(dead_letter(seq)));
            store.resolve(1, AsideResult::Delivered);
            assert_eq!(store.reconcile(set_aside), counted, "{set_aside}");
            assert_eq!(store.totals(), expected, "{set_aside}");
        }
    }

    #[test]
    fn newer_format_is_refused_by_name() {
        let memory = Memory::default();
        let file = memory.open("sink.ndjson".as_ref(), OpenMode::Create).unwrap();
        file.write_at(br#"{"version":2,"delivered":0,"dead":0}"#, 0).unwrap();
        let mut store = UndecidedStore::new(Arc::new(memory), "sink.ndjson".into(), Arc::new(|| 0));
        let error = store.load(9).unwrap_err().to_string();
        assert!(error.contains("sink.ndjson has version 2"), "{error}");
    }

    #[test]
    fn committed_changes_survive_any_fault() {
        let other = Fault::Error(io::ErrorKind::Other);
        for fault in [Fault::PowerCut, Fault::Kill, other, Fault::Error(io::ErrorKind::StorageFull)]
        {
            for operation in 0..40 {
                let disk = Faulty::new(operation);
                let mut store = loaded(disk.clone(), 0);
                disk.fail_at(disk.operations() + operation, fault);
                let mut committed = Vec::new();
                for seq in 1..=4 {
                    store.set_aside(dead_letter(seq));
                    if store.commit().is_ok() {
                        committed = (1..=seq).collect();
                    }
                }
                if disk.is_off() {
                    disk.restart();
                } else {
                    disk.clear_faults();
                    store.commit().unwrap();
                    committed = (1..=4).collect();
                }
                disk.cut_power();
                disk.restart();
                let found = seqs(&loaded(disk.clone(), 9));
                assert!(
                    found.starts_with(&committed),
                    "{fault:?} {operation}: {found:?} of {committed:?}"
                );
            }
        }
    }
}
