//! How far the sink has come, kept in its state folder.
//!
//! `position` has two lines. The first is JSON: `format` (1), `epoch` and `seq` of the last settled event, `files` (the files that were
//! open, each with its identity and the size up to which its lines are settled), and `ahead` (lines past `seq` that stand in the files
//! already). The second is the CRC-32 of the first, line feed not included, as eight hexadecimal digits. What follows are line feeds.
//!
//! It is replaced as a whole: `position.spare` is written, synced, and changes names with it; the folder is synced. The one that was
//! replaced is the next spare, so its blocks are written over, and a position can be stored on a full disk. `lock` is empty; whoever writes the
//! files holds an advisory lock on it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use observer_core::Position;
use serde::{Deserialize, Serialize};

use crate::disk::{Identity, create_folders, sync_folder};
use crate::error::FileError;

const FORMAT: u32 = 1;
/// The file is as long as a multiple of this, which is enough but for very many lines ahead.
const LENGTH: usize = 16 * 1024;

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
    /// Unlocked when it is closed.
    _lock: File,
}

impl StateFolder {
    pub(crate) fn open(folder: &Path) -> Result<Self, FileError> {
        for changed in create_folders(folder)? {
            sync_folder(&changed)?;
        }
        let path = folder.join("lock");
        let lock = File::options().create(true).append(true).open(&path).map_err(FileError::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {
                let state = Self { folder: folder.to_owned(), _lock: lock };
                state.recover_spare();
                Ok(state)
            }
            Err(TryLockError::WouldBlock) => Err(FileError::StateInUse { path }),
            Err(TryLockError::Error(error)) => Err(FileError::io("lock", &path)(error)),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("position")
    }

    pub(crate) fn load(&self) -> Result<Loaded, FileError> {
        let path = self.path();
        let read = || io::Result::Ok((fs::read_to_string(&path)?, fs::metadata(&path)?.modified()?));
        match read() {
            Ok((text, written)) => Ok(match parse(&text) {
                Ok(recorded) => Loaded::Whole(recorded, written),
                Err(problem) => Loaded::Damaged(problem),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Loaded::Missing),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Loaded::Damaged(error.to_string())),
            Err(error) => Err(FileError::io("read", &path)(error)),
        }
    }

    pub(crate) fn store(&self, recorded: &Recorded) -> Result<(), FileError> {
        let json = serde_json::to_string(recorded).expect("numbers and strings can be written as JSON");
        self.write_spare(&format!("{json}\n{:08x}\n", checksum(&json)))?;
        self.swap().map_err(FileError::io("replace", &self.path()))?;
        // While the names may be the old ones after a power cut, the spare may be the position.
        sync_folder(&self.folder).inspect_err(|_| self.drop_spare())
    }

    /// Whether a position could be stored.
    pub(crate) fn check(&self) -> Result<(), FileError> {
        self.write_spare("")
    }

    fn spare(&self) -> PathBuf {
        self.folder.join("position.spare")
    }

    /// The last position's second name, while names change. Before the first one, the space for it.
    fn last(&self) -> PathBuf {
        self.folder.join("position.last")
    }

    fn write_spare(&self, text: &str) -> Result<(), FileError> {
        write_over(&self.spare(), text).map_err(FileError::io("write", &self.spare()))
    }

    /// Have the spare be the position, and the position the spare. Where files have one name only, there is no spare then.
    fn swap(&self) -> io::Result<()> {
        let is_first = !self.path().try_exists()?;
        if !is_first {
            let _ = fs::remove_file(self.last());
            let _ = fs::hard_link(self.path(), self.last());
        }
        fs::rename(self.spare(), self.path())?;
        match fs::rename(self.last(), self.spare()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// After a change of names that was cut short, or the first time.
    fn recover_spare(&self) {
        if !self.spare().exists() {
            let _ = fs::rename(self.last(), self.spare());
        }
        let identity = |path: PathBuf| fs::metadata(path).ok().map(|metadata| Identity::of(&metadata));
        let position = identity(self.path());
        let is_position = position.is_some() && identity(self.spare()) == position;
        if is_position || sync_folder(&self.folder).is_err() {
            self.drop_spare();
        }
        // Where there is no space, whoever needs it is told.
        let _ = write_over(&self.spare(), "");
        if position.is_none() {
            let _ = write_over(&self.last(), "");
        } else {
            // A second name of the position, if it is there.
            let _ = fs::remove_file(self.last());
        }
    }

    fn drop_spare(&self) {
        let _ = fs::remove_file(self.spare());
    }
}

/// Write from the beginning of a file, which keeps its blocks, and fill it up with line feeds.
fn write_over(path: &Path, text: &str) -> io::Result<()> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(bytes.len().max(1).next_multiple_of(LENGTH), b'\n');
    let mut file = File::options().create(true).write(true).truncate(false).open(path)?;
    file.write_all(&bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
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
    use std::collections::BTreeSet;

    use super::*;

    fn recorded() -> Recorded {
        let mark = Mark { path: "d/x.jsonl".into(), identity: Identity { dev: 1, ino: 2 }, size: 3 };
        Recorded::new(Position { epoch: u64::MAX, seq: 7 }, vec![mark], vec![(8, "an id".to_owned())])
    }

    #[test]
    fn what_is_stored_is_loaded_and_every_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(&folder.path().join("a/b")).unwrap();
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
    fn a_position_needs_no_new_space_to_be_stored() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let inodes = || {
            let inode = |path| fs::metadata(path).ok().map(|metadata| (metadata.ino(), metadata.len()));
            [state.path(), state.spare(), state.last()].into_iter().filter_map(inode).collect::<BTreeSet<_>>()
        };
        let both = inodes();
        assert_eq!(both.len(), 2);
        for seq in 8..12 {
            state.check().unwrap();
            let recorded = Recorded { position: Position { epoch: 1, seq }, ..recorded() };
            state.store(&recorded).unwrap();
            assert!(matches!(state.load().unwrap(), Loaded::Whole(loaded, _) if loaded == recorded));
            assert_eq!(inodes(), both, "the same two files of the same length");
        }
    }

    #[test]
    fn names_that_were_changed_by_half_are_put_right() {
        let check = |cut: fn(&StateFolder)| {
            let folder = tempfile::tempdir().unwrap();
            let state = StateFolder::open(folder.path()).unwrap();
            state.store(&recorded()).unwrap();
            cut(&state);
            drop(state);
            let state = StateFolder::open(folder.path()).unwrap();
            assert!(matches!(state.load().unwrap(), Loaded::Whole(loaded, _) if loaded == recorded()));
            state.check().unwrap();
            assert!(matches!(state.load().unwrap(), Loaded::Whole(loaded, _) if loaded == recorded()), "overwritten");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        };
        check(|_| {});
        check(|state| fs::hard_link(state.path(), state.last()).unwrap());
        check(|state| fs::rename(state.spare(), state.last()).unwrap());
        check(|state| state.drop_spare());
        // As no file system should leave them.
        check(|state| {
            state.drop_spare();
            fs::hard_link(state.path(), state.spare()).unwrap();
        });
        check(|state| {
            state.drop_spare();
            fs::hard_link(state.path(), state.last()).unwrap();
        });
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
        let first = StateFolder::open(folder.path()).unwrap();
        let second = StateFolder::open(folder.path()).unwrap_err();
        assert!(second.to_string().contains("is locked: another observer or another sink"), "{second}");
        drop(first);
        StateFolder::open(folder.path()).unwrap();
    }
}
