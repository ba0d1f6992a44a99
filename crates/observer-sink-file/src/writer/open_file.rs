//! An active file that is open for appending.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;

use crate::disk::{Disk, Identity};
use crate::error::FileError;
use crate::ledger::{Entry, Kind};
use crate::writer::sidecar::Mark;
use crate::writer::tail::{self, Line, Tail, TailRepair};

/// Active file, open for appending.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    path: PathBuf,
    identity: Identity,
    /// Size in bytes of the complete lines that this process wrote or read.
    len: u64,
    /// Size in bytes up to which the file is known to be durable.
    synced: u64,
    /// Checksum of the last line.
    line_end: u32,
    end: End,
    sync: Sync,
    pub(crate) closing: Closing,
    /// Monotonic time of the first flush after the last line; `None` until that flush.
    pub(crate) idle_since: Option<Duration>,
    /// Date of the newest event by the trusted time, in seconds since 1970.
    pub(crate) newest: i64,
    /// Number of the newest time window in which its events were received.
    pub(crate) window: Option<i64>,
    /// Value of the use counter at the last use.
    pub(crate) last_use: u64,
}

/// Condition under which a file is closed, besides rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Its name has no day.
    Never,
    /// With the first event of a later day.
    AfterDay(Date),
    /// The day is over and no event came for an hour: events of the day may be late.
    WhenIdle(Date),
}

impl Closing {
    /// Returns whether a file without events for `idle` is complete.
    pub(crate) fn is_due(self, today: Date, idle: Duration) -> bool {
        match self {
            Self::Never => false,
            Self::AfterDay(day) => day < today,
            Self::WhenIdle(day) => day < today && idle >= IDLE,
        }
    }
}

/// Time without events after which a file of an earlier day is complete.
const IDLE: Duration = Duration::from_secs(3600);

/// State of the bytes after `len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There are none.
    Clean,
    /// There may be a part of a failed write, which must be removed before the next write.
    Torn,
}

/// Durability of the bytes before `len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Done,
    Due,
    /// The last sync failed. The system may have marked the pages as clean, so they are written
    /// again before the next sync.
    Failed,
}

impl OpenFile {
    /// Wraps a file that the sink has just created.
    pub(crate) fn created(file: File, path: &Path) -> Result<Self, FileError> {
        let metadata = file.metadata().map_err(FileError::io("read", path))?;
        Ok(Self::new(file, path, Identity::of(&metadata), Tail::default()))
    }

    /// Opens a file of the sink for appending, and repairs its end.
    pub(crate) fn append_to(path: &Path) -> Result<(Self, Option<Line>), FileError> {
        let options = File::options().read(true).append(true).to_owned();
        let file = options.open(path).map_err(FileError::io("open", path))?;
        let metadata = file.metadata().map_err(FileError::io("read", path))?;
        let mut tail = tail::repair(&file, path).map_err(FileError::io("repair", path))?;
        let last = tail.last.take();
        Ok((Self::new(file, path, Identity::of(&metadata), tail), last))
    }

    fn new(file: File, path: &Path, identity: Identity, tail: Tail) -> Self {
        let sync = if tail.repair == TailRepair::None { Sync::Done } else { Sync::Due };
        Self {
            file,
            path: path.to_owned(),
            identity,
            len: tail.len,
            line_end: tail.end,
            synced: tail.len,
            end: End::Clean,
            sync,
            closing: Closing::Never,
            idle_since: None,
            newest: 0,
            window: None,
            last_use: 0,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.sync == Sync::Done && self.end == End::Clean
    }

    /// Returns the entry of this file in the ledger.
    pub(crate) fn entry(&self, kind: Kind) -> Entry {
        let Self { identity, len, line_end, newest, .. } = *self;
        Entry { kind, identity, len, end: line_end, newest }
    }

    /// Requires a sync because lines that were written earlier may not be durable.
    pub(crate) fn mark_unsynced(&mut self) {
        self.sync = self.sync.due();
    }

    /// Returns the entry of this file in the sidecar.
    pub(crate) fn mark(&self, key: String) -> Mark {
        Mark {
            path: self.path.clone(),
            identity: self.identity,
            size: self.len,
            file: Some(key),
            end: Some(self.line_end),
        }
    }

    /// Compares the file with its path. If it was emptied in place, writing continues at its start.
    pub(crate) fn compare_with_path(&mut self) -> Result<AtPath, FileError> {
        use io::ErrorKind::{NotADirectory, NotFound};
        let metadata = match fs::symlink_metadata(&self.path) {
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => {
                return Ok(AtPath::Gone);
            }
            metadata => metadata.map_err(FileError::io("inspect", &self.path))?,
        };
        if !metadata.is_file() || Identity::of(&metadata) != self.identity {
            return Ok(AtPath::Gone);
        }
        let found = metadata.len();
        // After a failed write there may be a part of it.
        if found == self.len || (self.end == End::Torn && found > self.len) {
            return Ok(AtPath::Same);
        }
        if found > 0 {
            return Ok(AtPath::Changed { found });
        }
        tracing::info!(
            file = %self.path.display(),
            expected = self.len,
            "another program emptied an open file; continuing at its start"
        );
        (self.len, self.synced, self.line_end, self.end) = (0, 0, 0, End::Clean);
        Ok(AtPath::Emptied)
    }

    /// Appends complete lines, the last of which starts at `last`. After an error none of them is
    /// in the file.
    pub(crate) fn append(
        &mut self,
        disk: &dyn Disk,
        bytes: &[u8],
        last: usize,
    ) -> Result<(), FileError> {
        self.remove_torn_end(disk)?;
        self.sync = self.sync.due();
        let mut written = 0;
        while written < bytes.len() {
            let error = match disk.write(&self.file, &bytes[written..]) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(count) => {
                    written += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.end = End::Torn;
            if let Err(error) = self.remove_torn_end(disk) {
                tracing::warn!(
                    file = %self.path.display(),
                    %error,
                    "removal of a partial write failed; it is repeated before the next write"
                );
            }
            return Err(FileError::io("write", &self.path)(error));
        }
        self.len += bytes.len() as u64;
        self.line_end = tail::end_of_line(&bytes[last..]);
        self.idle_since = None;
        Ok(())
    }

    /// Makes all lines durable.
    pub(crate) fn sync(&mut self, disk: &dyn Disk) -> Result<(), FileError> {
        self.remove_torn_end(disk)?;
        if self.sync == Sync::Failed {
            self.write_again()
                .map_err(FileError::io("repeat the writes of a failed sync in", &self.path))?;
        }
        if self.sync != Sync::Done {
            if let Err(error) = disk.sync(&self.file) {
                self.sync = Sync::Failed;
                return Err(FileError::io("sync", &self.path)(error));
            }
            self.sync = Sync::Done;
            self.synced = self.len;
        }
        Ok(())
    }

    /// Makes the lines durable that are in a file which another program has changed.
    pub(crate) fn sync_foreign(&self, disk: &dyn Disk) -> Result<(), FileError> {
        disk.sync(&self.file).map_err(FileError::io("sync", &self.path))
    }

    /// Removes the part of a failed write that is still in the file.
    pub(crate) fn remove_torn_end(&mut self, disk: &dyn Disk) -> Result<(), FileError> {
        if self.end == End::Torn {
            let metadata = self.file.metadata().map_err(FileError::io("inspect", &self.path))?;
            // Another program may have made the file shorter, and zeros must not fill the gap.
            if metadata.len() < self.len {
                return Ok(());
            }
            disk.truncate(&self.file, self.len)
                .map_err(FileError::io("remove a partial write in", &self.path))?;
            self.end = End::Clean;
        }
        Ok(())
    }

    /// Writes the bytes after `synced` again, so that the system syncs them.
    fn write_again(&self) -> io::Result<()> {
        let mut reader = &self.file;
        let mut bytes = Vec::new();
        reader.seek(SeekFrom::Start(self.synced))?;
        reader.take(self.len - self.synced).read_to_end(&mut bytes)?;
        // A file that is open for appending can only be written at its end.
        let mut writer = File::options().write(true).open(&self.path)?;
        if Identity::of(&writer.metadata()?) != self.identity {
            tracing::warn!(
                file = %self.path.display(),
                "file was renamed after a failed sync; its last lines may not be durable"
            );
            return Ok(());
        }
        writer.seek(SeekFrom::Start(self.synced))?;
        writer.write_all(&bytes)
    }
}

/// Result of the comparison of an open file with its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtPath {
    Same,
    /// Another program emptied the file in place.
    Emptied,
    /// Another program changed the size of the file to this many bytes.
    Changed {
        found: u64,
    },
    /// Another program renamed or deleted the file.
    Gone,
}

impl Sync {
    fn due(self) -> Self {
        if self == Self::Done { Self::Due } else { self }
    }
}
