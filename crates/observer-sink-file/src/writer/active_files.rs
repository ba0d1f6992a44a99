//! The active files: opened on demand, limited in number, and rotated when they are full.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;
use observer_core::Uuid;

use crate::config::Settings;
use crate::disk::{Disk, create_folders, parent};
use crate::error::FileError;
use crate::janitor::Janitor;
use crate::names::series;
use crate::names::template::Piece;
use crate::writer::open_file::OpenFile;
use crate::writer::sidecar::Mark;

/// Lines of a batch that belong to one active file.
#[derive(Debug)]
pub(crate) struct Portion {
    pub(crate) path: PathBuf,
    /// Day in the name, if the template has one.
    pub(crate) date: Option<Date>,
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
}

/// Failure to write a portion completely.
#[derive(Debug)]
pub(crate) struct PartialWrite {
    /// Number of lines that were written.
    pub(crate) written: usize,
    pub(crate) error: FileError,
}

pub(crate) struct ActiveFiles {
    settings: Arc<Settings>,
    disk: Arc<dyn Disk>,
    janitor: Janitor,
    open: HashMap<PathBuf, OpenFile>,
    /// Files that were closed because of `max_open_files` and still need a sync.
    evicted: BTreeSet<PathBuf>,
    /// Folders whose names have changed since the last sync.
    folders: BTreeSet<PathBuf>,
    /// Number of files closed since [`ActiveFiles::take_closed_count`] was last called.
    closed_count: usize,
    /// Counter of uses, by which the least recently used file is found.
    uses: u64,
}

impl ActiveFiles {
    pub(crate) fn new(settings: Arc<Settings>, disk: Arc<dyn Disk>, janitor: Janitor) -> Self {
        Self {
            settings,
            disk,
            janitor,
            open: HashMap::new(),
            evicted: BTreeSet::new(),
            folders: BTreeSet::new(),
            closed_count: 0,
            uses: 0,
        }
    }

    pub(crate) fn janitor(&self) -> &Janitor {
        &self.janitor
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
        self.prepare(path, portion.date)?;
        if self.run_length(portion, first, start) == 0 {
            self.rotate(path)?;
            self.prepare(path, portion.date)?;
        }
        let run = self.run_length(portion, first, start).max(1);
        let file = self.open.get_mut(path).expect("the file was prepared above");
        let last = &portion.lines[first + run - 1];
        file.append(&*self.disk, &portion.bytes[start..last.end])?;
        let windows =
            portion.lines[first..first + run].iter().map(|line| self.window(line.received));
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

    /// Opens the file unless it is open and its path still refers to it.
    fn prepare(&mut self, path: &Path, date: Option<Date>) -> Result<(), FileError> {
        self.uses += 1;
        if let Some(file) = self.open.get_mut(path) {
            file.last_use = self.uses;
            if file.is_still_at_path()? {
                return Ok(());
            }
            tracing::info!(
                file = %path.display(),
                "another program renamed or deleted an open file; continuing in a new file"
            );
            file.sync(&*self.disk)?;
            self.forget(path);
        }
        while self.open.len() >= self.settings.max_open_files {
            self.evict()?;
        }
        self.janitor.acquire(path);
        match self.open_file(path, date) {
            Ok(file) => {
                self.open.insert(path.to_owned(), file);
                Ok(())
            }
            Err(error) => {
                self.janitor.release(path);
                Err(error)
            }
        }
    }

    fn open_file(&mut self, path: &Path, date: Option<Date>) -> Result<OpenFile, FileError> {
        self.create_parents(path)?;
        let opened = OpenFile::open(path)?;
        if opened.is_new {
            self.folders.insert(parent(path).to_owned());
        }
        let mut file = opened.file;
        if self.evicted.remove(path) {
            file.mark_unsynced();
        }
        file.last_use = self.uses;
        file.date = date;
        file.window = opened.last.and_then(|line| self.window(line.received_at.as_second()));
        Ok(file)
    }

    /// Creates the folders of a path. Components that contain a placeholder must not be links,
    /// which could lead out of the base.
    fn create_parents(&mut self, path: &Path) -> Result<(), FileError> {
        let template = &self.settings.template;
        let mut current = template.base().to_owned();
        self.folders.extend(create_folders(&current)?);
        let names = path.strip_prefix(&current).expect("a rendered path starts with the base");
        let last = template.components().len() - 1;
        for (level, (name, pieces)) in names.components().zip(template.components()).enumerate() {
            current.push(name);
            if level < last {
                match fs::create_dir(&current) {
                    Ok(()) => {
                        self.folders.insert(parent(&current).to_owned());
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(FileError::io("create the folder", &current)(error)),
                }
            }
            let has_placeholder = pieces.iter().any(|piece| !matches!(piece, Piece::Literal(_)));
            let is_link = |path: &Path| {
                fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
            };
            if has_placeholder && is_link(&current) {
                return Err(FileError::Link { path: current });
            }
        }
        Ok(())
    }

    /// Closes the least recently used file.
    fn evict(&mut self) -> Result<(), FileError> {
        let Some(file) = self.open.values_mut().min_by_key(|file| file.last_use) else {
            return Ok(());
        };
        file.remove_torn_end(&*self.disk)?;
        let path = file.path().to_owned();
        if !file.is_synced() {
            self.evicted.insert(path.clone());
        }
        self.forget(&path);
        Ok(())
    }

    fn forget(&mut self, path: &Path) {
        self.open.remove(path);
        self.janitor.release(path);
    }

    /// Syncs the active file, renames it to the next number of its series and closes it.
    fn rotate(&mut self, path: &Path) -> Result<(), FileError> {
        let extension = self.settings.template.extension();
        let file = self.open.get_mut(path).expect("the caller has prepared the file");
        file.sync(&*self.disk)?;
        let index = series::next_index(path, extension)
            .map_err(FileError::io("list the folder of", path))?;
        let rotated = series::rotated(path, extension, index);
        fs::rename(path, &rotated).map_err(FileError::io("rename", path))?;
        self.folders.insert(parent(path).to_owned());
        self.forget(path);
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
            match fs::File::options().append(true).open(path) {
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

    /// Closes the synced files of days before `latest`.
    pub(crate) fn close_before(&mut self, latest: Date) {
        let is_past =
            |file: &&OpenFile| file.is_synced() && file.date.is_some_and(|date| date < latest);
        let past_files: Vec<_> =
            self.open.values().filter(is_past).map(|file| file.path().to_owned()).collect();
        for path in past_files {
            self.forget(&path);
            self.closed_count += 1;
        }
    }

    /// Returns the number of files that were rotated or closed since the last call.
    pub(crate) fn take_closed_count(&mut self) -> usize {
        std::mem::take(&mut self.closed_count)
    }

    /// Returns the sidecar entries of the open files.
    pub(crate) fn marks(&self) -> Vec<Mark> {
        self.open.values().map(OpenFile::mark).collect()
    }

    #[cfg(test)]
    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }
}
