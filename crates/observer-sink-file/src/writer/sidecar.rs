//! How far the sink has come, kept in its state folder.
//!
//! `position` has two lines. The first is JSON: `format` (1), `epoch` and `seq` of the last settled
//! event, `files` (the files that were open, each with its identity and the size up to which its
//! lines are settled), and `ahead` (lines past `seq` that stand in the files already). The second
//! is the CRC-32 of the first, line feed not included, as eight hexadecimal digits. What follows
//! are line feeds.
//!
//! It is a [`StateFile`], so it can be replaced on a full disk. `lock` is empty; whoever writes the
//! files holds an advisory lock on it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use observer_core::{Position, StateFile};
use serde::{Deserialize, Serialize};

use crate::disk::{Disk, Identity, create_folders};
use crate::error::FileError;

const FILE: &str = "position";
const FORMAT: u32 = 1;

/// What stands in the sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    format: u32,
    #[serde(flatten)]
    pub(crate) position: Position,
    pub(crate) files: Vec<Mark>,
    /// Sequence numbers and ids.
    pub(crate) ahead: Vec<(u64, String)>,
}

/// Up to where a file was settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) path: PathBuf,
    #[serde(flatten)]
    pub(crate) identity: Identity,
    pub(crate) size: u64,
}

impl Recorded {
    pub(crate) fn new(position: Position, files: Vec<Mark>, ahead: Vec<(u64, String)>) -> Self {
        Self { format: FORMAT, position, files, ahead }
    }
}

/// What was found at the start.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// As it was written, and when that was.
    Whole(Recorded, SystemTime),
    /// Not there: a new sink, or someone deleted it.
    Missing,
    /// Not as it was written, and what is wrong.
    Damaged(String),
}

/// The state folder, held by this sink alone.
#[derive(Debug)]
pub(crate) struct StateFolder {
    folder: PathBuf,
    position: StateFile,
    /// Unlocked when it is closed.
    _lock: File,
}

impl StateFolder {
    pub(crate) fn open(folder: &Path, disk: &dyn Disk) -> Result<Self, FileError> {
        for changed in create_folders(folder)? {
            disk.sync_folder(&changed)?;
        }
        let path = folder.join("lock");
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(FileError::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {
                let position = StateFile::open(folder.join(FILE));
                Ok(Self { folder: folder.to_owned(), position, _lock: lock })
            }
            Err(TryLockError::WouldBlock) => Err(FileError::StateInUse { path }),
            Err(TryLockError::Error(error)) => Err(FileError::io("lock", &path)(error)),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    pub(crate) fn load(&self) -> Result<Loaded, FileError> {
        let path = self.path();
        let read =
            || io::Result::Ok((fs::read_to_string(&path)?, fs::metadata(&path)?.modified()?));
        match read() {
            Ok((text, written)) => Ok(match parse(&text) {
                Ok(recorded) => Loaded::Whole(recorded, written),
                Err(problem) => Loaded::Damaged(problem),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Loaded::Missing),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Ok(Loaded::Damaged(error.to_string()))
            }
            Err(error) => Err(FileError::io("read", &path)(error)),
        }
    }

    pub(crate) fn store(&self, recorded: &Recorded) -> Result<(), FileError> {
        let json =
            serde_json::to_string(recorded).expect("numbers and strings can be written as JSON");
        let text = format!("{json}\n{:08x}\n", checksum(&json));
        self.position.replace(text.as_bytes()).map_err(FileError::io("write", &self.path()))
    }

    /// Whether a position could be stored.
    pub(crate) fn check(&self) -> Result<(), FileError> {
        self.position.check().map_err(FileError::io("write", &self.path()))
    }
}

fn parse(text: &str) -> Result<Recorded, String> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let mut lines = text.split('\n');
    let (json, sum) = lines.next().zip(lines.next()).ok_or("it is cut short")?;
    if u32::from_str_radix(sum, 16) != Ok(checksum(json)) {
        return Err("its checksum is wrong".to_owned());
    }
    let version: Version = serde_json::from_str(json).map_err(|error| error.to_string())?;
    if version.format != FORMAT {
        return Err(format!("it has format {}, and this version knows {FORMAT}", version.format));
    }
    serde_json::from_str(json).map_err(|error| error.to_string())
}

fn checksum(text: &str) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(text.as_bytes());
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn recorded() -> Recorded {
        let mark =
            Mark { path: "d/x.jsonl".into(), identity: Identity { dev: 1, ino: 2 }, size: 3 };
        Recorded::new(
            Position { epoch: u64::MAX, seq: 7 },
            vec![mark],
            vec![(8, "an id".to_owned())],
        )
    }

    #[test]
    fn what_is_stored_is_loaded_and_every_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(&folder.path().join("a/b"), &RealDisk).unwrap();
        assert!(matches!(state.load().unwrap(), Loaded::Missing));
        state.store(&recorded()).unwrap();
        assert!(matches!(state.load().unwrap(), Loaded::Whole(loaded, _) if loaded == recorded()));

        let whole = fs::read(state.path()).unwrap();
        let text = whole.trim_ascii_end().len();
        for at in 0..text {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(state.path(), &bytes).unwrap();
            assert!(matches!(state.load().unwrap(), Loaded::Damaged(_)), "byte {at}");
            fs::write(state.path(), &whole[..at]).unwrap();
            assert!(matches!(state.load().unwrap(), Loaded::Damaged(_)), "cut at {at}");
        }
    }

    #[test]
    fn another_format_is_named() {
        let json = r#"{"format":2}"#;
        let error = parse(&format!("{json}\n{:08x}\n", checksum(json))).unwrap_err();
        assert_eq!(error, "it has format 2, and this version knows 1");
    }

    #[test]
    fn a_state_folder_has_one_user_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFolder::open(folder.path(), &RealDisk).unwrap();
        let second = StateFolder::open(folder.path(), &RealDisk).unwrap_err();
        assert!(
            second.to_string().contains("is locked: another observer or another sink"),
            "{second}"
        );
        drop(first);
        StateFolder::open(folder.path(), &RealDisk).unwrap();
    }
}
