//! The sidecar: a file in the state folder that records how far the sink has come.
//!
//! # Layout
//!
//! The file `position` has two lines of UTF-8 text:
//!
//! ```text
//! {"format":1,"epoch":1,"seq":7,"files":[{"path":"…",…,"size":3}],"ahead":[[8,"…"]]}
//! 5f3c0a91
//! ```
//!
//! The first line is a JSON object:
//!
//! - `format`: version of the layout, 1.
//! - `epoch` and `seq`: position of the last event whose line is durable.
//! - `files`: the files that were open, each with its path, its identity (`dev`, `ino`) and the
//!   size in bytes up to which its lines are covered by the sidecar. `file` is the path as in the
//!   [ledger](crate::ledger), and `end` the checksum of the last line before `size`; versions
//!   before the ledger had neither.
//! - `ahead`: sequence numbers and ids of events past `seq` whose lines are already in the files.
//!
//! The second line is the CRC-32 (IEEE) of the first line, without its line feed, as eight
//! hexadecimal digits. Any number of line feeds may follow.
//!
//! # Writing and reading
//!
//! The file is a [`StateFile`], so it is replaced atomically, even on a full disk. It is written
//! after the files were synced. A later `format` is refused. A file with a wrong checksum is
//! damaged: the position is unknown, and [recovery](super::recovery) reads the ends of the newest
//! files instead.
//!
//! The file `lock` beside it is empty. The sink that writes the files holds an advisory lock on it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use observer_core::{Position, StateFile};
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::checksum::checksum;
use crate::disk::{Disk, Identity, create_folders, create_private};
use crate::error::FileError;

const FILE: &str = "position";
const FORMAT: u32 = 1;

/// Contents of the sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    format: u32,
    #[serde(flatten)]
    pub(crate) position: Position,
    pub(crate) files: Vec<Mark>,
    /// Sequence numbers and ids of events past the position whose lines are in the files.
    pub(crate) ahead: Vec<(u64, String)>,
}

/// Size of a file up to which the sidecar covers its lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) path: PathBuf,
    #[serde(flatten)]
    pub(crate) identity: Identity,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<u32>,
}

impl Recorded {
    pub(crate) fn new(position: Position, files: Vec<Mark>, ahead: Vec<(u64, String)>) -> Self {
        Self { format: FORMAT, position, files, ahead }
    }
}

/// State of the sidecar at the start.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// Contents and time of the last write.
    Intact(Recorded, SystemTime),
    /// The sink is new, or the file was deleted.
    Missing,
    /// The file can't be read, for this reason.
    Damaged(String),
}

/// The state folder, locked by this sink.
#[derive(Debug)]
pub(crate) struct StateFolder {
    folder: PathBuf,
    position: StateFile,
    /// Closing the file releases the lock.
    lock: File,
}

impl StateFolder {
    /// Creates the folder if it is missing, and locks it.
    ///
    /// # Errors
    /// If another sink holds the lock ([`FileError::StateInUse`]), or a file operation fails.
    pub(crate) fn open(folder: &Path, disk: &dyn Disk) -> Result<Self, FileError> {
        for changed in create_folders(folder, &Access::PRIVATE)? {
            disk.sync_folder(&changed)?;
        }
        let path = folder.join("lock");
        let lock = create_private(&path).map_err(FileError::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {
                let position = StateFile::open(folder.join(FILE));
                Ok(Self { folder: folder.to_owned(), position, lock })
            }
            Err(TryLockError::WouldBlock) => Err(FileError::StateInUse { path }),
            Err(TryLockError::Error(error)) => Err(FileError::io("lock", &path)(error)),
        }
    }

    /// Creates the folder again if another program removed or replaced it. Returns whether it did.
    ///
    /// # Errors
    /// As for [`open`](Self::open), or if the folder can't be inspected.
    pub(crate) fn restore(&mut self, disk: &dyn Disk) -> Result<bool, FileError> {
        let path = self.folder.join("lock");
        let identity = |metadata: fs::Metadata| Identity::of(&metadata);
        let at_path = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            metadata => Some(identity(metadata.map_err(FileError::io("inspect", &path))?)),
        };
        let held = self.lock.metadata().map_err(FileError::io("inspect", &path))?;
        if at_path == Some(identity(held)) {
            return Ok(false);
        }
        *self = Self::open(&self.folder, disk)?;
        Ok(true)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    pub(crate) fn load(&self) -> Result<Loaded, FileError> {
        load(&self.folder)
    }

    pub(crate) fn store(&self, recorded: &Recorded) -> Result<(), FileError> {
        let json = serde_json::to_string(recorded).expect("numbers and strings serialize to JSON");
        let text = format!("{json}\n{:08x}\n", checksum(json.as_bytes()));
        self.position.replace(text.as_bytes()).map_err(FileError::io("write", &self.path()))
    }

    /// Checks that the sidecar can be written.
    pub(crate) fn check(&self) -> Result<(), FileError> {
        self.position.check().map_err(FileError::io("write", &self.path()))
    }
}

/// Reads the sidecar in a state folder.
///
/// # Errors
/// If it can't be read, or a later version wrote it.
pub(crate) fn load(folder: &Path) -> Result<Loaded, FileError> {
    let path = folder.join(FILE);
    let read = || io::Result::Ok((fs::read_to_string(&path)?, fs::metadata(&path)?.modified()?));
    match read() {
        Ok((text, written)) => match parse(&text) {
            Ok(recorded) => Ok(Loaded::Intact(recorded, written)),
            Err(Unreadable::Damaged(problem)) => Ok(Loaded::Damaged(problem)),
            Err(Unreadable::Newer(found)) => Err(FileError::Newer { path, found, known: FORMAT }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Loaded::Missing),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Ok(Loaded::Damaged(error.to_string()))
        }
        Err(error) => Err(FileError::io("read", &path)(error)),
    }
}

/// Reason for which a sidecar can't be used.
#[derive(Debug, PartialEq, Eq)]
enum Unreadable {
    Damaged(String),
    /// It has this later format.
    Newer(u32),
}

fn parse(text: &str) -> Result<Recorded, Unreadable> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let damaged = |problem: String| Unreadable::Damaged(problem);
    let mut lines = text.split('\n');
    let (json, sum) = lines
        .next()
        .zip(lines.next())
        .ok_or_else(|| damaged("the file is truncated".to_owned()))?;
    if u32::from_str_radix(sum, 16) != Ok(checksum(json.as_bytes())) {
        return Err(damaged("the checksum does not match".to_owned()));
    }
    let version: Version =
        serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?;
    if version.format > FORMAT {
        return Err(Unreadable::Newer(version.format));
    }
    serde_json::from_str(json).map_err(|error| damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn recorded() -> Recorded {
        let mark = Mark {
            path: "d/x.jsonl".into(),
            identity: Identity { dev: 1, ino: 2 },
            size: 3,
            file: Some("x.jsonl".to_owned()),
            end: Some(4),
        };
        Recorded::new(
            Position { epoch: u64::MAX, seq: 7 },
            vec![mark],
            vec![(8, "an id".to_owned())],
        )
    }

    #[test]
    fn sidecar_is_read_back_and_every_changed_byte_is_detected() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(&folder.path().join("a/b"), &RealDisk).unwrap();
        assert!(matches!(state.load().unwrap(), Loaded::Missing));
        state.store(&recorded()).unwrap();
        assert!(matches!(state.load().unwrap(), Loaded::Intact(loaded, _) if loaded == recorded()));

        let intact = fs::read(state.path()).unwrap();
        let text = intact.trim_ascii_end().len();
        for at in 0..text {
            let mut bytes = intact.clone();
            bytes[at] ^= 1;
            fs::write(state.path(), &bytes).unwrap();
            assert!(matches!(state.load().unwrap(), Loaded::Damaged(_)), "byte {at}");
            fs::write(state.path(), &intact[..at]).unwrap();
            assert!(matches!(state.load().unwrap(), Loaded::Damaged(_)), "cut at {at}");
        }
    }

    #[test]
    fn later_format_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let json = r#"{"format":2}"#;
        let text = format!("{json}\n{:08x}\n", checksum(json.as_bytes()));
        fs::write(folder.path().join(FILE), text).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("position has version 2 of its format"), "{error}");
    }

    #[test]
    fn state_folder_is_locked_by_one_sink_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFolder::open(folder.path(), &RealDisk).unwrap();
        let second = StateFolder::open(folder.path(), &RealDisk).unwrap_err();
        assert!(second.to_string().contains("is locked: another observer or sink"), "{second}");
        drop(first);
        StateFolder::open(folder.path(), &RealDisk).unwrap();
    }
}
