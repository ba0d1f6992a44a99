//! The state of the sink, in memory and on disk.
//!
//! - [`state`] holds counts and their position.
//! - [`snapshot`] is the format of the file.
//! - [`files`] are the file operations, [`error`] their failures.

pub(crate) mod error;
mod files;
mod snapshot;
mod state;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use observer_core::{Batch, Position, Pricing, SinkContext, StateFile};

use self::error::StoreError;
use self::files::FileError;
use self::snapshot::{Restored, SnapshotError, VERSION};
use self::state::{ReadBatch, State};
use crate::aggregate::Aggregate;
use crate::aggregate::totals::Overflow;
use crate::config::PrometheusConfig;
use crate::sync::lock;

/// Name of the snapshot in the state folder.
const FILE: &str = "metrics.snapshot";

/// Store of the state of one sink.
///
/// The state is read from disk on first use. From then on there are two: batches are added to the
/// live state, and the saved state equals the snapshot on disk; a scrape sees the latter. Every
/// method may block on the disk, except [`count`](Self::count) once the state is loaded.
#[derive(Debug)]
pub(crate) struct Store {
    name: String,
    folder: PathBuf,
    config: PrometheusConfig,
    prices: Arc<dyn Pricing>,
    loading: Mutex<()>,
    loaded: OnceLock<Loaded>,
    /// True if the overflow of a label was logged, by label.
    overflow_logged: [AtomicBool; 3],
}

#[derive(Debug)]
struct Loaded {
    file: StateFile,
    live: Mutex<State>,
    saved: Mutex<Arc<State>>,
}

impl Store {
    pub(crate) fn new(config: PrometheusConfig, context: &SinkContext) -> Self {
        Self {
            name: context.name.clone(),
            folder: context.state_dir.clone(),
            config,
            prices: Arc::clone(&context.prices),
            loading: Mutex::new(()),
            loaded: OnceLock::new(),
            overflow_logged: Default::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Reads the snapshot, unless it is loaded already.
    pub(crate) fn load(&self) -> Result<(), StoreError> {
        self.loaded().map(|_| ())
    }

    /// Reads a batch, which takes most of the time that counting takes.
    pub(crate) fn read_batch(&self, batch: &Batch) -> ReadBatch {
        ReadBatch::new(batch, &*self.prices)
    }

    /// Counts a batch in the live state.
    pub(crate) fn count(&self, batch: &ReadBatch) -> Result<(), StoreError> {
        let (before, now) = {
            let mut live = lock(&self.loaded()?.live);
            let before = live.aggregate.overflow;
            live.count(batch);
            (before, live.aggregate.overflow)
        };
        self.log_overflow(before, now);
        Ok(())
    }

    /// Returns the saved state.
    pub(crate) fn saved(&self) -> Result<Arc<State>, StoreError> {
        Ok(Arc::clone(&lock(&self.loaded()?.saved)))
    }

    /// Returns the position of the saved state.
    pub(crate) fn position(&self) -> Result<Option<Position>, StoreError> {
        Ok(self.saved()?.position)
    }

    /// Writes the live state to disk if it has changed. Calls must not overlap.
    pub(crate) fn save(&self) -> Result<(), StoreError> {
        // A state that was never loaded has not changed.
        let Some(loaded) = self.loaded.get() else { return Ok(()) };
        let saved = lock(&loaded.saved).position;
        let live = {
            let live = lock(&loaded.live);
            // Every counted event changes the position.
            if live.position == saved {
                return Ok(());
            }
            live.clone()
        };
        files::create_folder(&self.folder)?;
        let replaced = loaded.file.replace(&snapshot::encode(&live));
        replaced.map_err(FileError::io("write", &self.folder.join(FILE)))?;
        *lock(&loaded.saved) = Arc::new(live);
        Ok(())
    }

    /// Checks that no later version wrote the snapshot.
    pub(crate) fn verify_version(&self) -> Result<(), StoreError> {
        let path = self.folder.join(FILE);
        let version = files::read(&path)?.and_then(|bytes| snapshot::version(&bytes));
        match version.filter(|version| *version > VERSION) {
            Some(version) => Err(StoreError::Newer { path, version }),
            None => Ok(()),
        }
    }

    /// Checks that the snapshot can be written, and that this program can read the present one.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        files::create_folder(&self.folder)?;
        let path = self.folder.join(FILE);
        match self.loaded.get() {
            // The file has reserved space in the folder.
            Some(loaded) => loaded.file.check().map_err(FileError::io("write", &path))?,
            None => {
                self.verify_version()?;
                files::probe(&self.folder)?;
            }
        }
        Ok(())
    }

    /// Checks the folder and the version of the snapshot without changing anything.
    pub(crate) fn inspect(&self) -> Result<(), StoreError> {
        observer_core::verify_writable(&self.folder).map_err(FileError::from)?;
        self.verify_version()
    }

    fn loaded(&self) -> Result<&Loaded, StoreError> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let _loading = lock(&self.loading);
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let Restored { state, upgraded_from, .. } = self.read()?;
        // The folder lets `StateFile::open` reserve space for the first snapshot. If it can't be
        // created, the first write reports the error.
        let _ = files::create_folder(&self.folder);
        let file = StateFile::open(self.folder.join(FILE));
        if upgraded_from.is_some() {
            // It restarts no total again after this. The next write reports a failure.
            let _ = file.replace(&snapshot::encode(&state));
        }
        Ok(self.loaded.get_or_init(|| Loaded {
            file,
            saved: Mutex::new(Arc::new(state.clone())),
            live: Mutex::new(state),
        }))
    }

    fn read(&self) -> Result<Restored, StoreError> {
        let path = self.folder.join(FILE);
        let nothing = || {
            let state = State { aggregate: Aggregate::new(&self.config), position: None };
            Restored { state, omitted: 0, upgraded_from: None }
        };
        let Some(bytes) = files::read(&path)? else { return Ok(nothing()) };
        match snapshot::decode(&bytes, &self.config) {
            Ok(restored) => {
                self.log_restored(&restored);
                Ok(restored)
            }
            Err(SnapshotError::Newer(version)) => Err(StoreError::Newer { path, version }),
            Err(error) => {
                let corrupt = path.with_extension("snapshot.corrupt");
                files::rename(&path, &corrupt)?;
                tracing::warn!(
                    sink = self.name,
                    path = %path.display(),
                    moved_to = %corrupt.display(),
                    error = observer_core::report(&error),
                    "snapshot can't be read and was moved aside; event metrics start from zero"
                );
                Ok(nothing())
            }
        }
    }

    fn log_restored(&self, Restored { omitted, upgraded_from, .. }: &Restored) {
        if let Some(version) = upgraded_from {
            tracing::info!(
                sink = self.name,
                version,
                "snapshot of an earlier version was upgraded; durations, and totals by model, \
                 restart at zero with more labels"
            );
        }
        if *omitted > 0 {
            tracing::warn!(
                sink = self.name,
                omitted,
                "some series of the snapshot exceed the limits and were omitted"
            );
        }
    }

    /// Logs the first overflow of each label.
    fn log_overflow(&self, before: Overflow, now: Overflow) {
        let labels = before.by_label().into_iter().zip(now.by_label());
        for (((label, before), (_, now)), logged) in labels.zip(&self.overflow_logged) {
            if now > before && !logged.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    sink = self.name,
                    label,
                    "a label has more values than `limits` allows; some events are counted under \
                     the value other"
                );
            }
        }
    }
}
