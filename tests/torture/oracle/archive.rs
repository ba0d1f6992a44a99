//! The files of the archive, read as they are closed, and the one that is written to when all is
//! calm.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// How far the archive was read.
#[derive(Debug)]
pub(crate) struct Archive {
    dir: PathBuf,
    /// The number that the file has, or will have once it is closed.
    number: u64,
    offset: usize,
}

impl Archive {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), number: 1, offset: 0 }
    }

    /// The new lines of files that are closed.
    pub(crate) fn closed(&mut self) -> Result<String, String> {
        let mut text = String::new();
        while let Some(bytes) =
            self.closed_file().map_err(|error| format!("{}: {error}", self.dir.display()))?
        {
            self.add(&mut text, &bytes)?;
            (self.number, self.offset) = (self.number + 1, 0);
        }
        Ok(text)
    }

    /// All new lines; nothing may be written meanwhile. What was read before is deleted, but for
    /// the last number, from which the sink counts on.
    pub(crate) fn all(&mut self) -> Result<String, String> {
        let mut text = self.closed()?;
        for number in (1..self.number.saturating_sub(1)).rev() {
            let [plain, packed] = self.names(number);
            if std::fs::remove_file(packed).is_err() && std::fs::remove_file(plain).is_err() {
                break;
            }
        }
        let path = self.dir.join("archive.jsonl");
        match std::fs::read(&path) {
            Ok(bytes) => self.add(&mut text, &bytes)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
        Ok(text)
    }

    fn add(&mut self, text: &mut String, bytes: &[u8]) -> Result<(), String> {
        let place = || format!("file {} of the archive", self.number);
        let new = bytes.get(self.offset..);
        let new = new
            .ok_or_else(|| format!("{} has become shorter than {} bytes", place(), self.offset))?;
        if new.last().is_some_and(|last| *last != b'\n') {
            return Err(format!("{} ends in the middle of a line", place()));
        }
        text.push_str(std::str::from_utf8(new).map_err(|error| format!("{}: {error}", place()))?);
        self.offset = bytes.len();
        Ok(())
    }

    fn names(&self, number: u64) -> [PathBuf; 2] {
        ["", ".gz"].map(|packed| self.dir.join(format!("archive.{number:06}.jsonl{packed}")))
    }

    /// The file may be packed while it is looked for.
    fn closed_file(&self) -> io::Result<Option<Vec<u8>>> {
        let [plain, packed] = self.names(self.number);
        for path in [&plain, &packed, &plain] {
            let mut bytes = Vec::new();
            let read = File::open(path).and_then(|mut file| {
                if *path == packed {
                    GzDecoder::new(file).read_to_end(&mut bytes)
                } else {
                    file.read_to_end(&mut bytes)
                }
            });
            match read {
                Ok(_) => return Ok(Some(bytes)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
