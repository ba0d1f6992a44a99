//! Rebuilding of a file from events.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use observer_core::{BuildError, Envelope, Position, SinkContext};

use crate::config::KbConfig;
use crate::error::KbError;
use crate::schema::FILE;
use crate::writer::Writer;

/// Events that are written in one transaction.
const BATCH: usize = 8_192;

/// Error of [`rebuild`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// A value of the configuration is invalid.
    #[error(transparent)]
    Config(#[from] BuildError),
    /// The new file can't be written, or not put into place.
    #[error(transparent)]
    File(#[from] KbError),
}

/// Writes a new file from events, and replaces the one of the configuration by it.
///
/// Events come in the order of receipt; one whose id comes again counts once. `position` is where
/// delivery from the journal is to continue: that of the last event, if the events are those of the
/// journal. Without it, the sink begins as a new one does, and recognises by their ids the events
/// that it has.
///
/// No sink may have the file open. The old one stays in place until the new one is complete.
/// Returns the number of stored events.
///
/// # Errors
/// If a value of the configuration is invalid, or a file can't be written.
pub fn rebuild(
    config: KbConfig,
    context: &SinkContext,
    events: impl IntoIterator<Item = Envelope>,
    position: Option<Position>,
) -> Result<u64, RebuildError> {
    let mut settings = config.settings(context)?;
    let target = settings.folder.clone();
    settings.folder = target.join("rebuild");
    remove(&settings.folder)?;
    let folder = settings.folder.clone();
    let mut writer = Writer::open(Arc::new(settings))?;
    let mut stored = 0;
    let mut batch = Vec::with_capacity(BATCH);
    for event in events {
        batch.push(event);
        if batch.len() == BATCH {
            stored += writer.import(&batch)?;
            batch.clear();
        }
    }
    stored += writer.import(&batch)?;
    if let Some(position) = position {
        writer.set_position(position)?;
    }
    writer.flush()?;
    writer.close()?;
    replace(&folder, &target)?;
    Ok(stored)
}

fn remove(folder: &Path) -> Result<(), KbError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(KbError::Io { path: folder.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// Moves the new file over the old one, whose log would not fit to it.
fn replace(from: &Path, to: &Path) -> Result<(), KbError> {
    let io = |path: PathBuf| move |source| KbError::Io { path, source };
    for suffix in ["-wal", "-shm"] {
        let log = to.join(format!("{FILE}{suffix}"));
        if log.exists() {
            fs::remove_file(&log).map_err(io(log))?;
        }
    }
    let file = to.join(FILE);
    fs::rename(from.join(FILE), &file).map_err(io(file))?;
    remove(from)
}
