//! What happens to closed files: they are packed, and in the end deleted, on a thread of its own.
//!
//! The writer says which files it has open; these are never touched. It hands a file over when
//! nothing more is written to it and its lines are settled. A file that the writer takes back (an
//! event of an earlier day) is left alone, also when it is half packed.

mod compress;
mod retention;

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::SystemTime;

use jiff::civil::Date;

use self::compress::{Outcome, Owner};
use crate::compression::Compression;
use crate::config::{Retain, Settings};
use crate::disk::{Disk, parent};
use crate::error::FileError;
use crate::names::listing::Listing;

/// What the writer knows when it asks for old files to be deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep {
    /// The day of the newest event.
    pub(crate) latest: Option<Date>,
    pub(crate) now: SystemTime,
}

/// The thread, and the way to talk to it.
#[derive(Debug)]
pub(crate) struct Janitor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What the writer has open.
    in_use: HashSet<PathBuf>,
    /// To be packed. Bounded by the number of files there are.
    closed: BTreeSet<PathBuf>,
    /// Could not be packed; tried again with the next ones.
    failed: BTreeSet<PathBuf>,
    sweep: Option<Sweep>,
    progress: Progress,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Progress {
    #[default]
    Idle,
    Busy,
    Stopping,
}

enum Task {
    Pack(PathBuf),
    Sweep(Sweep),
}

impl Janitor {
    /// Without compression and retention there is nothing to do, and no thread.
    pub(crate) fn start(settings: &Arc<Settings>, disk: &Arc<dyn Disk>) -> Result<Self, FileError> {
        let shared = Arc::new(Shared::default());
        if settings.compression == Compression::None && settings.retain == Retain::default() {
            return Ok(Self { shared, thread: None });
        }
        let (settings, disk, for_thread) =
            (Arc::clone(settings), Arc::clone(disk), Arc::clone(&shared));
        let base = settings.template.base().to_owned();
        let thread = std::thread::Builder::new()
            .name("file-janitor".to_owned())
            .spawn(move || for_thread.run(&settings, &*disk))
            .map_err(FileError::io("start a thread for", &base))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Whether there is anything to do for closed files.
    pub(crate) fn is_needed(&self) -> bool {
        self.thread.is_some()
    }

    /// The writer is about to open this file.
    pub(crate) fn take_back(&self, path: &Path) {
        let mut state = self.shared.lock();
        state.closed.remove(path);
        state.failed.remove(path);
        state.in_use.insert(path.to_owned());
    }

    /// The writer has closed this file.
    pub(crate) fn release(&self, path: &Path) {
        self.shared.lock().in_use.remove(path);
    }

    /// Nothing more is written to these, and their lines are settled.
    pub(crate) fn pack(&self, closed: impl IntoIterator<Item = PathBuf>) {
        if self.thread.is_some() {
            let mut state = self.shared.lock();
            state.closed.extend(closed);
            let failed = std::mem::take(&mut state.failed);
            state.closed.extend(failed);
            self.shared.changed.notify_all();
        }
    }

    pub(crate) fn sweep(&self, sweep: Sweep) {
        if self.thread.is_some() {
            self.shared.lock().sweep = Some(sweep);
            self.shared.changed.notify_all();
        }
    }

    /// Wait until there is nothing left to do.
    #[cfg(test)]
    pub(crate) fn wait(&self) {
        let mut state = self.shared.lock();
        while self.thread.is_some()
            && (state.progress == Progress::Busy
                || !state.closed.is_empty()
                || state.sweep.is_some())
        {
            state = self.shared.changed.wait(state).expect("no one panics while holding this lock");
        }
    }
}

impl Drop for Janitor {
    /// What is half done is left for the next start.
    fn drop(&mut self) {
        self.shared.lock().progress = Progress::Stopping;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that packs files has panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics while holding this lock")
    }

    fn run(&self, settings: &Settings, disk: &dyn Disk) {
        while let Some(task) = self.next(settings) {
            match task {
                Task::Pack(path) => self.pack(&path, settings, disk),
                Task::Sweep(sweep) => {
                    if let Err(error) = self.sweep(sweep, settings, disk) {
                        let base = settings.template.base();
                        tracing::warn!(folder = %base.display(), %error, "old files could not be deleted");
                    }
                }
            }
        }
    }

    fn next(&self, settings: &Settings) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if state.progress == Progress::Stopping {
                return None;
            }
            state.progress = Progress::Busy;
            if settings.compression == Compression::None {
                state.closed.clear();
            }
            // Packed files are smaller: only then is it known what has to go.
            if let Some(path) = state.closed.pop_first() {
                return Some(Task::Pack(path));
            }
            if let Some(sweep) = state.sweep.take() {
                return Some(Task::Sweep(sweep));
            }
            state.progress = Progress::Idle;
            self.changed.notify_all();
            state = self.changed.wait(state).expect("no one panics while holding this lock");
        }
    }

    fn pack(&self, path: &Path, settings: &Settings, disk: &dyn Disk) {
        match compress::pack(path, settings.compression, settings.template.extension(), self, disk)
        {
            Ok(Outcome::Packed) => tracing::debug!(file = %path.display(), "packed"),
            Ok(Outcome::Left) => tracing::debug!(file = %path.display(), "not packed for now"),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "could not be packed, and stays as it is until the next try");
                self.lock().failed.insert(path.to_owned());
            }
        }
    }

    fn sweep(&self, sweep: Sweep, settings: &Settings, disk: &dyn Disk) -> io::Result<()> {
        let files = Listing::read(&settings.template)?.files;
        let base = settings.template.base();
        for found in retention::expired(files, settings.retain, sweep.latest, sweep.now) {
            let mut state = self.lock();
            if state.in_use.contains(&found.path) {
                continue;
            }
            match fs::remove_file(&found.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {
                    tracing::info!(file = %found.path.display(), bytes = found.len, "deleted by retention")
                }
            }
            state.closed.remove(&found.path);
            state.failed.remove(&found.path);
            // A folder of a day or a source that has become empty goes with its last file.
            for folder in found.path.ancestors().skip(1).take_while(|folder| *folder != base) {
                if state.in_use.iter().any(|path| path.starts_with(folder))
                    || fs::remove_dir(folder).is_err()
                {
                    break;
                }
            }
            drop(state);
            // That files go is not urgent, but a folder that isn't there any more can't be synced
            // by name.
            if let Err(error) = disk.sync_folder(parent(&found.path)) {
                tracing::warn!(%error, "a deletion may be undone by a power cut");
            }
        }
        Ok(())
    }
}

impl Owner for Shared {
    fn is_stopping(&self) -> bool {
        self.lock().progress == Progress::Stopping
    }

    fn exclusively<T>(
        &self,
        path: &Path,
        change: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let state = self.lock();
        if state.in_use.contains(path) {
            return Ok(None);
        }
        let changed = change().map(Some);
        drop(state);
        changed
    }
}
