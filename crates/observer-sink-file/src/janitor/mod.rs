//! Maintenance of closed files on a thread of its own: compression and retention.
//!
//! The writer acquires each file that it opens, and the janitor leaves these files alone. The
//! writer schedules a file for compression when nothing more is written to it and the sidecar
//! covers its lines. If the writer acquires a file again (for a late event of an earlier day), a
//! compression that is under way is discarded.

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

use self::compress::{Compressed, WriterLock};
use crate::compression::Compression;
use crate::config::{Retain, Settings};
use crate::disk::{Disk, parent};
use crate::error::FileError;
use crate::names::listing::Listing;
use crate::sync::{lock, wait};

/// Request to delete old files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep {
    /// Day of the newest event.
    pub(crate) latest: Option<Date>,
    pub(crate) now: SystemTime,
}

/// Handle of the thread. Dropping it stops the thread; unfinished work is left for the next start.
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
    /// Files that the writer has open.
    in_use: HashSet<PathBuf>,
    /// Files to compress. Bounded by the number of files on disk.
    closed: BTreeSet<PathBuf>,
    /// Files whose compression failed; it is repeated with the next closed files.
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
    Compress(PathBuf),
    Sweep(Sweep),
}

impl Janitor {
    /// Starts the thread, unless neither compression nor retention is configured.
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

    /// Returns whether compression or retention is configured.
    pub(crate) fn is_needed(&self) -> bool {
        self.thread.is_some()
    }

    /// Excludes a file that the writer is about to open from compression and deletion.
    pub(crate) fn acquire(&self, path: &Path) {
        let mut state = self.shared.lock();
        state.closed.remove(path);
        state.failed.remove(path);
        state.in_use.insert(path.to_owned());
    }

    /// Reverses [`Janitor::acquire`] after the writer has closed the file.
    pub(crate) fn release(&self, path: &Path) {
        self.shared.lock().in_use.remove(path);
    }

    /// Schedules the compression of files to which nothing more is written and whose lines the
    /// sidecar covers.
    pub(crate) fn compress(&self, closed: impl IntoIterator<Item = PathBuf>) {
        if self.thread.is_some() {
            let mut state = self.shared.lock();
            state.closed.extend(closed);
            let failed = std::mem::take(&mut state.failed);
            state.closed.extend(failed);
            self.shared.changed.notify_all();
        }
    }

    /// Schedules the deletion of old files.
    pub(crate) fn sweep(&self, sweep: Sweep) {
        if self.thread.is_some() {
            self.shared.lock().sweep = Some(sweep);
            self.shared.changed.notify_all();
        }
    }

    /// Waits until all scheduled work is done.
    #[cfg(test)]
    pub(crate) fn wait(&self) {
        let mut state = self.shared.lock();
        while self.thread.is_some()
            && (state.progress == Progress::Busy
                || !state.closed.is_empty()
                || state.sweep.is_some())
        {
            state = wait(&self.shared.changed, state);
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.shared.lock().progress = Progress::Stopping;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the janitor thread has panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn run(&self, settings: &Settings, disk: &dyn Disk) {
        while let Some(task) = self.next(settings) {
            match task {
                Task::Compress(path) => self.compress_file(&path, settings, disk),
                Task::Sweep(sweep) => {
                    if let Err(error) = self.sweep(sweep, settings, disk) {
                        let base = settings.template.base();
                        tracing::warn!(
                            folder = %base.display(),
                            %error,
                            "deletion of old files failed; it is repeated within an hour"
                        );
                    }
                }
            }
        }
    }

    /// Waits for the next task; `None` if the thread has to stop.
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
            // Compression comes first, since it changes the total size that retention limits.
            if let Some(path) = state.closed.pop_first() {
                return Some(Task::Compress(path));
            }
            if let Some(sweep) = state.sweep.take() {
                return Some(Task::Sweep(sweep));
            }
            state.progress = Progress::Idle;
            self.changed.notify_all();
            state = wait(&self.changed, state);
        }
    }

    fn compress_file(&self, path: &Path, settings: &Settings, disk: &dyn Disk) {
        let Settings { compression, template, .. } = settings;
        match compress::compress(path, *compression, template.extension(), self, disk) {
            Ok(Compressed::Done) => tracing::debug!(file = %path.display(), "compressed a file"),
            Ok(Compressed::Skipped) => {
                tracing::debug!(file = %path.display(), "compression of a file postponed");
            }
            Err(error) => {
                tracing::warn!(
                    file = %path.display(),
                    %error,
                    "compression of a file failed; it is repeated after the next flush"
                );
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
                    tracing::info!(
                        file = %found.path.display(),
                        bytes = found.len,
                        "retention deleted a file"
                    );
                }
            }
            state.closed.remove(&found.path);
            state.failed.remove(&found.path);
            // The folder of a day or a source is deleted with its last file.
            for folder in found.path.ancestors().skip(1).take_while(|folder| *folder != base) {
                if state.in_use.iter().any(|path| path.starts_with(folder))
                    || fs::remove_dir(folder).is_err()
                {
                    break;
                }
            }
            drop(state);
            // Durability of the deletion is not urgent, but the folder may be gone by the next one.
            if let Err(error) = disk.sync_folder(parent(&found.path)) {
                tracing::warn!(
                    %error,
                    "sync after a deletion failed; a power cut may restore the file"
                );
            }
        }
        Ok(())
    }
}

impl WriterLock for Shared {
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
