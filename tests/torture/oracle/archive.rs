//! Reader of the archive: closed files at any time, the active file while nothing is written.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// Archive, and the position up to which it was read.
#[derive(Debug)]
pub(crate) struct Archive {
    dir: PathBuf,
    /// Number that the next file to read has, or gets when it is rotated.
    number: u64,
    /// Bytes of that file that were read.
    offset: usize,
}

impl Archive {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), number: 1, offset: 0 }
    }

    /// Reads the new lines of closed files.
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

    /// Reads all new lines, while nothing is written. Deletes the files that were read, except the
    /// last one, from whose number the sink continues.
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

    fn names(&self, number: u64) -> [PathBuf; 2] {
        ["", ".gz"].map(|packed| self.dir.join(format!("archive.{number:06}.jsonl{packed}")))
    }

    /// Reads the next closed file, which may be compressed meanwhile.
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
