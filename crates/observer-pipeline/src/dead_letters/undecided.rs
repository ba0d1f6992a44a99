//! Store of undecided events: events that are set aside, since the destination refused them while
//! it accepted others.
//!
//! The position of the sink has passed these events, so the journal may expire them; the store has
//! them until the destination accepts them, or there is evidence enough for a dead letter. It is
//! one file of JSON Lines per sink:
//!
//! ```text
//! {"version":1,"delivered":7,"dead":2,"sink":"9f86d081"}   what became of earlier ones
//! {"reason":…,"attempts":…,"dead_at":…,"envelope":{…}}   an event that was set aside
//! {"seq":12,"evidence":{"refused_ms":80000,"failed":{"rounds":2,"ms":80000}}}   refusals so far
//! {"seq":12,"result":"delivered"}               what became of it
//! ```
//!
//! `sink` is the fingerprint of the sink's settings, if it has one: evidence counts for the settings
//! under which it was collected, since it may have been their fault.
//!
//! The last line with evidence about an event counts; files of earlier versions have none. Lines
//! are appended before the position passes their events. A line with a later sequence number than
//! the committed position is left over from before a crash: its event is read again from the
//! journal. After a failed write the whole file is replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use observer_core::Uuid;
use observer_journal::fs::{File, FileSystem, OpenMode};
use observer_journal::{Clock, OpenError};
use serde::{Deserialize, Serialize};

use super::index::Line;
use super::store::{NewDeadLetter, write_line};
use crate::worker::resolution::evidence::StoredEvidence;

/// Folder of the stores in the folder of the journal.
pub(crate) const FOLDER: &str = "undecided";
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
    /// Fingerprint of the sink's settings.
    fingerprint: Option<String>,
    events: BTreeMap<u64, NewDeadLetter>,
    /// Evidence against these events, by sequence number.
    evidence: BTreeMap<u64, StoredEvidence>,
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
    #[serde(rename = "sink", default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ResultLine {
    seq: u64,
    result: AsideResult,
}

#[derive(Debug, Serialize, Deserialize)]
struct EvidenceLine {
    seq: u64,
    evidence: StoredEvidence,
}

/// Decision about an undecided event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AsideResult {
    Delivered,
    Dead,
}

/// Checks that no later version wrote a file in the folder of the stores.
///
/// # Errors
/// If a later version wrote one. A file that can't be read is reported when its sink needs it.
pub(crate) fn verify_versions(fs: &dyn FileSystem, dir: &Path) -> Result<(), OpenError> {
    for name in fs.list(dir).unwrap_or_default() {
        let path = dir.join(name);
        if path.extension().is_none_or(|end| end != "ndjson") {
            // The name of a part of a sink is a path.
            verify_versions(fs, &path)?;
            continue;
        }
        let Some(bytes) = read(fs, &path).ok().flatten() else { continue };
        let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let header = serde_json::from_slice::<Header>(first).ok();
        if let Some(error) = newer(&path, header.as_ref()) {
            return Err(error);
        }
    }
    Ok(())
}

fn newer(path: &Path, header: Option<&Header>) -> Option<OpenError> {
    let version = header.map(|header| header.version).filter(|version| *version > VERSION)?;
    Some(OpenError::Newer { path: path.to_owned(), found: version.to_string(), known: VERSION })
}

fn read(fs: &dyn FileSystem, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match fs.open(path, OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = vec![0; usize::try_from(file.size()?).map_err(io::Error::other)?];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(Some(bytes))
}

impl UndecidedStore {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, path: PathBuf, clock: Clock) -> Self {
        Self {
            fs,
            path,
            clock,
            file: None,
            is_loaded: false,
            fingerprint: None,
            events: BTreeMap::new(),
            evidence: BTreeMap::new(),
            folded: Totals::default(),
            results: Vec::new(),
            pending: Vec::new(),
            is_outdated: false,
        }
    }

    /// Sets the fingerprint of the sink's settings. When they have changed, the evidence is
    /// forgotten; the events stay undecided.
    pub(crate) fn set_fingerprint(&mut self, fingerprint: Option<&str>) {
        let former = std::mem::replace(&mut self.fingerprint, fingerprint.map(str::to_owned));
        if self.is_loaded {
            self.compare_fingerprint(former.as_deref());
        }
    }

    fn compare_fingerprint(&mut self, former: Option<&str>) {
        let current = self.fingerprint.as_deref();
        if former == current {
            return;
        }
        self.is_outdated |= !self.events.is_empty();
        // The file of an earlier version has none.
        if former.is_some() && current.is_some() {
            self.evidence.clear();
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
        let Some(bytes) = read(&*self.fs, &self.path)? else {
            self.is_loaded = true;
            return Ok(());
        };
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let header: Option<Header> =
            lines.next().and_then(|line| serde_json::from_slice(line).ok());
        if let Some(error) = newer(&self.path, header.as_ref()) {
            return Err(io::Error::other(error));
        }
        let (totals, former) =
            header.map(|header| (header.totals, header.fingerprint)).unwrap_or_default();
        self.folded = totals;
        (self.events, self.results) = (BTreeMap::new(), Vec::new());
        self.evidence.clear();
        lines.for_each(|line| self.load_line(line, position));
        self.fold(position);
        self.compare_fingerprint(former.as_deref());
        self.is_loaded = true;
        Ok(())
    }

    fn load_line(&mut self, line: &[u8], position: u64) {
        let is_known = if let Ok(result) = serde_json::from_slice::<ResultLine>(line) {
            let is_known = result.seq <= position;
            if is_known {
                self.remove(result.seq);
                self.results.push(result);
            }
            is_known
        } else if let Ok(EvidenceLine { seq, evidence }) = serde_json::from_slice(line) {
            let is_known = self.events.contains_key(&seq);
            if is_known {
                self.evidence.insert(seq, evidence);
            }
            is_known
        } else if let Some(aside) = Line::parse(line).map(Line::into_dead_letter) {
            let (envelope, reason, attempts) = (aside.envelope, aside.reason, aside.attempts);
            let is_known = envelope.seq <= position;
            if is_known {
                self.events.insert(envelope.seq, NewDeadLetter { envelope, reason, attempts });
            }
            is_known
        } else {
            // A crash has torn the last line.
            false
        };
        self.is_outdated |= !is_known;
    }

    /// Adds an event, with the evidence against it. It is durable after the next
    /// [`commit`](Self::commit).
    pub(crate) fn set_aside(&mut self, event: NewDeadLetter, evidence: StoredEvidence) {
        let now = crate::event_log::record::timestamp((self.clock)());
        let seq = event.envelope.seq;
        write_line(&mut self.pending, &event, now);
        self.events.insert(seq, event);
        self.add_evidence(seq, evidence);
    }

    /// Replaces the evidence against an event. The new one is durable after the next
    /// [`commit`](Self::commit).
    pub(crate) fn add_evidence(&mut self, seq: u64, evidence: StoredEvidence) {
        if self.events.contains_key(&seq) {
            write_json(&mut self.pending, &EvidenceLine { seq, evidence });
            self.evidence.insert(seq, evidence);
        }
    }

    /// Returns the evidence against an event.
    pub(crate) fn evidence(&self, seq: u64) -> StoredEvidence {
        self.evidence.get(&seq).copied().unwrap_or_default()
    }

    fn remove(&mut self, seq: u64) -> bool {
        self.evidence.remove(&seq);
        self.events.remove(&seq).is_some()
    }

    /// Removes an event. The removal is durable after the next [`commit`](Self::commit).
    pub(crate) fn resolve(&mut self, seq: u64, result: AsideResult) {
        if self.remove(seq) {
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
        if !self.is_file_in_place()? {
            tracing::error!(
                path = %self.path.display(),
                "the file of undecided events was removed or replaced while it was open; it is \
                 written anew"
            );
            self.is_outdated = true;
        }
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

    /// Returns whether the path leads to the open file, if there is one.
    fn is_file_in_place(&self) -> io::Result<bool> {
        match &self.file {
            Some((file, _)) => Ok(self.fs.id(&self.path)? == Some(file.id()?)),
            None => Ok(true),
        }
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
        self.evidence.retain(|seq, _| *seq <= position);
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

    /// Replaces the file atomically.
    fn replace(&mut self) -> io::Result<()> {
        let now = crate::event_log::record::timestamp((self.clock)());
        let mut bytes = Vec::new();
        let fingerprint = self.fingerprint.clone();
        write_json(&mut bytes, &Header { version: VERSION, totals: self.folded, fingerprint });
        for event in self.events.values() {
            write_line(&mut bytes, event, now);
            let seq = event.envelope.seq;
            write_json(&mut bytes, &EvidenceLine { seq, evidence: self.evidence(seq) });
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
mod tests;
