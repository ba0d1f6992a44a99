//! Maintenance of closed files on a thread of its own: compression and retention.
//!
//! The writer appends to open files only, and the janitor changes closed files only; the
//! [ledger](crate::ledger) says which is which. The writer schedules a file for compression when
//! the sidecar covers its lines.

mod compress;
mod retention;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::compress::{Job, Packed};
use self::retention::Aged;
use crate::compression::Compression;
use crate::config::{Retain, Settings};
use crate::disk::{Disk, parent};
use crate::error::FileError;
use crate::ledger::ownership::{Ownership, look, ownership};
use crate::ledger::{Entry, Kind, Ledger};
use crate::sync::{lock, wait};

/// Number of closed files that may wait for their compression before the writer waits, too.
pub(crate) const MAX_BACKLOG: usize = 16;

/// Request to delete old files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep {
    /// Time by which files age, in seconds since 1970; `None` after a jump of the clock.
    pub(crate) trusted: Option<i64>,
}

/// Handle of the thread. Dropping it stops the thread; unfinished work is left for the next start.
#[derive(Debug)]
pub(crate) struct Janitor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    ledger: Arc<Mutex<Ledger>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Keys of the files to compress.
    closed: BTreeSet<String>,
    /// Files that were closed before the start, or whose compression is repeated. They are
    /// compressed last, and the writer doesn't wait for them.
    old: BTreeSet<String>,
    /// Files whose compression failed; it is repeated with the next closed files.
    failed: BTreeSet<String>,
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
    Compress(String),
    Sweep(Sweep),
}

impl Janitor {
    /// Starts the thread, unless neither compression nor retention is configured.
    pub(crate) fn start(
        settings: &Arc<Settings>,
        ledger: &Arc<Mutex<Ledger>>,
        disk: &Arc<dyn Disk>,
    ) -> Result<Self, FileError> {
        let old = {
            let ledger = lock(ledger);
            let closed = ledger.files().filter(|(_, entry)| entry.kind == Kind::Closed);
            closed.map(|(key, _)| key.to_owned()).collect()
        };
        let shared = Arc::new(Shared {
            ledger: Arc::clone(ledger),
            state: Mutex::new(State { old, ..State::default() }),
            changed: Condvar::new(),
        });
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

    /// Schedules the deletion of old files, which comes first, and the compression of closed files
    /// whose lines the sidecar covers.
    pub(crate) fn schedule(&self, closed: impl IntoIterator<Item = String>, sweep: Option<Sweep>) {
        if self.thread.is_some() {
            let mut state = self.shared.lock();
            let failed = std::mem::take(&mut state.failed);
            state.old.extend(failed);
            for key in closed {
                if !state.old.contains(&key) {
                    state.closed.insert(key);
                }
            }
            state.sweep = sweep.or(state.sweep);
            self.shared.changed.notify_all();
        }
    }

    /// Waits while too many files wait for their compression, for at most `patience`. Returns their
    /// number if there are still too many.
    pub(crate) fn throttle(&self, patience: Duration) -> Option<usize> {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        while self.thread.is_some() && state.closed.len() > MAX_BACKLOG {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Some(state.closed.len());
            };
            state = crate::sync::wait_for(&self.shared.changed, state, left);
        }
        None
    }

    /// Waits until all scheduled work is done.
    #[cfg(test)]
    pub(crate) fn wait(&self) {
        let mut state = self.shared.lock();
        while self.thread.is_some()
            && (state.progress == Progress::Busy
                || !(state.closed.is_empty() && state.old.is_empty())
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
                Task::Compress(key) => self.compress_file(&key, settings, disk),
                Task::Sweep(sweep) => self.sweep(sweep, settings, disk),
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
                state.old.clear();
            }
            // Deletion comes first, so that no file is compressed only to be deleted.
            if let Some(sweep) = state.sweep.take() {
                return Some(Task::Sweep(sweep));
            }
            let next = state.closed.pop_first().or_else(|| state.old.pop_first());
            if let Some(key) = next {
                self.changed.notify_all();
                return Some(Task::Compress(key));
            }
            state.progress = Progress::Idle;
            self.changed.notify_all();
            state = wait(&self.changed, state);
        }
    }

    fn compress_file(&self, key: &str, settings: &Settings, disk: &dyn Disk) {
        let job = Job { settings, ledger: &self.ledger, disk };
        let is_stopping = || self.lock().progress == Progress::Stopping;
        match job.pack(key, &is_stopping) {
            Ok(Packed::Done) => tracing::debug!(file = key, "compressed a file"),
            Ok(Packed::Skipped) => tracing::debug!(file = key, "a file was not compressed"),
            Err(error) => {
                tracing::warn!(
                    file = key,
                    %error,
                    "compression of a file failed; it is repeated after the next flush"
                );
                self.lock().failed.insert(key.to_owned());
            }
        }
    }

    /// Deletes the files that exceed the limits, and forgets those that are gone.
    fn sweep(&self, sweep: Sweep, settings: &Settings, disk: &dyn Disk) {
        let files: Vec<_> = {
            let ledger = lock(&self.ledger);
            let files = ledger.files().filter(|(_, entry)| entry.kind != Kind::Temporary);
            files.map(|(key, entry)| (key.to_owned(), *entry, ledger.path(key))).collect()
        };
        let aged = files.into_iter().filter_map(|(key, entry, path)| {
            let len = fs::symlink_metadata(path).ok()?.len();
            Some(Aged { key, len, newest: entry.newest, is_closed: entry.kind != Kind::Open })
        });
        for found in retention::expired(aged.collect(), settings.retain, sweep.trusted) {
            if let Err(error) = self.delete(&found, disk) {
                tracing::warn!(
                    file = found.key,
                    %error,
                    "deletion of an old file failed; it is repeated within an hour"
                );
            }
        }
        if let Err(error) = lock(&self.ledger).write() {
            tracing::warn!(%error, "record of deleted files can't be stored yet");
        }
    }

    fn delete(&self, found: &Aged, disk: &dyn Disk) -> io::Result<()> {
        let (entry, path) = {
            let ledger = lock(&self.ledger);
            let Some(entry) = ledger.get(&found.key).copied() else { return Ok(()) };
            (entry, ledger.path(&found.key))
        };
        if !is_own(&path, &entry)? {
            lock(&self.ledger).remove(&found.key);
            return Ok(());
        }
        fs::remove_file(&path)?;
        {
            let mut state = self.lock();
            state.closed.remove(&found.key);
            state.old.remove(&found.key);
            self.changed.notify_all();
        }
        lock(&self.ledger).remove(&found.key);
        tracing::info!(
            file = %path.display(),
            bytes = found.len,
            "retention deleted a file"
        );
        // The folder of a day or a source is deleted with its last file.
        let base = lock(&self.ledger).base().to_owned();
        for folder in path
            .ancestors()
            .skip(1)
            .take_while(|folder| *folder != base && folder.starts_with(&base))
        {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        // Durability of the deletion is not urgent, but the folder may be gone by the next one.
        if let Err(error) = disk.sync_folder(parent(&path)) {
            tracing::warn!(
                %error,
                "sync after a deletion failed; a power cut may restore the file"
            );
        }
        Ok(())
    }
}

/// Returns whether a closed file is still the one that was recorded. Logs if it is not.
fn is_own(path: &Path, entry: &Entry) -> io::Result<bool> {
    match ownership(Some(entry), look(path, Some(entry), None)?.as_ref()) {
        Ownership::Own => Ok(true),
        Ownership::Missing => Ok(false),
        _ => {
            tracing::warn!(
                file = %path.display(),
                "another program changed a closed file; the sink no longer touches it"
            );
            Ok(false)
        }
    }
}
