//! The state in memory and on disk, and who sees which.

pub(crate) mod files;
mod snapshot;
mod state;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use observer_core::{Batch, Position, SinkContext, StateFile};

use self::files::FileError;
use self::snapshot::Restored;
use self::state::State;
use crate::aggregate::Aggregate;
use crate::config::PrometheusConfig;

/// The name of the snapshot in the sink's folder.
const FILE: &str = "metrics.snapshot";

/// The one state of one sink.
///
/// It is read from disk when someone first needs it. After that there are two: the live one, to
/// which batches are added, and the saved one, which is what the disk has and what a scrape sees.
/// Every call here may block on the disk, but for [`take`](Self::take) once the state was read.
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

    /// Read the snapshot, unless that was done before.
    pub(crate) fn load(&self) -> Result<(), FileError> {
        self.loaded().map(|_| ())
    }

    /// Count a batch in the live state, all of it or nothing.
    pub(crate) fn take(&self, batch: &Batch) -> Result<(), FileError> {
        lock(&self.loaded()?.live).take(batch);
        Ok(())
    }

    /// What the disk has.
    pub(crate) fn saved(&self) -> Result<Arc<State>, FileError> {
        Ok(Arc::clone(&lock(&self.loaded()?.saved)))
    }

    /// Up to where the disk has everything.
    pub(crate) fn position(&self) -> Result<Option<Position>, FileError> {
        Ok(self.saved()?.position)
    }

    /// Bring the live state to disk, if it changed. Calls must not overlap.
    pub(crate) fn save(&self) -> Result<(), FileError> {
        // A state that nobody asked for did not change.
        let Some(loaded) = self.loaded.get() else { return Ok(()) };
        let saved = lock(&loaded.saved).position;
        let live = {
            let live = lock(&loaded.live);
            // Every event moves the position.
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

    /// Whether there is a place for the snapshot.
    pub(crate) fn check(&self) -> Result<(), FileError> {
        files::create_folder(&self.folder)?;
        match self.loaded.get() {
            // It has set space aside there.
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
        let _one_at_a_time = lock(&self.loading);
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let state = self.read()?;
        // Space for the first snapshot is set aside before there is any; where that can't be, the
        // first one says so.
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
            Ok(Restored { state, left_out }) => {
                if left_out > 0 {
                    tracing::warn!(
                        sink = self.name,
                        left_out,
                        "some series of the snapshot are left out, since the limits have no room for them"
                    );
                }
                Ok(state)
            }
            Err(error) => {
                let aside = path.with_extension("snapshot.corrupt");
                files::rename(&path, &aside)?;
                tracing::warn!(
                    sink = self.name,
                    path = %path.display(),
                    moved_to = %aside.display(),
                    error = observer_core::report(&error),
                    "the snapshot can't be read and was moved aside; event metrics start from zero"
                );
                Ok(nothing())
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds the state")
}
