//! The state of the sink, in memory and on disk.
//!
//! - [`state`] holds counts and their position.
//! - [`snapshot`] is the format of the file.
//! - [`files`] are the file operations.

pub(crate) mod files;
mod snapshot;
mod state;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use observer_core::{Batch, Position, SinkContext, StateFile};

use self::files::FileError;
use self::snapshot::Restored;
use self::state::State;
use crate::aggregate::Aggregate;
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
    loading: Mutex<()>,
    loaded: OnceLock<Loaded>,
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
            loading: Mutex::new(()),
            loaded: OnceLock::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Reads the snapshot, unless it is loaded already.
    pub(crate) fn load(&self) -> Result<(), FileError> {
        self.loaded().map(|_| ())
    }

    /// Counts a batch in the live state.
    pub(crate) fn count(&self, batch: &Batch) -> Result<(), FileError> {
        lock(&self.loaded()?.live).count(batch);
        Ok(())
    }

    /// Returns the saved state.
    pub(crate) fn saved(&self) -> Result<Arc<State>, FileError> {
        Ok(Arc::clone(&lock(&self.loaded()?.saved)))
    }

    /// Returns the position of the saved state.
    pub(crate) fn position(&self) -> Result<Option<Position>, FileError> {
        Ok(self.saved()?.position)
    }

    /// Writes the live state to disk if it has changed. Calls must not overlap.
    pub(crate) fn save(&self) -> Result<(), FileError> {
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

    /// Checks that the snapshot can be written.
    pub(crate) fn check(&self) -> Result<(), FileError> {
        files::create_folder(&self.folder)?;
        match self.loaded.get() {
            // The file has reserved space in the folder.
            Some(loaded) => {
                loaded.file.check().map_err(FileError::io("write", &self.folder.join(FILE)))
            }
            None => files::probe(&self.folder),
        }
    }

    fn loaded(&self) -> Result<&Loaded, FileError> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let _loading = lock(&self.loading);
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let state = self.read()?;
        // The folder lets `StateFile::open` reserve space for the first snapshot. If it can't be
        // created, the first write reports the error.
        let _ = files::create_folder(&self.folder);
        Ok(self.loaded.get_or_init(|| Loaded {
            file: StateFile::open(self.folder.join(FILE)),
            saved: Mutex::new(Arc::new(state.clone())),
            live: Mutex::new(state),
        }))
    }

    fn read(&self) -> Result<State, FileError> {
        let path = self.folder.join(FILE);
        let nothing = || State { aggregate: Aggregate::new(&self.config), position: None };
        let Some(bytes) = files::read(&path)? else { return Ok(nothing()) };
        match snapshot::decode(&bytes, &self.config) {
            Ok(Restored { state, omitted }) => {
                if omitted > 0 {
                    tracing::warn!(
                        sink = self.name,
                        omitted,
                        "some series of the snapshot exceed the limits and were omitted"
                    );
                }
                Ok(state)
            }
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
}
