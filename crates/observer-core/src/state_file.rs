//! A small file that is replaced atomically, in disk space that it keeps reserved.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::private_files;

/// Length of the files is a multiple of this, in bytes.
const LENGTH: usize = 16 * 1024;

/// Small file in the state folder of a sink that can be replaced even while the disk is full.
///
/// Three names belong to it:
/// - `NAME`: the current contents, padded with line feeds to a multiple of 16 KiB.
/// - `NAME.spare`: reserved space of at least 16 KiB.
/// - `NAME.last`: the previous contents while [`replace`](Self::replace) swaps names. Before the
///   first `replace` it is reserved space.
///
/// `replace` writes the new contents into the spare, syncs it, and swaps the names of the two.
/// After a crash there are the old contents or the new ones. The blocks of the old contents become
/// the next spare, so that no replacement needs new space.
///
/// Only one process may write the file at a time.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let file = observer_core::StateFile::open(folder.path().join("position"));
/// file.replace(b"4711")?;
/// assert_eq!(std::fs::read(folder.path().join("position"))?.trim_ascii_end(), b"4711");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    syncs: Syncs,
}

/// Operations that make the bytes of a file and the names in a folder durable.
#[derive(Debug, Clone, Copy)]
struct Syncs {
    file: fn(&File) -> io::Result<()>,
    folder: fn(&Path) -> io::Result<()>,
}

impl StateFile {
    /// Completes what a crash interrupted, and reserves space.
    ///
    /// The folder must exist. Failures are reported by the first [`replace`](Self::replace).
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self::open_with(path.into(), Syncs { file: File::sync_all, folder: sync_folder })
    }

    fn open_with(path: PathBuf, syncs: Syncs) -> Self {
        let file = Self { path, syncs };
        if !file.spare().exists() {
            let _ = fs::rename(file.last(), file.spare());
        }
        let exists = file.path.exists();
        if is_same(&file.path, &file.spare()) || file.sync_folder().is_err() {
            file.drop_spare();
        }
        file.reserve(&file.spare());
        if exists {
            // If it exists, it is a second name of the file itself.
            let _ = fs::remove_file(file.last());
        } else {
            file.reserve(&file.last());
        }
        file
    }

    /// Replaces the contents atomically and durably.
    ///
    /// # Errors
    /// If a file operation fails. The file then has the old contents or the new ones.
    pub fn replace(&self, contents: &[u8]) -> io::Result<()> {
        (self.syncs.file)(&write_over(&self.spare(), contents)?)?;
        if self.path.try_exists()? {
            let _ = fs::remove_file(self.last());
            // A file system without hard links leaves no spare afterwards.
            let _ = fs::hard_link(&self.path, self.last());
        }
        fs::rename(self.spare(), &self.path)?;
        match fs::rename(self.last(), self.spare()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Until the folder is synced, a power cut may restore the old names, under which the spare
        // is the current file.
        self.sync_folder().inspect_err(|_| self.drop_spare())
    }

    /// Checks that the file can be replaced.
    ///
    /// # Errors
    /// If the spare can't be written.
    pub fn check(&self) -> io::Result<()> {
        write_over(&self.spare(), b"").map(drop)
    }

    fn spare(&self) -> PathBuf {
        self.beside("spare")
    }

    /// Returns the name of the previous contents during a swap, or of space for the first contents.
    fn last(&self) -> PathBuf {
        self.beside("last")
    }

    fn beside(&self, extension: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or(OsStr::new("state")).to_owned();
        name.push(".");
        name.push(extension);
        self.path.with_file_name(name)
    }

    fn drop_spare(&self) {
        let _ = fs::remove_file(self.spare());
    }

    /// Creates a file that occupies space, unless it exists. Failures are ignored.
    fn reserve(&self, path: &Path) {
        if fs::metadata(path).map_or(true, |metadata| metadata.len() < LENGTH as u64) {
            // Some file systems allocate space at the sync.
            let _ = write_over(path, b"").and_then(|file| (self.syncs.file)(&file));
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        (self.syncs.folder)(folder.unwrap_or(Path::new(".")))
    }
}

/// Overwrites a file from its beginning, so that its blocks are kept.
fn write_over(path: &Path, contents: &[u8]) -> io::Result<File> {
    let mut bytes = contents.to_vec();
    bytes.resize(bytes.len().max(1).next_multiple_of(LENGTH), b'\n');
    let mut file =
        private_files::options().create(true).read(true).write(true).truncate(false).open(path)?;
    file.write_all(&bytes)?;
    file.set_len(bytes.len() as u64)?;
    Ok(file)
}

/// Returns whether two paths are names of one file; `true` where the system can't tell.
fn is_same(path: &Path, other: &Path) -> bool {
    let (Ok(one), Ok(other)) = (fs::metadata(path), fs::metadata(other)) else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        drop((one, other));
        true
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn contents(file: &StateFile) -> Vec<u8> {
        fs::read(&file.path).unwrap().trim_ascii_end().to_vec()
    }

    #[test]
    fn replace_takes_no_new_space() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(folder.path().join("file"));
        let inodes = || {
            let files = fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().metadata().unwrap());
            files.map(|metadata| (metadata.ino(), metadata.len())).collect::<BTreeSet<_>>()
        };
        let both = inodes();
        assert_eq!(both.len(), 2);
        for contents_now in [&b"one"[..], b"two and more", b"3"] {
            file.check().unwrap();
            file.replace(contents_now).unwrap();
            assert_eq!(contents(&file), contents_now);
            assert_eq!(inodes(), both, "the same two files of the same length");
        }
        file.replace(&[b'x'; 20_000]).unwrap();
        assert_eq!(contents(&file).len(), 20_000);
    }

    #[test]
    fn open_completes_an_interrupted_swap() {
        let check = |cut: fn(&StateFile)| {
            let folder = tempfile::tempdir().unwrap();
            let file = StateFile::open(folder.path().join("file"));
            file.replace(b"before").unwrap();
            file.replace(b"now").unwrap();
            cut(&file);
            let file = StateFile::open(folder.path().join("file"));
            assert_eq!(contents(&file), b"now");
            file.check().unwrap();
            assert_eq!(contents(&file), b"now", "the spare is another name of the file");
            file.replace(b"later").unwrap();
            assert_eq!(contents(&file), b"later");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        };
        check(|_| {});
        check(|file| fs::hard_link(&file.path, file.last()).unwrap());
        check(|file| fs::rename(file.spare(), file.last()).unwrap());
        check(StateFile::drop_spare);
        // States that no crash should leave.
        check(|file| {
            file.drop_spare();
            fs::hard_link(&file.path, file.spare()).unwrap();
        });
        check(|file| {
            file.drop_spare();
            fs::hard_link(&file.path, file.last()).unwrap();
        });
    }

    thread_local! {
        /// Syncs of this thread, and the number of the sync that fails, from 1.
        static SYNCED: RefCell<(Vec<String>, Option<usize>)> =
            const { RefCell::new((Vec::new(), None)) };
    }

    fn record(what: String) -> io::Result<()> {
        SYNCED.with_borrow_mut(|(synced, fails)| {
            synced.push(what);
            if *fails == Some(synced.len()) {
                Err(io::Error::other("injected failure"))
            } else {
                Ok(())
            }
        })
    }

    /// Records the contents of each file that is synced, and the names and contents of each folder.
    const RECORDED: Syncs = Syncs {
        file: |file| {
            use std::os::unix::fs::FileExt;
            let mut bytes = vec![0; LENGTH];
            file.read_exact_at(&mut bytes, 0)?;
            record(format!("bytes: {}", String::from_utf8(bytes).unwrap().trim_end()))
        },
        folder: |folder| {
            let mut names: Vec<_> = fs::read_dir(folder)?
                .map(|entry| {
                    let path = entry.unwrap().path();
                    let name = path.file_name().unwrap().to_string_lossy().into_owned();
                    format!(
                        "{name}={}",
                        String::from_utf8(fs::read(path).unwrap()).unwrap().trim_end()
                    )
                })
                .collect();
            names.sort();
            record(format!("names: {}", names.join(" ")))
        },
    };

    fn synced(of: impl FnOnce(), fails: Option<usize>) -> Vec<String> {
        SYNCED.set((Vec::new(), fails));
        of();
        SYNCED.take().0
    }

    #[test]
    fn replace_syncs_the_bytes_before_the_swap_and_the_names_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let open = || StateFile::open_with(path.clone(), RECORDED);
        assert_eq!(synced(|| drop(open()), None), ["names: ", "bytes: ", "bytes: "]);
        let file = open();
        let replace = |contents: &str| file.replace(contents.as_bytes()).unwrap();
        assert_eq!(synced(|| replace("one"), None), ["bytes: one", "names: file.spare= file=one"]);
        assert_eq!(
            synced(|| replace("two"), None),
            ["bytes: two", "names: file.spare=one file=two"]
        );
        assert_eq!(synced(|| drop(open()), None), ["names: file.spare=one file=two"]);
    }

    #[test]
    fn failed_sync_is_reported_and_drops_the_spare() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = StateFile::open_with(path.clone(), RECORDED);
        file.replace(b"one").unwrap();
        let fails = |at| synced(|| assert!(file.replace(b"two").is_err()), Some(at)).len();
        assert_eq!((fails(1), contents(&file)), (1, b"one".to_vec()));
        // A power cut may give the name back to the old bytes, so they must not be overwritten.
        assert_eq!((fails(2), contents(&file), file.spare().exists()), (2, b"two".to_vec(), false));
        assert_eq!(
            synced(|| drop(StateFile::open_with(path, RECORDED)), Some(1)),
            ["names: file=two", "bytes: "]
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn sync_folder_calls_the_operating_system() {
        // It can't sync this file.
        assert_eq!(
            sync_folder(Path::new("/dev/null")).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
