//! The active files: opened when they are needed, at most so many at a time, and put aside when
//! they are full.

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

/// The lines of a batch that go to one series.
#[derive(Debug)]
pub(crate) struct Portion {
    pub(crate) path: PathBuf,
    /// The day in the name, where it has one.
    pub(crate) date: Option<Date>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) lines: Vec<PortionLine>,
}

/// Where in the portion a line ends, and which event it is.
#[derive(Debug)]
pub(crate) struct PortionLine {
    pub(crate) end: usize,
    pub(crate) event: (u64, Uuid),
    /// When it was received, in seconds since 1970.
    pub(crate) received: i64,
}

/// Only so many lines of a portion were written.
#[derive(Debug)]
pub(crate) struct Stuck {
    pub(crate) written: usize,
    pub(crate) error: FileError,
}

pub(crate) struct Files {
    settings: Arc<Settings>,
    disk: Arc<dyn Disk>,
    janitor: Janitor,
    open: HashMap<PathBuf, OpenFile>,
    /// Closed to make room for others, and not synced yet.
    evicted: BTreeSet<PathBuf>,
    /// Folders in which names have changed since they were synced.
    folders: BTreeSet<PathBuf>,
    /// How many were put aside since that was last asked for.
    put_aside: usize,
    uses: u64,
}

impl Files {
    pub(crate) fn new(settings: Arc<Settings>, disk: Arc<dyn Disk>, janitor: Janitor) -> Self {
        Self {
            settings,
            disk,
            janitor,
            open: HashMap::new(),
            evicted: BTreeSet::new(),
            folders: BTreeSet::new(),
            put_aside: 0,
            uses: 0,
        }
    }

    pub(crate) fn janitor(&self) -> &Janitor {
        &self.janitor
    }

    /// Write the lines, with one call for each file that they go to.
    pub(crate) fn append(&mut self, portion: &Portion) -> Result<(), Stuck> {
        let (mut written, mut start) = (0, 0);
        while written < portion.lines.len() {
            match self.append_run(portion, written, start) {
                Ok(run) => {
                    written += run;
                    start = portion.lines[written - 1].end;
                }
                Err(error) => return Err(Stuck { written, error }),
            }
        }
        Ok(())
    }

    /// Write as many lines as belong into the same file, at least one; gives how many.
    fn append_run(
        &mut self,
        portion: &Portion,
        first: usize,
        start: usize,
    ) -> Result<usize, FileError> {
        let path = portion.path.as_path();
        self.ready(path, portion.date)?;
        if self.run(portion, first, start) == 0 {
            self.rotate(path)?;
            self.ready(path, portion.date)?;
        }
        let run = self.run(portion, first, start).max(1);
        let file = self.open.get_mut(path).expect("it was made ready above");
        let last = &portion.lines[first + run - 1];
        file.append(&*self.disk, &portion.bytes[start..last.end])?;
        let windows =
            portion.lines[first..first + run].iter().map(|line| self.window(line.received));
        let newest = windows.max().flatten();
        let file = self.open.get_mut(path).expect("it was written to above");
        file.window = file.window.max(newest);
        Ok(run)
    }

    /// How many lines the file takes before it has to be rotated.
    fn run(&self, portion: &Portion, first: usize, mut start: usize) -> usize {
        let file = self.open.get(&portion.path).expect("it was made ready before");
        let (mut size, mut window) = (file.len(), file.window);
        for (run, line) in portion.lines[first..].iter().enumerate() {
            let length = (line.end - start) as u64;
            let is_full =
                self.settings.max_size.is_some_and(|max_size| size + length > max_size.get());
            let its_window = self.window(line.received);
            let is_over = window.is_some_and(|window| its_window.is_some_and(|its| its > window));
            if size > 0 && (is_full || is_over) {
                return run;
            }
            size += length;
            start = line.end;
            window = window.max(its_window);
        }
        portion.lines.len() - first
    }

    /// The number of the window that this second lies in.
    fn window(&self, second: i64) -> Option<i64> {
        self.settings.window.map(|length| second.div_euclid(length.get()))
    }

    /// Have the file open, and make sure that the path still names it.
    fn ready(&mut self, path: &Path, date: Option<Date>) -> Result<(), FileError> {
        self.uses += 1;
        if let Some(file) = self.open.get_mut(path) {
            file.used = self.uses;
            if file.is_where_it_was()? {
                return Ok(());
            }
            tracing::info!(file = %path.display(), "renamed or deleted by someone else; going on in a new file");
            file.sync(&*self.disk)?;
            self.forget(path);
        }
        while self.open.len() >= self.settings.max_open_files {
            self.evict()?;
        }
        self.janitor.take_back(path);
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
        self.make_folders(path)?;
        let opened = OpenFile::open(path)?;
        if opened.is_new {
            self.folders.insert(parent(path).to_owned());
        }
        let mut file = opened.file;
        if self.evicted.remove(path) {
            file.sync_is_due();
        }
        file.used = self.uses;
        file.date = date;
        file.window = opened.last.and_then(|line| self.window(line.received_at.as_second()));
        Ok(file)
    }

    /// Names that are made of events don't follow links: they could lead out of the base.
    fn make_folders(&mut self, path: &Path) -> Result<(), FileError> {
        let template = &self.settings.template;
        let mut place = template.base().to_owned();
        self.folders.extend(create_folders(&place)?);
        let names = path.strip_prefix(&place).expect("the template put the base in front");
        let last = template.components().len() - 1;
        for (level, (name, pieces)) in names.components().zip(template.components()).enumerate() {
            place.push(name);
            if level < last {
                match fs::create_dir(&place) {
                    Ok(()) => {
                        self.folders.insert(parent(&place).to_owned());
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(FileError::io("create the folder", &place)(error)),
                }
            }
            let is_made_of_events = pieces.iter().any(|piece| !matches!(piece, Piece::Literal(_)));
            let is_link = |path: &Path| {
                fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
            };
            if is_made_of_events && is_link(&place) {
                return Err(FileError::Link { path: place });
            }
        }
        Ok(())
    }

    fn evict(&mut self) -> Result<(), FileError> {
        let Some(file) = self.open.values_mut().min_by_key(|file| file.used) else { return Ok(()) };
        file.cut_torn_end(&*self.disk)?;
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

    /// Put the active file aside under the next number. It is durable before the next one begins.
    fn rotate(&mut self, path: &Path) -> Result<(), FileError> {
        let extension = self.settings.template.extension();
        let file = self.open.get_mut(path).expect("only a file that is open is full");
        file.sync(&*self.disk)?;
        let index = series::next_index(path, extension)
            .map_err(FileError::io("list the folder of", path))?;
        let aside = series::rotated(path, extension, index);
        fs::rename(path, &aside).map_err(FileError::io("rename", path))?;
        self.folders.insert(parent(path).to_owned());
        self.forget(path);
        tracing::debug!(file = %aside.display(), "rotated");
        self.put_aside += 1;
        Ok(())
    }

    /// Make all that was written durable, with its names.
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

    /// Close the files of days before `latest`, after they were synced.
    pub(crate) fn close_before(&mut self, latest: Date) {
        let past =
            |file: &&OpenFile| file.is_synced() && file.date.is_some_and(|date| date < latest);
        let past: Vec<_> =
            self.open.values().filter(past).map(|file| file.path().to_owned()).collect();
        for path in past {
            self.forget(&path);
            self.put_aside += 1;
        }
    }

    /// How many files were put aside since the last time.
    pub(crate) fn take_put_aside(&mut self) -> usize {
        std::mem::take(&mut self.put_aside)
    }

    /// Up to where the open files are whole.
    pub(crate) fn marks(&self) -> Vec<Mark> {
        self.open.values().map(OpenFile::mark).collect()
    }

    #[cfg(test)]
    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }
}
