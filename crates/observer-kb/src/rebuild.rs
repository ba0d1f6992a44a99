//! Rebuilding of a file from events.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use observer_core::{BuildError, Envelope, Position, SinkContext};
use rusqlite::{Connection, ErrorCode, OptionalExtension};

use crate::config::KbConfig;
use crate::error::KbError;
use crate::schema::{self, FILE, Lock};
use crate::writer::Writer;

/// Events that are written in one transaction.
const BATCH: usize = 8_192;
/// Size of the events in bytes after which they are written.
const BATCH_BYTES: usize = 16 << 20;
/// Folder of the new file, in that of the old one.
const FOLDER: &str = "rebuild";

/// Error of a [`Rebuild`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// A value of the configuration is invalid.
    #[error(transparent)]
    Config(#[from] BuildError),
    /// A file can't be read or written, or another program uses it.
    #[error(transparent)]
    File(#[from] KbError),
}

/// New file that is written from events, and then replaces the one of the configuration.
///
/// The old file stays in place until [`finish`](Self::finish). If the process ends before, or this
/// is dropped, nothing has changed; the next rebuild removes what is left of the new file.
///
/// ```
/// use observer_core::{Envelope, ParseOptions, SinkContext};
/// use observer_kb::{KbConfig, Rebuild};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let line = concat!(
///     r#"{"id":"5f3c9b0e-6a53-5f0e-9e7e-0d8f1c2b3a49","seq":12,"#,
///     r#""received_at":"2026-01-01T00:00:00Z","#,
///     r#""event":{"source":"bot","event_kind":"ok","ok":true}}"#,
/// );
/// let config = KbConfig::in_dir(folder.path().join("kb"));
/// let mut rebuild = Rebuild::begin(config, &SinkContext::new("kb", folder.path()))?;
/// for line in [line, line] {
///     rebuild.add(Envelope::parse(line, &ParseOptions::default())?, None)?;
/// }
/// assert_eq!(rebuild.stored()?, 1);
/// rebuild.finish(None)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Rebuild {
    /// `None` once the new file is closed.
    writer: Option<Writer>,
    target: PathBuf,
    batch: Vec<(Option<u64>, Envelope)>,
    batch_bytes: usize,
    stored: u64,
    old: Old,
    _lock: Lock,
}

/// File that is replaced.
#[derive(Debug)]
enum Old {
    Missing,
    /// Number of its events. Its write-ahead log is empty.
    Readable(u64),
    Damaged,
}

impl Rebuild {
    /// Begins a new file.
    ///
    /// # Errors
    /// If a value of the configuration is invalid, a file can't be written, another program has the
    /// old file open, or the old file is no knowledge base or that of a newer version. A damaged
    /// one is no error.
    pub fn begin(config: KbConfig, context: &SinkContext) -> Result<Self, RebuildError> {
        let mut settings = config.settings(context)?;
        let target = settings.folder.clone();
        // Fails if an observer or another rebuild runs.
        let lock = Lock::acquire(&target)?;
        let old = Old::check(&target.join(FILE)).map_err(|error| error.at(&target))?;
        let folder = target.join(FOLDER);
        settings.folder.clone_from(&folder);
        remove(&folder)?;
        let writer = Writer::open(Arc::new(settings)).map_err(|error| error.at(&folder))?;
        let writer = Some(writer);
        Ok(Self { writer, target, batch: Vec::new(), batch_bytes: 0, stored: 0, old, _lock: lock })
    }

    /// Returns the number of events in the old file; `None` if it is missing or damaged.
    #[must_use]
    pub fn old_events(&self) -> Option<u64> {
        if let Old::Readable(events) = self.old { Some(events) } else { None }
    }

    /// Adds an event. Events come in the order of receipt; one whose id comes again counts once.
    /// `epoch` is that of the journal, if the event is in it.
    ///
    /// # Errors
    /// If the new file can't be written.
    pub fn add(&mut self, event: Envelope, epoch: Option<u64>) -> Result<(), RebuildError> {
        self.batch_bytes += event.event.raw().len();
        self.batch.push((epoch, event));
        if self.batch.len() >= BATCH || self.batch_bytes >= BATCH_BYTES {
            self.write()?;
        }
        Ok(())
    }

    /// Writes the events that were added, and returns the number of those in the new file.
    ///
    /// # Errors
    /// If the new file can't be written.
    pub fn stored(&mut self) -> Result<u64, RebuildError> {
        self.write()?;
        Ok(self.stored)
    }

    /// Replaces the old file by the new one.
    ///
    /// `position` is where delivery from the journal continues: that of its last event, if all that
    /// it holds were added. Without one, the sink begins as a new one does, and recognises by their
    /// ids the events that it has.
    ///
    /// # Errors
    /// If a file can't be written, or another program has written to the old one meanwhile. The old
    /// one then stays.
    pub fn finish(mut self, position: Option<Position>) -> Result<(), RebuildError> {
        self.write()?;
        let writer = self.writer.take().ok_or(KbError::Closed)?;
        close(writer, position).map_err(|error| error.at(&self.target.join(FOLDER)))?;
        self.replace()?;
        Ok(())
    }

    fn write(&mut self) -> Result<(), RebuildError> {
        let writer = self.writer.as_mut().ok_or(KbError::Closed)?;
        let stored = writer.import(&self.batch);
        self.stored += stored.map_err(|error| error.at(&self.target.join(FOLDER)))?;
        self.batch.clear();
        self.batch_bytes = 0;
        Ok(())
    }

    /// Moves the new file over the old one, whose write-ahead log would not fit to it.
    fn replace(&self) -> Result<(), KbError> {
        let folder = self.target.join(FOLDER);
        let (new, old) = (folder.join(FILE), self.target.join(FILE));
        // SQLite does not sync the name of the new file.
        sync(&folder)?;
        let log = with_suffix(&old, "-wal");
        if !matches!(self.old, Old::Damaged) && fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            return Err(KbError::InUse { path: old });
        }
        for path in [log, with_suffix(&old, "-shm")] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(KbError::Io { path, source: error });
                }
                _ => {}
            }
        }
        fs::rename(&new, &old).map_err(|source| KbError::Io { path: old, source })?;
        sync(&self.target)
    }
}

impl Drop for Rebuild {
    fn drop(&mut self) {
        self.writer = None;
        if let Err(error) = remove(&self.target.join(FOLDER)) {
            let error = observer_core::report(&error);
            tracing::warn!(error, "the folder of an unfinished rebuild can't be removed");
        }
    }
}

impl Old {
    /// Verifies that no other program has the file open, and moves its log into it.
    fn check(path: &Path) -> Result<Self, KbError> {
        if !path.exists() {
            return Ok(Self::Missing);
        }
        match Self::read(path) {
            Err(KbError::Sqlite(error)) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    Err(KbError::InUse { path: path.to_owned() })
                }
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Ok(Self::Damaged),
                _ => Err(error.into()),
            },
            read => Ok(Self::Readable(read?)),
        }
    }

    /// Returns the number of events.
    fn read(path: &Path) -> Result<u64, KbError> {
        let conn = Connection::open(path)?;
        // A query may have it open for a moment.
        conn.busy_timeout(Duration::from_millis(500))?;
        conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        conn.execute_batch("BEGIN EXCLUSIVE; ROLLBACK")?;
        schema::check_version(&conn, path)?;
        // Numbers have no gaps. A file that was just created has no tables.
        let events = "SELECT max(n) - min(n) + 1 FROM event";
        let is_new: bool = conn
            .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'event'", [], |_| Ok(()))
            .optional()?
            .is_none();
        let events: Option<i64> =
            if is_new { None } else { conn.query_row(events, [], |row| row.get(0))? };
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        conn.close().map_err(|(_, error)| error)?;
        Ok(events.unwrap_or(0).max(0) as u64)
    }
}

fn close(mut writer: Writer, position: Option<Position>) -> Result<(), KbError> {
    if let Some(position) = position {
        writer.set_position(position)?;
    }
    writer.flush()?;
    writer.close()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn sync(folder: &Path) -> Result<(), KbError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| KbError::Io { path: folder.to_owned(), source })
}

fn remove(folder: &Path) -> Result<(), KbError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(KbError::Io { path: folder.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}
