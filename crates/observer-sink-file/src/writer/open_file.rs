//! An active file that is open for appending.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use crate::disk::{Disk, Identity};
use crate::error::FileError;
use crate::writer::sidecar::Mark;
use crate::writer::tail::{self, Line, TailRepair};

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
    end: End,
    sync: Sync,
    /// Day in the name.
    pub(crate) date: Option<Date>,
    /// Number of the newest time window in which its events were received.
    pub(crate) window: Option<i64>,
    /// Value of the use counter at the last use.
    pub(crate) last_use: u64,
}

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

/// Result of opening a file.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: OpenFile,
    /// Last line of the file, if it is an envelope.
    pub(crate) last: Option<Line>,
    pub(crate) is_new: bool,
}

impl OpenFile {
    /// Opens or creates a file in an existing folder, and repairs its end.
    ///
    /// # Errors
    /// If another process holds the lock on the file ([`FileError::FileInUse`]), or a file
    /// operation fails.
    pub(crate) fn open(path: &Path) -> Result<Opened, FileError> {
        let options = || File::options().read(true).append(true).to_owned();
        let (file, is_new) = match options().create_new(true).open(path) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (options().open(path).map_err(FileError::io("open", path))?, false)
            }
            Err(error) => return Err(FileError::io("create", path)(error)),
        };
        match lock(&file) {
            Err(TryLockError::WouldBlock) => {
                return Err(FileError::FileInUse { path: path.to_owned() });
            }
            // Some file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let metadata = file.metadata().map_err(FileError::io("read", path))?;
        if !metadata.is_file() {
            return Err(FileError::Link { path: path.to_owned() });
        }
        let tail = tail::repair(&file, path).map_err(FileError::io("repair", path))?;
        let sync = if tail.repair == TailRepair::None { Sync::Done } else { Sync::Due };
        let file = Self {
            file,
            path: path.to_owned(),
            identity: Identity::of(&metadata),
            len: tail.len,
            synced: tail.len,
            end: End::Clean,
            sync,
            date: None,
            window: None,
            last_use: 0,
        };
        Ok(Opened { file, last: tail.last, is_new })
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

    /// Returns the file for reading.
    pub(crate) fn handle(&self) -> &File {
        &self.file
    }

    /// Requires a sync because lines of an earlier process may not be durable.
    pub(crate) fn mark_unsynced(&mut self) {
        self.sync = self.sync.due();
    }

    /// Returns the entry of this file in the sidecar.
    pub(crate) fn mark(&self) -> Mark {
        Mark { path: self.path.clone(), identity: self.identity, size: self.len }
    }

    /// Returns whether the path still refers to this file. If another program has changed its
    /// size, writing continues at the new end.
    pub(crate) fn is_still_at_path(&mut self) -> Result<bool, FileError> {
        let metadata = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            metadata => metadata.map_err(FileError::io("inspect", &self.path))?,
        };
        let is_same = Identity::of(&metadata) == self.identity;
        if is_same && self.end == End::Clean && metadata.len() != self.len {
            tracing::info!(
                file = %self.path.display(),
                expected = self.len,
                found = metadata.len(),
                "another program changed the size of an open file"
            );
            self.len = metadata.len();
            self.synced = self.synced.min(self.len);
        }
        Ok(is_same)
    }

    /// Appends complete lines. After an error none of them is in the file.
    pub(crate) fn append(&mut self, disk: &dyn Disk, bytes: &[u8]) -> Result<(), FileError> {
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

    /// Removes the part of a failed write that is still in the file.
    pub(crate) fn remove_torn_end(&mut self, disk: &dyn Disk) -> Result<(), FileError> {
        if self.end == End::Torn {
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

/// Locks the file against other sinks. On Windows a lock would also exclude readers, so there is
/// none.
fn lock(file: &File) -> Result<(), TryLockError> {
    if cfg!(unix) { file.try_lock() } else { Ok(()) }
}

impl Sync {
    fn due(self) -> Self {
        if self == Self::Done { Self::Due } else { self }
    }
}
