//! A small file that is replaced as a whole, in space that it keeps.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The files are as long as a multiple of this.
const LENGTH: usize = 16 * 1024;

/// A small file in the state folder of a sink, which can be replaced while the disk is full.
///
/// There is a second one, the spare, into which the new contents are written. Once they are durable
/// the two change names, so that after a crash there are the old contents or the new ones, and the
/// blocks of the old ones are written over the next time. Contents are filled up with line feeds.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let file = observer_core::StateFile::open(folder.path().join("position"));
/// file.replace(b"4711")?;
/// assert_eq!(std::fs::read(folder.path().join("position"))?.trim_ascii_end(), b"4711");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Nothing else may write it at the same time.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    syncs: Syncs,
}

/// How bytes, and the names in a folder, become durable.
#[derive(Debug, Clone, Copy)]
struct Syncs {
    file: fn(&File) -> io::Result<()>,
    folder: fn(&Path) -> io::Result<()>,
}

impl StateFile {
    /// Put right what a crash left half done, and set space aside. The folder must be there; where
    /// it isn't, or where there is no space, the first [`replace`](Self::replace) says so.
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self::open_with(path.into(), Syncs { file: File::sync_all, folder: sync_folder })
    }

    fn open_with(path: PathBuf, syncs: Syncs) -> Self {
        let file = Self { path, syncs };
        if !file.spare().exists() {
            let _ = fs::rename(file.last(), file.spare());
        }
        let is_there = file.path.exists();
        if is_same(&file.path, &file.spare()) || file.sync_folder().is_err() {
            file.drop_spare();
        }
        file.set_aside(&file.spare());
        if is_there {
            // A second name of the file, if anything.
            let _ = fs::remove_file(file.last());
        } else {
            file.set_aside(&file.last());
        }
        file
    }

    /// Have these contents in the file, durably.
    ///
    /// # Errors
    /// As the operating system says. The old contents are there then, or the new ones.
    pub fn replace(&self, contents: &[u8]) -> io::Result<()> {
        (self.syncs.file)(&write_over(&self.spare(), contents)?)?;
        if self.path.try_exists()? {
            let _ = fs::remove_file(self.last());
            // Where a file can have one name only, there is no spare afterwards.
            let _ = fs::hard_link(&self.path, self.last());
        }
        fs::rename(self.spare(), &self.path)?;
        match fs::rename(self.last(), self.spare()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // While a power cut may bring the old names back, the spare is the file.
        self.sync_folder().inspect_err(|_| self.drop_spare())
    }

    /// Whether it could be replaced.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> io::Result<()> {
        write_over(&self.spare(), b"").map(drop)
    }

    fn spare(&self) -> PathBuf {
        self.beside("spare")
    }

    /// The old contents while names change. Before the first ones, the space for them.
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

    /// Have a file there with space in it, if there is any.
    fn set_aside(&self, path: &Path) {
        if fs::metadata(path).map_or(true, |metadata| metadata.len() < LENGTH as u64) {
            // Some file systems look for space only now.
            let _ = write_over(path, b"").and_then(|file| (self.syncs.file)(&file));
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        (self.syncs.folder)(folder.unwrap_or(Path::new(".")))
    }
}

/// Write from the beginning of a file, whose blocks stay.
fn write_over(path: &Path, contents: &[u8]) -> io::Result<File> {
    let mut bytes = contents.to_vec();
    bytes.resize(bytes.len().max(1).next_multiple_of(LENGTH), b'\n');
    let mut file =
        File::options().create(true).read(true).write(true).truncate(false).open(path)?;
    file.write_all(&bytes)?;
    file.set_len(bytes.len() as u64)?;
    Ok(file)
}

/// Whether these are two names of one file. Where that can't be told, they may be.
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
    fn it_takes_no_new_space_to_be_replaced() {
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
    fn names_that_were_changed_by_half_are_put_right() {
        let check = |cut: fn(&StateFile)| {
            let folder = tempfile::tempdir().unwrap();
            let file = StateFile::open(folder.path().join("file"));
            file.replace(b"before").unwrap();
            file.replace(b"now").unwrap();
            cut(&file);
            let file = StateFile::open(folder.path().join("file"));
            assert_eq!(contents(&file), b"now");
            file.check().unwrap();
            assert_eq!(contents(&file), b"now", "it was its own spare");
            file.replace(b"later").unwrap();
            assert_eq!(contents(&file), b"later");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        };
        check(|_| {});
        check(|file| fs::hard_link(&file.path, file.last()).unwrap());
        check(|file| fs::rename(file.spare(), file.last()).unwrap());
        check(StateFile::drop_spare);
        // As no file system should leave them.
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
        /// What was made durable on this thread, and the first one that is not.
        static SYNCED: RefCell<(Vec<String>, Option<usize>)> = const { RefCell::new((Vec::new(), None)) };
    }

    fn note(what: String) -> io::Result<()> {
        SYNCED.with_borrow_mut(|(synced, fails)| {
            synced.push(what);
            if *fails == Some(synced.len()) {
                Err(io::Error::other("the disk says no"))
            } else {
                Ok(())
            }
        })
    }

    /// Tells what is in the file when it is made durable, and what has which name when the folder
    /// is.
    const TOLD: Syncs = Syncs {
        file: |file| {
            use std::os::unix::fs::FileExt;
            let mut bytes = vec![0; LENGTH];
            file.read_exact_at(&mut bytes, 0)?;
            note(format!("bytes: {}", String::from_utf8(bytes).unwrap().trim_end()))
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
            note(format!("names: {}", names.join(" ")))
        },
    };

    fn synced(of: impl FnOnce(), fails: Option<usize>) -> Vec<String> {
        SYNCED.set((Vec::new(), fails));
        of();
        SYNCED.take().0
    }

    #[test]
    fn bytes_are_durable_before_they_get_the_name_and_the_name_before_it_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let open = || StateFile::open_with(path.clone(), TOLD);
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
    fn a_sync_that_fails_is_told_and_leaves_what_a_power_cut_may_leave() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = StateFile::open_with(path.clone(), TOLD);
        file.replace(b"one").unwrap();
        let fails = |at| synced(|| assert!(file.replace(b"two").is_err()), Some(at)).len();
        assert_eq!((fails(1), contents(&file)), (1, b"one".to_vec()));
        // The name may be that of the old bytes again, which must not be written over then.
        assert_eq!((fails(2), contents(&file), file.spare().exists()), (2, b"two".to_vec(), false));
        assert_eq!(
            synced(|| drop(StateFile::open_with(path, TOLD)), Some(1)),
            ["names: file=two", "bytes: "]
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_sync_asks_the_operating_system() {
        // Which can't do it for this one.
        assert_eq!(
            sync_folder(Path::new("/dev/null")).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
