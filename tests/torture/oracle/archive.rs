//! Reader of the archive: closed files at any time, the active file while nothing is written.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::oracle::event::SentEvents;
use crate::oracle::foreign::ForeignFiles;

const ACTIVE: &str = "archive.jsonl";

/// Archive, and the position up to which it was read.
#[derive(Debug)]
pub(crate) struct Archive {
    dir: PathBuf,
    /// Number that the next file to read has, or gets when it is rotated.
    number: u64,
    /// Bytes of that file that were read.
    offset: usize,
    /// Folders that were removed since the last complete check. The observer may still write what
    /// it had at hand to the last one.
    removed: Vec<RemovedFolder>,
}

/// Folder that was removed.
#[derive(Debug)]
struct RemovedFolder {
    /// Unread files in the order of their lines.
    files: Vec<RemovedFile>,
    /// Events that had been sent when the folder was gone.
    sent: SentEvents,
}

/// Lines of one folder.
#[derive(Debug)]
pub(crate) struct FolderLines {
    pub(crate) text: String,
    /// Events that had been sent when the folder was gone; `None` for the present one.
    pub(crate) sent: Option<SentEvents>,
}

/// Open file whose name was removed.
#[derive(Debug)]
struct RemovedFile {
    /// Number of a closed file.
    number: Option<u64>,
    file: File,
    is_packed: bool,
}

impl Archive {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), number: 1, offset: 0, removed: Vec::new() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the number of the next file that is closed, as far as it is known.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the highest number of a closed file of the archive.
    pub(crate) fn last_number(&self, foreign: &ForeignFiles) -> Result<u64, String> {
        let numbers = self.numbers(foreign).map_err(|error| self.fail(&error))?;
        Ok(numbers.last().copied().unwrap_or(self.number))
    }

    /// Reads the new lines of closed files.
    pub(crate) fn closed(&mut self, foreign: &ForeignFiles) -> Result<String, String> {
        let mut text = String::new();
        if !self.removed.is_empty() {
            return Ok(text);
        }
        while let Some(bytes) = self.next_closed(foreign).map_err(|error| self.fail(&error))? {
            self.add(&mut text, &bytes)?;
            (self.number, self.offset) = (self.number + 1, 0);
        }
        Ok(text)
    }

    /// Reads all new lines, while nothing is written: those of each removed folder, and those of
    /// the present one. Deletes the files that were read, except the last one.
    pub(crate) fn all(&mut self, foreign: &ForeignFiles) -> Result<Vec<FolderLines>, String> {
        let mut folders = Vec::new();
        for RemovedFolder { files, sent } in std::mem::take(&mut self.removed) {
            folders.push(FolderLines { text: self.read_removed(files)?, sent: Some(sent) });
        }
        let mut text = self.closed(foreign)?;
        let last = self.number.saturating_sub(1);
        for number in self.numbers(foreign).map_err(|error| self.fail(&error))? {
            let own = self.names(number).into_iter().filter(|path| !foreign.contains(path));
            for path in own.filter(|_| number < last) {
                let _ = std::fs::remove_file(path);
            }
        }
        let path = self.dir.join(ACTIVE);
        match std::fs::read(&path) {
            Ok(bytes) => self.add(&mut text, &bytes)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
        folders.push(FolderLines { text, sent: None });
        Ok(folders)
    }

    /// Removes the folder with all files. [`Archive::all`] returns what the observer has written
    /// and still writes to them. `sent` returns the events that were sent so far. Returns whether
    /// there was a folder.
    pub(crate) fn remove_folder(
        &mut self,
        foreign: &mut ForeignFiles,
        sent: impl FnOnce() -> SentEvents,
    ) -> Result<bool, String> {
        // Files that are opened one after the other could be rotated meanwhile.
        let away = self.dir.with_extension("removed");
        let moved = match std::fs::rename(&self.dir, &away) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            moved => moved.and_then(|()| self.empty(&away, foreign)),
        };
        let files = moved.map_err(|error| self.fail(&error))?;
        self.removed.push(RemovedFolder { files, sent: sent() });
        foreign.forget_folder(&self.dir);
        Ok(true)
    }

    /// Removes a folder that was renamed, and returns its unread files. A file that the observer
    /// was creating or renaming meanwhile may still appear.
    fn empty(&self, away: &Path, foreign: &ForeignFiles) -> io::Result<Vec<RemovedFile>> {
        let mut files: Vec<RemovedFile> = Vec::new();
        loop {
            for entry in std::fs::read_dir(away)? {
                let path = entry?.path();
                let at = self.dir.join(path.file_name().unwrap_or_default());
                let number = number_of(&at);
                let is_unread = number.is_some_and(|number| number >= self.number);
                if (is_unread || at.ends_with(ACTIVE)) && !foreign.contains(&at) {
                    match File::open(&path) {
                        Err(error) if error.kind() == ErrorKind::NotFound => continue,
                        file => add_removed(&mut files, number, file?, is_packed(&path))?,
                    }
                }
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            match std::fs::remove_dir(away) {
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
                removed => {
                    removed?;
                    files.sort_by_key(|file| file.number.unwrap_or(u64::MAX));
                    return Ok(files);
                }
            }
        }
    }

    fn read_removed(&mut self, folder: Vec<RemovedFile>) -> Result<String, String> {
        let mut text = String::new();
        for RemovedFile { number, file, is_packed } in folder {
            let bytes = read(file, is_packed).map_err(|error| self.fail(&error))?;
            self.add(&mut text, &bytes)?;
            self.offset = 0;
            self.number = number.map_or(self.number, |number| number + 1);
        }
        self.offset = 0;
        Ok(text)
    }

    fn fail(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.dir.display())
    }

    fn add(&mut self, text: &mut String, bytes: &[u8]) -> Result<(), String> {
        let name = || format!("file {} of the archive", self.number);
        let new = bytes.get(self.offset..);
        let new =
            new.ok_or_else(|| format!("{} became shorter than {} bytes", name(), self.offset))?;
        if new.last().is_some_and(|last| *last != b'\n') {
            return Err(format!("{} ends in the middle of a line", name()));
        }
        text.push_str(std::str::from_utf8(new).map_err(|error| format!("{}: {error}", name()))?);
        self.offset = bytes.len();
        Ok(())
    }

    /// Returns the path of a closed file, with the suffix `packed`.
    pub(crate) fn path(&self, number: u64, packed: &str) -> PathBuf {
        self.dir.join(format!("archive.{number:06}.jsonl{packed}"))
    }

    fn names(&self, number: u64) -> [PathBuf; 2] {
        ["", ".gz"].map(|packed| self.path(number, packed))
    }

    /// Reads the next closed file. Its number need not follow that of the last one, since the sink
    /// passes numbers that foreign files have.
    fn next_closed(&mut self, foreign: &ForeignFiles) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(bytes) = self.closed_file(foreign)? {
                return Ok(Some(bytes));
            }
            let numbers = self.numbers(foreign)?;
            let Some(next) = numbers.into_iter().find(|number| *number > self.number) else {
                return Ok(None);
            };
            // A file that is older than the next one may have been closed meanwhile.
            if let Some(bytes) = self.closed_file(foreign)? {
                return Ok(Some(bytes));
            }
            self.number = next;
        }
    }

    /// Returns the numbers of the closed files.
    fn numbers(&self, foreign: &ForeignFiles) -> io::Result<BTreeSet<u64>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries?,
        };
        let mut numbers = BTreeSet::new();
        for entry in entries {
            let path = entry?.path();
            numbers.extend(number_of(&path).filter(|_| !foreign.contains(&path)));
        }
        Ok(numbers)
    }

    /// Reads the file with the next number, which may be compressed meanwhile.
    fn closed_file(&self, foreign: &ForeignFiles) -> io::Result<Option<Vec<u8>>> {
        let [plain, packed] = self.names(self.number);
        for path in [&plain, &packed, &plain].into_iter().filter(|path| !foreign.contains(path)) {
            match File::open(path).and_then(|file| read(file, is_packed(path))) {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Adds a file, unless it is known by its former name or as the original of a compressed file.
fn add_removed(
    files: &mut Vec<RemovedFile>,
    number: Option<u64>,
    file: File,
    is_packed: bool,
) -> io::Result<()> {
    let inode = file.metadata()?.ino();
    for known in files.iter_mut() {
        if known.file.metadata()?.ino() == inode {
            known.number = known.number.or(number);
            return Ok(());
        }
        if number.is_some() && known.number == number {
            return Ok(());
        }
    }
    files.push(RemovedFile { number, file, is_packed });
    Ok(())
}

/// Returns the number of a closed file.
fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    name.strip_prefix("archive.")?.strip_suffix(".jsonl")?.parse().ok()
}

fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

fn read(mut file: File, is_packed: bool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if is_packed {
        GzDecoder::new(file).read_to_end(&mut bytes)?;
    } else {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
