//! The active files: opened on demand, limited in number, and rotated when they are full.

mod opening;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::civil::Date;
use observer_core::Uuid;

use crate::clock::{TOLERANCE, TrustedClock};
use crate::config::Settings;
use crate::disk::{Disk, parent, rename_new};
use crate::error::FileError;
use crate::ledger::ownership::{Ownership, end_of, look, ownership};
use crate::ledger::{Entry, Kind, Ledger};
use crate::names::listing::match_path;
use crate::names::series;
use crate::names::template::Days;
use crate::siblings::Surroundings;
use crate::sync::lock;
use crate::writer::open_file::{AtPath, Closing, OpenFile};
use crate::writer::sidecar::Mark;

/// Lines of a batch that belong to one active file.
#[derive(Debug)]
pub(crate) struct Portion {
    /// Path of the template.
    pub(crate) path: PathBuf,
    /// Days in the name.
    pub(crate) days: Days,
    pub(crate) bytes: Vec<u8>,
    pub(crate) lines: Vec<PortionLine>,
}

/// Line of a portion.
#[derive(Debug)]
pub(crate) struct PortionLine {
    /// Offset of its end in the bytes of the portion.
    pub(crate) end: usize,
    /// Sequence number and id of the event.
    pub(crate) event: (u64, Uuid),
    /// Time of receipt in seconds since 1970.
    pub(crate) received: i64,
    /// Date of the event by the trusted time, in seconds since 1970.
    pub(crate) date: i64,
}

/// Failure to write a portion completely.
#[derive(Debug)]
pub(crate) struct PartialWrite {
    /// Number of lines that were written.
    pub(crate) written: usize,
    pub(crate) error: FileError,
}

/// Time at which files are complete or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Day of the newest event.
    pub(crate) today: Date,
    /// Date of the newest event, in seconds since 1970.
    pub(crate) date: i64,
    /// Monotonic time.
    pub(crate) elapsed: Duration,
    /// Time in seconds since 1970; a file with older events only is complete.
    pub(crate) expired: Option<i64>,
}

pub(crate) struct ActiveFiles {
    settings: Arc<Settings>,
    disk: Arc<dyn Disk>,
    ledger: Arc<Mutex<Ledger>>,
    surroundings: Surroundings,
    /// Open files by the path of the template. The file itself may have a number.
    open: HashMap<PathBuf, OpenFile>,
    /// Files that were closed because of `max_open_files` and still need a sync.
    evicted: BTreeSet<PathBuf>,
    /// Lengths of the files that were closed because of `max_open_files`.
    lengths: HashMap<PathBuf, u64>,
    /// Folders whose names have changed since the last sync.
    folders: BTreeSet<PathBuf>,
    /// Number of files closed since the last call of [`ActiveFiles::take_closed_count`].
    closed_count: usize,
    /// Trusted time, in seconds since 1970.
    pub(crate) trusted: i64,
    /// Counter of uses, by which the least recently used file is found.
    uses: u64,
}

impl ActiveFiles {
    pub(crate) fn new(
        settings: Arc<Settings>,
        disk: Arc<dyn Disk>,
        ledger: Arc<Mutex<Ledger>>,
        surroundings: Surroundings,
    ) -> Self {
        Self {
            settings,
            disk,
            ledger,
            surroundings,
            open: HashMap::new(),
            evicted: BTreeSet::new(),
            lengths: HashMap::new(),
            folders: BTreeSet::new(),
            closed_count: 0,
            trusted: i64::MAX,
            uses: 0,
        }
    }

    /// Writes the lines of a portion, with one write for each file.
    pub(crate) fn append(&mut self, portion: &Portion) -> Result<(), PartialWrite> {
        let (mut written, mut start) = (0, 0);
        while written < portion.lines.len() {
            match self.append_run(portion, written, start) {
                Ok(run) => {
                    written += run;
                    start = portion.lines[written - 1].end;
                }
                Err(error) => return Err(PartialWrite { written, error }),
            }
        }
        Ok(())
    }

    /// Writes the lines that belong into the same file, at least one. Returns their number.
    fn append_run(
        &mut self,
        portion: &Portion,
        first: usize,
        start: usize,
    ) -> Result<usize, FileError> {
        let path = portion.path.as_path();
        self.prepare(path, portion.days)?;
        if self.run_length(portion, first, start) == 0 {
            self.rotate(path)?;
            self.prepare(path, portion.days)?;
        }
        let run = self.run_length(portion, first, start).max(1);
        let file = self.open.get_mut(path).expect("the file was prepared above");
        let lines = &portion.lines[first..first + run];
        let last_line = if run > 1 { lines[run - 2].end - start } else { 0 };
        file.append(&*self.disk, &portion.bytes[start..lines[run - 1].end], last_line)?;
        let newest = lines.iter().map(|line| line.date).max().unwrap_or(0);
        file.newest = file.newest.max(newest);
        let windows = lines.iter().map(|line| self.window(line.received));
        let newest = windows.max().flatten();
        let file = self.open.get_mut(path).expect("the file was prepared above");
        file.window = file.window.max(newest);
        Ok(run)
    }

    /// Returns the number of lines that fit into the file before it must be rotated.
    fn run_length(&self, portion: &Portion, first: usize, mut start: usize) -> usize {
        let file = self.open.get(&portion.path).expect("the caller has prepared the file");
        let (mut size, mut window) = (file.len(), file.window);
        for (run, line) in portion.lines[first..].iter().enumerate() {
            let length = (line.end - start) as u64;
            let is_full =
                self.settings.max_size.is_some_and(|max_size| size + length > max_size.get());
            let line_window = self.window(line.received);
            let is_over = window.is_some_and(|window| line_window.is_some_and(|its| its > window));
            if size > 0 && (is_full || is_over) {
                return run;
            }
            size += length;
            start = line.end;
            window = window.max(line_window);
        }
        portion.lines.len() - first
    }

    /// Returns the number of the time window that contains a second.
    fn window(&self, second: i64) -> Option<i64> {
        self.settings.window.map(|length| second.div_euclid(length.get()))
    }

    /// Opens the file unless it is open and as this process left it.
    fn prepare(&mut self, path: &Path, days: Days) -> Result<(), FileError> {
        self.uses += 1;
        if let Some(file) = self.open.get_mut(path) {
            file.last_use = self.uses;
            let at_path = file.compare_with_path()?;
            match at_path {
                AtPath::Same => return Ok(()),
                AtPath::Emptied => {
                    let entry = file.entry(Kind::Open);
                    let mut ledger = lock(&self.ledger);
                    let key = ledger.key(file.path());
                    ledger.put(&key, entry);
                    return ledger.write();
                }
                AtPath::Changed { found } => {
                    warn_of_change(file.path(), file.len(), found);
                    file.sync_foreign(&*self.disk)?;
                }
                AtPath::Gone => {
                    tracing::info!(
                        file = %file.path().display(),
                        "another program renamed or deleted an open file; continuing in a new file"
                    );
                    file.sync(&*self.disk)?;
                }
            }
            let mut ledger = lock(&self.ledger);
            let key = ledger.key(file.path());
            ledger.remove(&key);
            self.open.remove(path);
        }
        while self.open.len() >= self.settings.max_open_files {
            self.evict()?;
        }
        let mut file = match self.open_file(path) {
            // The janitor may have deleted an empty folder meanwhile.
            Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.open_file(path)?
            }
            opened => opened?,
        };
        let is_numbered = file.path() != path;
        file.last_use = self.uses;
        file.closing = closing(days, is_numbered);
        self.open.insert(path.to_owned(), file);
        Ok(())
    }

    fn next_number(&self, path: &Path) -> Result<u64, FileError> {
        let extension = self.settings.template.extension();
        let on_disk = series::next_index(path, extension)
            .map_err(FileError::io("list the folder of", path))?;
        let ledger = lock(&self.ledger);
        Ok(on_disk.max(ledger.highest(&ledger.key(path)) + 1))
    }

    /// Closes the handle of the least recently used file.
    fn evict(&mut self) -> Result<(), FileError> {
        let Some((template_path, file)) =
            self.open.iter_mut().min_by_key(|(_, file)| file.last_use)
        else {
            return Ok(());
        };
        file.remove_torn_end(&*self.disk)?;
        let template_path = template_path.clone();
        if !file.is_synced() {
            self.evicted.insert(file.path().to_owned());
        }
        self.lengths.insert(file.path().to_owned(), file.len());
        let mut ledger = lock(&self.ledger);
        let key = ledger.key(file.path());
        if let Some(entry) = ledger.get(&key).copied().filter(|entry| entry.newest < file.newest) {
            // The length of an entry must be durable.
            let dated = Entry { newest: file.newest, ..entry };
            if dated.newest - entry.newest > TOLERANCE {
                ledger.put(&key, dated);
            } else {
                ledger.touch(&key, dated);
            }
        }
        self.open.remove(&template_path);
        Ok(())
    }

    /// Syncs the active file, renames it to the next number of its series and closes it. A file
    /// that has a number keeps it.
    fn rotate(&mut self, path: &Path) -> Result<(), FileError> {
        let mut number = self.next_number(path)?;
        let file = self.open.get_mut(path).expect("the caller has prepared the file");
        file.sync(&*self.disk)?;
        let mut rotated = file.path().to_owned();
        if rotated == path {
            let extension = self.settings.template.extension();
            // Another sink or program may have taken the number meanwhile.
            rotated = loop {
                let target = series::rotated(path, extension, number);
                match rename_new(path, &target) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                    renamed => break renamed.map(|()| target),
                }
            }
            .map_err(FileError::io("rename", path))?;
            self.folders.insert(parent(path).to_owned());
        }
        let file = self.open.remove(path).expect("it was found above");
        let mut ledger = lock(&self.ledger);
        let (old, new) = (ledger.key(path), ledger.key(&rotated));
        if old != new {
            ledger.remove(&old);
        }
        ledger.put(&new, file.entry(Kind::Closed));
        if let Err(error) = ledger.write() {
            tracing::warn!(%error, "record of a rotated file can't be stored yet");
        }
        tracing::debug!(file = %rotated.display(), "rotated a file");
        self.closed_count += 1;
        Ok(())
    }

    /// Makes all lines and the names of all files durable.
    pub(crate) fn sync(&mut self) -> Result<(), FileError> {
        for file in self.open.values_mut() {
            file.sync(&*self.disk)?;
        }
        while let Some(path) = self.evicted.first() {
            match fs::File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => opened
                    .and_then(|file| self.disk.sync(&file))
                    .map_err(FileError::io("sync", path))?,
            }
            self.evicted.pop_first();
        }
        while let Some(folder) = self.folders.first() {
            self.disk.sync_folder(folder)?;
            self.folders.pop_first();
        }
        Ok(())
    }

    /// Records the new lengths of files, after they were synced. The names of new files must be
    /// durable before their lines count.
    pub(crate) fn record(&mut self) {
        let mut ledger = lock(&self.ledger);
        for file in self.open.values().filter(|file| file.is_synced() && file.len() > 0) {
            let key = ledger.key(file.path());
            let is_outdated =
                |entry: &Entry| entry.len == 0 || file.newest - entry.newest > TOLERANCE;
            if ledger.get(&key).is_some_and(is_outdated) {
                ledger.put(&key, file.entry(Kind::Open));
            }
        }
        if let Err(error) = ledger.write().and_then(|()| ledger.sync()) {
            tracing::warn!(%error, "record of files can't be stored; it is repeated");
        }
    }

    /// Corrects the dates of open files that can't be right.
    pub(crate) fn correct_dates(&mut self, clock: &TrustedClock) {
        for file in self.open.values_mut() {
            file.newest = clock.corrected(file.newest).unwrap_or(file.newest);
        }
    }

    /// Closes the synced files that are complete.
    pub(crate) fn close_complete(&mut self, moment: Moment) {
        let Moment { today, date, elapsed, expired } = moment;
        let mut ledger = lock(&self.ledger);
        let is_expired = |newest: i64| expired.is_some_and(|expired| newest < expired);
        let closed = &mut self.closed_count;
        self.open.retain(|_, file| {
            let idle = elapsed.saturating_sub(*file.idle_since.get_or_insert(elapsed));
            let is_due = file.closing.is_due(today, idle) || is_expired(file.newest);
            if is_due && file.is_synced() {
                let key = ledger.key(file.path());
                ledger.put(&key, file.entry(Kind::Closed));
                *closed += 1;
                return false;
            }
            true
        });
        let open: HashSet<_> = self.open.values().map(|file| ledger.key(file.path())).collect();
        let complete: Vec<_> = ledger
            .files()
            .filter(|(key, entry)| entry.kind == Kind::Open && !open.contains(*key))
            .filter(|(key, entry)| {
                let idle = u64::try_from(date.saturating_sub(entry.newest)).unwrap_or(0);
                // A file of another template gets no more lines.
                match_path(&self.settings.template, key).is_none_or(|matched| {
                    let closing = closing(matched.days, matched.index.is_some());
                    closing.is_due(today, Duration::from_secs(idle)) || is_expired(entry.newest)
                })
            })
            .map(|(key, entry)| (key.to_owned(), *entry))
            .collect();
        for (key, entry) in complete {
            self.lengths.remove(&ledger.path(&key));
            match close_unopened(&ledger.path(&key), entry) {
                Ok(Some(closed)) => ledger.put(&key, closed),
                Ok(None) => ledger.remove(&key),
                Err(error) => tracing::warn!(file = key, %error, "a file can't be closed yet"),
            }
            self.closed_count += 1;
        }
    }

    pub(crate) fn closed_count(&self) -> usize {
        self.closed_count
    }

    /// Returns the number of files that were rotated or closed since the last call.
    pub(crate) fn take_closed_count(&mut self) -> usize {
        std::mem::take(&mut self.closed_count)
    }

    /// Returns the sidecar entries of the open files.
    pub(crate) fn marks(&self) -> Vec<Mark> {
        let ledger = lock(&self.ledger);
        self.open.values().map(|file| file.mark(ledger.key(file.path()))).collect()
    }

    #[cfg(test)]
    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }
}

fn warn_of_change(path: &Path, expected: u64, found: u64) {
    tracing::warn!(
        file = %path.display(),
        expected,
        found,
        "another program changed an open file; it is left alone, continuing in a numbered file"
    );
}

fn closing(days: Days, is_numbered: bool) -> Closing {
    match days.closing() {
        None => Closing::Never,
        Some(day) if is_numbered || days.received.is_none() => Closing::WhenIdle(day),
        Some(day) => Closing::AfterDay(day),
    }
}

/// Returns the entry of a file that is complete and not open; `None` if it isn't the sink's.
fn close_unopened(path: &Path, entry: Entry) -> io::Result<Option<Entry>> {
    let seen = look(path, Some(&entry), None)?;
    if ownership(Some(&entry), seen.as_ref()) != Ownership::Own {
        return Ok(None);
    }
    let file = fs::File::open(path)?;
    let len = file.metadata()?.len();
    let end = end_of(&file, Kind::Closed, len, len)?.unwrap_or_default();
    Ok(Some(Entry { kind: Kind::Closed, len, end, ..entry }))
}
