//! Comparison of the ledger with the files on disk.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::disk::{Identity, parent};
use crate::error::FileError;
use crate::ledger::ownership::{Ownership, Seen, end_of, look, ownership};
use crate::ledger::{Entry, Kind, Ledger};
use crate::names::series;
use crate::writer::sidecar::Mark;
use crate::writer::tail::ScanFrom;

/// File that may hold lines past the position.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) path: PathBuf,
    pub(super) from: ScanFrom,
    pub(super) len: u64,
    pub(super) modified: SystemTime,
    /// True if the sink appends to it.
    pub(super) is_open: bool,
}

/// Brings the ledger up to date with the files, and collects those to read.
pub(super) struct Reconciler<'a> {
    ledger: &'a mut Ledger,
    /// Folder of the last start, if it is not the present one.
    previous_base: Option<PathBuf>,
    marks: HashMap<String, Mark>,
    /// Sequence number of the position.
    after: Option<u64>,
    /// Files that were modified since are read.
    since: Option<SystemTime>,
    scans: Vec<Scan>,
    missing: Vec<String>,
    has_found: bool,
}

impl<'a> Reconciler<'a> {
    pub(super) fn new(
        ledger: &'a mut Ledger,
        previous_base: Option<PathBuf>,
        marks: HashMap<String, Mark>,
        after: Option<u64>,
        since: Option<SystemTime>,
    ) -> Self {
        Self {
            ledger,
            previous_base,
            marks,
            after,
            since,
            scans: Vec::new(),
            missing: Vec::new(),
            has_found: false,
        }
    }

    pub(super) fn into_scans(self) -> Vec<Scan> {
        self.scans
    }

    pub(super) fn run(&mut self) -> Result<(), FileError> {
        let files: Vec<_> =
            self.ledger.files().map(|(key, entry)| (key.to_owned(), *entry)).collect();
        for (key, entry) in files {
            match entry.kind {
                Kind::Temporary => self.remove_temporary(&key, &entry),
                Kind::Open => self.reconcile_open(&key, entry)?,
                Kind::Closed | Kind::Packed => self.reconcile_closed(&key, entry),
                Kind::Gone => {}
            }
        }
        // Without any file the folder may be one that is not mounted.
        if self.has_found {
            for key in std::mem::take(&mut self.missing) {
                self.ledger.remove(&key);
            }
        }
        Ok(())
    }

    fn remove_temporary(&mut self, key: &str, entry: &Entry) {
        let path = self.ledger.path(key);
        let seen = look(&path, Some(entry), None).unwrap_or_default();
        if ownership(Some(entry), seen.as_ref()) == Ownership::Own && fs::remove_file(&path).is_ok()
        {
            tracing::info!(
                file = %path.display(),
                "deleted the temporary file of an interrupted compression"
            );
        }
        self.ledger.remove(key);
    }

    /// Finds an open file, which may have been renamed.
    fn reconcile_open(&mut self, key: &str, entry: Entry) -> Result<(), FileError> {
        // A mark of an earlier file with the same name says nothing.
        let mark = self.marks.get(key).filter(|mark| mark.identity == entry.identity);
        // The sidecar covers the lines before the mark. An entry may have been written before it.
        let (is_marked, covered) = (mark.is_some(), mark.map_or(0, |mark| mark.size));
        let marked = mark.filter(|mark| mark.size >= entry.len);
        let marked =
            marked.and_then(|mark| Some(Entry { len: mark.size, end: mark.end?, ..entry }));
        let entry = marked.unwrap_or(entry);
        let path = self.ledger.path(key);
        let seen = look(&path, Some(&entry), self.after).map_err(FileError::io("read", &path))?;
        if ownership(Some(&entry), seen.as_ref()) == Ownership::Own {
            self.has_found = true;
            let seen = seen.expect("a file of the sink exists");
            if seen.identity != entry.identity {
                let entry = Entry { identity: seen.identity, ..entry };
                self.ledger.put(key, entry);
            }
            self.scan(&path, &Entry { len: covered, ..entry }, is_marked, true);
            return Ok(());
        }
        if let Some(renamed) = find_renamed(&path, &entry) {
            self.has_found = true;
            self.scan(&renamed, &Entry { len: covered, ..entry }, true, false);
            self.ledger.remove(key);
            let (new, extension) = (self.ledger.key(&renamed), extension_of(key));
            // Other programs rename files to names of their own, which are theirs.
            if series::number_of(&new, extension).is_some_and(|(active, _)| active == key)
                && let Ok(closed) = closed(&renamed, entry)
            {
                self.ledger.put(&new, closed);
            }
            return Ok(());
        }
        if self.find_in_previous_base(key, entry, Some(covered)) {
            return Ok(());
        }
        if seen.is_some() {
            tracing::warn!(
                file = %path.display(),
                "another file has taken the name of an open file; it is left alone"
            );
            self.ledger.remove(key);
        } else {
            self.missing.push(key.to_owned());
        }
        Ok(())
    }

    fn reconcile_closed(&mut self, key: &str, entry: Entry) {
        let path = self.ledger.path(key);
        let modified = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
        match modified {
            Ok(modified) => {
                self.has_found = true;
                let is_new = self.since.is_none_or(|since| modified >= since);
                // It was open at the last flush and rotated since.
                let mark = self.marks.values().find(|mark| mark.identity == entry.identity);
                let from = mark.map_or(0, |mark| mark.size);
                if entry.kind == Kind::Closed && (is_new || mark.is_some()) {
                    let seen = look(&path, Some(&entry), None).unwrap_or_default();
                    if ownership(Some(&entry), seen.as_ref()) == Ownership::Own {
                        self.scan(&path, &Entry { len: from, ..entry }, true, false);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !self.find_in_previous_base(key, entry, None) {
                    self.missing.push(key.to_owned());
                }
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a closed file can't be inspected");
            }
        }
    }

    /// Looks for a file in the folder of the last start. It stays there, and is closed. An open one
    /// is read from the length that the sidecar covers.
    fn find_in_previous_base(&mut self, key: &str, entry: Entry, covered: Option<u64>) -> bool {
        let Some(path) = self.previous_base.as_ref().map(|base| base.join(key)) else {
            return false;
        };
        let seen = look(&path, Some(&entry), self.after).unwrap_or_default();
        if ownership(Some(&entry), seen.as_ref()) != Ownership::Own {
            return false;
        }
        self.ledger.remove(key);
        let new = self.ledger.key(&path);
        if let Some(len) = covered {
            self.scan(&path, &Entry { len, ..entry }, true, false);
        }
        match if covered.is_some() { closed(&path, entry) } else { Ok(entry) } {
            Ok(entry) => self.ledger.put(&new, entry),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a closed file can't be read");
            }
        }
        true
    }

    /// Reads a file from the length of the entry on, if it may have been changed since. A file that
    /// was emptied in place is read from its start.
    fn scan(&mut self, path: &Path, entry: &Entry, is_marked: bool, is_open: bool) {
        let Ok(metadata) = fs::metadata(path) else { return };
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let is_new = self.since.is_none_or(|since| modified >= since);
        let has_new_identity = entry.identity != Identity::of(&metadata);
        if is_marked || is_new || has_new_identity {
            let len = metadata.len();
            let from = ScanFrom::Line(if len < entry.len { 0 } else { entry.len });
            let path = path.to_owned();
            self.scans.push(Scan { path, from, len, modified, is_open });
        }
    }
}

/// Finds an open file that was renamed in its folder, by its inode and its contents.
fn find_renamed(path: &Path, entry: &Entry) -> Option<PathBuf> {
    let siblings = fs::read_dir(parent(path)).ok()?;
    siblings.filter_map(|sibling| Some(sibling.ok()?.path())).find(|sibling| {
        let is_same = |seen: Seen| {
            seen.identity == entry.identity
                && seen.len >= entry.len
                && seen.len > 0
                && ownership(Some(entry), Some(&seen)) == Ownership::Own
        };
        let has_identity = fs::symlink_metadata(sibling)
            .is_ok_and(|metadata| Identity::of(&metadata) == entry.identity);
        has_identity && look(sibling, Some(entry), None).ok().flatten().is_some_and(is_same)
    })
}

/// Returns the entry of an open file that is complete.
fn closed(path: &Path, entry: Entry) -> io::Result<Entry> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let len = metadata.len();
    let end = end_of(&file, Kind::Closed, len, len)?.unwrap_or_default();
    Ok(Entry { kind: Kind::Closed, identity: Identity::of(&metadata), len, end, ..entry })
}

fn extension_of(key: &str) -> &str {
    key.rfind('.').map_or("", |dot| &key[dot..])
}
