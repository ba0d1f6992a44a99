//! One file that is written to.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use crate::disk::{Disk, Identity};
use crate::error::FileError;
use crate::writer::sidecar::Mark;
use crate::writer::tail::{self, Line, Mended};

/// An active file, open to append.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    path: PathBuf,
    identity: Identity,
    /// Its size as this process knows it: whole lines.
    len: u64,
    /// Up to here it is known to be durable.
    synced: u64,
    end: End,
    sync: Sync,
    /// The day in its name.
    pub(crate) date: Option<Date>,
    /// The window that its lines were received in.
    pub(crate) window: Option<i64>,
    /// When it was last used, by the count of uses.
    pub(crate) used: u64,
}

/// What stands behind `len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Clean,
    /// A piece of a write that failed, which must be cut off before anything else is written.
    Torn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Done,
    Due,
    /// It failed once. The system may have marked the pages as clean, so they are written again
    /// before the next one.
    Failed,
}

/// A file that was just opened, and what was found in it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: OpenFile,
    /// Its last line, if it has any.
    pub(crate) last: Option<Line>,
    pub(crate) is_new: bool,
}

impl OpenFile {
    /// Open or create; the folder must be there.
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
            // Not every file system has locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let metadata = file.metadata().map_err(FileError::io("read", path))?;
        if !metadata.is_file() {
            return Err(FileError::Link { path: path.to_owned() });
        }
        let tail = tail::mend(&file, path).map_err(FileError::io("mend", path))?;
        let sync = if tail.mended == Mended::Nothing { Sync::Done } else { Sync::Due };
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
            used: 0,
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

    /// To read what is in it.
    pub(crate) fn handle(&self) -> &File {
        &self.file
    }

    /// Lines of an earlier process are in it that may not be durable.
    pub(crate) fn sync_is_due(&mut self) {
        self.sync = self.sync.due();
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { path: self.path.clone(), identity: self.identity, size: self.len }
    }

    /// Whether its path still names it. Someone else may have cut it or added to it; it goes on
    /// from its end.
    pub(crate) fn is_where_it_was(&mut self) -> Result<bool, FileError> {
        let metadata = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            metadata => metadata.map_err(FileError::io("look at", &self.path))?,
        };
        let is_it = Identity::of(&metadata) == self.identity;
        if is_it && self.end == End::Clean && metadata.len() != self.len {
            tracing::info!(file = %self.path.display(), expected = self.len, found = metadata.len(), "its size was changed by someone else");
            self.len = metadata.len();
            self.synced = self.synced.min(self.len);
        }
        Ok(is_it)
    }

    /// Write whole lines. After an error, none of them is in the file.
    pub(crate) fn append(&mut self, disk: &dyn Disk, bytes: &[u8]) -> Result<(), FileError> {
        self.cut_torn_end(disk)?;
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
            if let Err(error) = self.cut_torn_end(disk) {
                tracing::warn!(file = %self.path.display(), %error, "half a write is left; it is cut off before the next one");
            }
            return Err(FileError::io("write", &self.path)(error));
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Make all that was written durable.
    pub(crate) fn sync(&mut self, disk: &dyn Disk) -> Result<(), FileError> {
        self.cut_torn_end(disk)?;
        if self.sync == Sync::Failed {
            self.write_again()
                .map_err(FileError::io("write again what could not be synced in", &self.path))?;
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

    /// Undo what a write that failed has left, where that was not possible at once.
    pub(crate) fn cut_torn_end(&mut self, disk: &dyn Disk) -> Result<(), FileError> {
        if self.end == End::Torn {
            disk.truncate(&self.file, self.len)
                .map_err(FileError::io("cut off half a write in", &self.path))?;
            self.end = End::Clean;
        }
        Ok(())
    }

    fn write_again(&self) -> io::Result<()> {
        let mut reader = &self.file;
        let mut bytes = Vec::new();
        reader.seek(SeekFrom::Start(self.synced))?;
        reader.take(self.len - self.synced).read_to_end(&mut bytes)?;
        // A file that is open to append writes at its end alone.
        let mut writer = File::options().write(true).open(&self.path)?;
        if Identity::of(&writer.metadata()?) != self.identity {
            tracing::warn!(file = %self.path.display(), "renamed after a failed sync; what was written last may not be durable");
            return Ok(());
        }
        writer.seek(SeekFrom::Start(self.synced))?;
        writer.write_all(&bytes)
    }
}

/// So that two sinks don't write into each other's lines. Where locks keep readers out, too, there
/// is none.
fn lock(file: &File) -> Result<(), TryLockError> {
    if cfg!(unix) { file.try_lock() } else { Ok(()) }
}

impl Sync {
    fn due(self) -> Self {
        if self == Self::Done { Self::Due } else { self }
    }
}
