//! The ledger: an append-only file in the state folder that records which files the sink wrote.
//!
//! Only files in the ledger are changed, compressed or deleted, and only while they are
//! [recognised](ownership). Everything else in the folder belongs to somebody else.
//!
//! # Layout
//!
//! The file `files` holds lines of UTF-8 text. Each one is the CRC-32 (IEEE) of a JSON object, as
//! eight hexadecimal digits, a space, and the object:
//!
//! ```text
//! 5f3c0a91 {"ledger":{"format":1,"base":"/srv/data/events","state":"/srv/…"}}
//! 0b1e4d77 {"file":{"path":"2026-11-22.jsonl","kind":"open","dev":1,"ino":2,"len":0,"end":0,…}}
//! ```
//!
//! - `ledger`: version of the layout, the folder to which paths are relative, and the state folder.
//!   It is the first line, and repeated when one of the folders changes. If only the former has
//!   changed, files are also looked for in the earlier one. If the state folder has another path,
//!   it is a copy, and files at the earlier path belong to the original.
//! - `file`: the latest state of one file, see [`Entry`]. The last line of a path counts.
//! - `series`: highest number of a series of rotated files, so that numbers don't restart.
//! - `clock`: state of the [trusted clock](crate::clock).
//!
//! A torn or damaged line is skipped, so that its file is not recognised any more. A later version
//! of the layout is refused. When most lines are outdated, the start writes a new file beside the
//! old one and renames it.

mod entry;
pub(crate) mod ownership;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use self::entry::{Entry, Kind};
use crate::checksum::checksum;
use crate::clock::TrustedClock;
use crate::disk::{create_private, parent, sync_folder};
use crate::error::FileError;
use crate::names::series;

const FILE: &str = "files";
const FORMAT: u32 = 1;
/// Series without a file whose numbers are kept.
const MAX_SERIES: usize = 1000;

/// Line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Record {
    Ledger { format: u32, base: PathBuf, state: PathBuf },
    File(NamedEntry),
    Series { path: String, number: u64 },
    Clock(TrustedClock),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NamedEntry {
    path: String,
    #[serde(flatten)]
    entry: Entry,
}

/// Record of the files that a sink wrote.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    /// Folder to which the keys of `files` are relative. A key may be an absolute path.
    base: PathBuf,
    extension: String,
    /// Open for appending; `None` until the first line is written.
    file: Option<File>,
    /// Length of the complete lines in the file.
    len: u64,
    files: BTreeMap<String, Entry>,
    /// Highest number of each series, and the order of its last change.
    series: BTreeMap<String, (u64, u64)>,
    /// Number of changes of `series`.
    changes: u64,
    clock: Option<TrustedClock>,
    /// Lines that are not in the file yet.
    queued: String,
    is_synced: bool,
}

/// Checks that no later version wrote the ledger in a state folder, whatever its other lines are.
///
/// # Errors
/// If a later version wrote it, or it can't be read.
pub(crate) fn verify_version(state_dir: &Path) -> Result<(), FileError> {
    let path = state_dir.join(FILE);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(FileError::io("read", &path))?,
    };
    let mut formats = bytes.split_inclusive(|byte| *byte == b'\n').filter_map(parse_format);
    match formats.find(|format| *format > FORMAT) {
        Some(found) => Err(FileError::Newer { path, found, known: FORMAT }),
        None => Ok(()),
    }
}

/// Ledger at the start of a sink.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) ledger: Ledger,
    /// True if there was no ledger: the sink is new, or its state is that of an earlier version.
    pub(crate) is_new: bool,
    /// True if the last header names the present folders.
    pub(crate) is_current: bool,
    /// Folder of the last start, if it is not the present one.
    pub(crate) previous_base: Option<PathBuf>,
}

impl Ledger {
    /// Reads the ledger in a state folder without changing it.
    ///
    /// # Errors
    /// If it can't be read, or a later version wrote it.
    pub(crate) fn load(
        state_dir: &Path,
        base: &Path,
        extension: &str,
    ) -> Result<Loaded, FileError> {
        let path = state_dir.join(FILE);
        let base = std::path::absolute(base).map_err(FileError::io("resolve", base))?;
        let mut ledger = Self {
            path,
            base,
            extension: extension.to_owned(),
            file: None,
            len: 0,
            files: BTreeMap::new(),
            series: BTreeMap::new(),
            changes: 0,
            clock: None,
            queued: String::new(),
            is_synced: true,
        };
        let mut bytes = Vec::new();
        match File::open(&ledger.path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Loaded { ledger, is_new: true, is_current: false, previous_base: None });
            }
            read => read.map_err(FileError::io("read", &ledger.path))?,
        };
        verify_version(state_dir)?;
        let header = ledger.read(&bytes);
        let is_current = header == Some((ledger.base.clone(), ledger.state()));
        let previous_base = header
            .filter(|(base, state)| *base != ledger.base && *state == ledger.state())
            .map(|(base, _)| base);
        Ok(Loaded { ledger, is_new: false, is_current, previous_base })
    }

    /// Reads all lines. Returns the folders that the last header names.
    fn read(&mut self, bytes: &[u8]) -> Option<(PathBuf, PathBuf)> {
        let (mut base, mut damaged) = (None, 0_u64);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match parse(line) {
                Some(Record::Ledger { base: recorded, state, .. }) => {
                    base = Some((recorded, state));
                }
                Some(Record::File(NamedEntry { path, entry })) => self.remember(path, entry),
                Some(Record::Series { path, number }) => self.count(path, number),
                Some(Record::Clock(clock)) => self.clock = Some(clock),
                None => damaged += 1,
            }
        }
        if damaged > 0 {
            tracing::warn!(
                file = %self.path.display(),
                lines = damaged,
                "record of files has damaged lines; the files they name may count as unowned"
            );
        }
        self.len = bytes.len() as u64;
        base
    }

    /// Opens the file for writing, and completes a torn line or replaces an outdated file.
    pub(crate) fn open(&mut self) -> Result<(), FileError> {
        let lines = self.files.len() + self.series.len().min(MAX_SERIES);
        let is_outdated = self.len > 64 << 10 && self.len > 400 * lines as u64;
        if is_outdated {
            self.compact().map_err(FileError::io("replace", &self.path))?;
        }
        let opened = || {
            let mut file = create_private(&self.path)?;
            let bytes = fs::read(&self.path)?;
            if bytes.last().is_some_and(|last| *last != b'\n') {
                file.write_all(b"\n")?;
            }
            let len = file.metadata()?.len();
            io::Result::Ok((file, len))
        };
        let (file, len) = opened().map_err(FileError::io("open", &self.path))?;
        self.file = Some(file);
        self.len = len;
        Ok(())
    }

    /// Writes the folder to which paths are relative.
    pub(crate) fn write_header(&mut self) -> Result<(), FileError> {
        // It comes before the lines that wait.
        let header = line(&self.header());
        self.queued.insert_str(0, &header);
        self.write()?;
        self.sync()?;
        // The name of a new file must be durable before its lines count.
        sync_folder(&self.path)
    }

    /// Writes the file again from memory, after its folder was removed.
    ///
    /// # Errors
    /// If a file operation fails.
    pub(crate) fn restore(&mut self) -> Result<(), FileError> {
        self.compact().map_err(FileError::io("replace", &self.path))?;
        self.queued.clear();
        self.open()
    }

    fn header(&self) -> Record {
        Record::Ledger { format: FORMAT, base: self.base.clone(), state: self.state() }
    }

    /// Returns the absolute path of the state folder.
    fn state(&self) -> PathBuf {
        let folder = parent(&self.path);
        std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
    }

    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// Returns the key of a path.
    pub(crate) fn key(&self, path: &Path) -> String {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let relative = path.strip_prefix(&self.base).unwrap_or(&path);
        relative.to_str().expect("the template and its events are UTF-8").to_owned()
    }

    /// Returns the path of a key.
    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.base.join(key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.files.get(key)
    }

    /// Returns all files.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.files.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    /// Returns the open files of the series whose active file has the key `active`: that file
    /// itself, and files that have had numbers from the start.
    pub(crate) fn open_in_series(&self, active: &str) -> Vec<String> {
        let is_open = |key: &str| self.get(key).is_some_and(|entry| entry.kind == Kind::Open);
        let stem = active.strip_suffix(&*self.extension).unwrap_or(active);
        let from = format!("{stem}.");
        let numbered = self.files.range(from.clone()..).map(|(key, _)| key.as_str());
        let numbered = numbered.take_while(|key| key.starts_with(&from)).filter(|key| {
            series::number_of(key, &self.extension).is_some_and(|(of, _)| of == active)
        });
        let mut open: Vec<_> = numbered.filter(|key| is_open(key)).map(str::to_owned).collect();
        if is_open(active) {
            open.insert(0, active.to_owned());
        }
        open
    }

    /// Returns the highest number that the series of an active file has had.
    pub(crate) fn highest(&self, active: &str) -> u64 {
        self.series.get(active).map_or(0, |(number, _)| *number)
    }

    pub(crate) fn clock(&self) -> Option<TrustedClock> {
        self.clock
    }

    /// Changes the entry of a file. [`write`](Self::write) stores it.
    pub(crate) fn put(&mut self, key: &str, entry: Entry) {
        self.queue(&Record::File(NamedEntry { path: key.to_owned(), entry }));
        self.remember(key.to_owned(), entry);
    }

    /// Changes the entry of a file in memory only.
    pub(crate) fn touch(&mut self, key: &str, entry: Entry) {
        self.remember(key.to_owned(), entry);
    }

    /// Removes a file.
    pub(crate) fn remove(&mut self, key: &str) {
        if let Some(entry) = self.files.get(key).copied() {
            self.put(key, Entry { kind: Kind::Gone, ..entry });
        }
    }

    /// Corrects the dates of files that can't be right by a trusted clock.
    pub(crate) fn correct_dates(&mut self, clock: &TrustedClock) {
        let corrected = self.files.iter().filter_map(|(key, entry)| {
            let newest = clock.corrected(entry.newest)?;
            Some((key.clone(), Entry { newest, ..*entry }))
        });
        for (key, entry) in corrected.collect::<Vec<_>>() {
            self.put(&key, entry);
        }
    }

    pub(crate) fn set_clock(&mut self, clock: TrustedClock) {
        self.queue(&Record::Clock(clock));
        self.clock = Some(clock);
    }

    /// Writes the queued lines.
    ///
    /// # Errors
    /// If they can't be written; they stay queued.
    pub(crate) fn write(&mut self) -> Result<(), FileError> {
        if self.queued.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            self.open()?;
        }
        let file = self.file.as_mut().expect("it was opened above");
        self.is_synced = false;
        if let Err(error) = file.write_all(self.queued.as_bytes()) {
            // If this fails, a part of a line stays, which a reader skips.
            let _ = file.set_len(self.len);
            return Err(FileError::io("write", &self.path)(error));
        }
        self.len += self.queued.len() as u64;
        self.queued.clear();
        Ok(())
    }

    /// Makes the written lines durable.
    pub(crate) fn sync(&mut self) -> Result<(), FileError> {
        if let Some(file) = self.file.as_ref().filter(|_| !self.is_synced) {
            file.sync_data().map_err(FileError::io("sync", &self.path))?;
            self.is_synced = true;
        }
        Ok(())
    }

    fn queue(&mut self, record: &Record) {
        self.queued.push_str(&line(record));
    }

    fn remember(&mut self, key: String, entry: Entry) {
        if let Some((active, number)) = series::number_of(&key, &self.extension) {
            self.count(active, number);
        }
        if entry.kind == Kind::Gone {
            self.files.remove(&key);
        } else {
            self.files.insert(key, entry);
        }
    }

    fn count(&mut self, active: String, number: u64) {
        self.changes += 1;
        let counted = self.series.entry(active).or_insert((0, 0));
        *counted = (counted.0.max(number), self.changes);
    }

    fn compact(&mut self) -> io::Result<()> {
        let mut text = line(&self.header());
        let mut series: Vec<_> = self.series.iter().collect();
        series.sort_by_key(|(_, (_, change))| std::cmp::Reverse(*change));
        series.truncate(MAX_SERIES);
        for (path, (number, _)) in series.into_iter().rev() {
            text.push_str(&line(&Record::Series { path: path.clone(), number: *number }));
        }
        for (path, entry) in &self.files {
            text.push_str(&line(&Record::File(NamedEntry { path: path.clone(), entry: *entry })));
        }
        text.extend(self.clock.map(|clock| line(&Record::Clock(clock))));
        let new = self.path.with_file_name(format!("{FILE}.new"));
        let _ = fs::remove_file(&new);
        let mut file = create_private(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        sync_folder(&self.path).map_err(io::Error::other)
    }
}

fn line(record: &Record) -> String {
    let json = serde_json::to_string(record).expect("numbers and strings serialize to JSON");
    format!("{:08x} {json}\n", checksum(json.as_bytes()))
}

fn parse(line: &[u8]) -> Option<Record> {
    serde_json::from_str(intact(line)?).ok()
}

/// Returns the version of the layout in a header; every version has it in the same place.
fn parse_format(line: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Header {
        ledger: Format,
    }
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    serde_json::from_str::<Header>(intact(line)?).ok().map(|header| header.ledger.format)
}

/// Returns the object in a line whose checksum matches.
fn intact(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, json) = text.split_once(' ')?;
    (u32::from_str_radix(sum, 16) == Ok(checksum(json.as_bytes()))).then_some(json)
}

#[cfg(test)]
mod tests;
