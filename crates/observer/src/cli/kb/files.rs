//! Files of archives and exports: which ones there are, and their lines.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, anyhow, bail};
use glob::MatchOptions;

/// Buffer size of a file, in bytes.
const BUFFER: usize = 1 << 16;

/// Maximum length of a line, in bytes. It is far above the limit of an event and bounds memory.
const MAX_LINE: usize = 32 << 20;

/// Ends of the names of files that a folder is searched for.
const SUFFIXES: [&str; 3] = [".jsonl", ".ndjson", ".json"];

/// Input of lines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Input {
    Stdin,
    File(PathBuf),
}

impl Input {
    /// Returns the name for messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Opens the input, and decompresses it if it is compressed. `bytes` counts what is read.
    pub(super) fn open(&self, bytes: &Arc<AtomicU64>) -> io::Result<Lines> {
        let bytes = bytes.clone();
        Ok(Lines::new(match self {
            Self::Stdin => decompressed(BufReader::new(Counted { inner: io::stdin(), bytes }))?,
            Self::File(path) => {
                let file = Counted { inner: File::open(path)?, bytes };
                decompressed(BufReader::with_capacity(BUFFER, file))?
            }
        }))
    }
}

/// Returns the files that paths name, which may be folders, patterns such as `events/*.jsonl`, or
/// `-` for standard input.
///
/// # Errors
/// If a file can't be opened, or a folder or pattern has none.
pub(super) fn find(paths: &[PathBuf]) -> anyhow::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            inputs.push(Input::Stdin);
            continue;
        }
        let before = inputs.len();
        for path in expand(path)? {
            if path.is_dir() {
                search(&path, &mut inputs)
                    .with_context(|| format!("{} can't be read", path.display()))?;
            } else {
                File::open(&path).with_context(|| format!("{} can't be read", path.display()))?;
                inputs.push(Input::File(path));
            }
        }
        if inputs.len() == before {
            bail!("{} has no files that end in {}", path.display(), SUFFIXES.join(", "));
        }
    }
    inputs.sort();
    inputs.dedup();
    Ok(inputs)
}

/// Returns a path itself if it exists, and else the paths that it matches as a pattern.
fn expand(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let text = path.to_str().filter(|text| text.contains(['*', '?', '[']));
    let Some(pattern) = text.filter(|_| !path.exists()) else { return Ok(vec![path.to_owned()]) };
    // The temporary file of a compression is hidden.
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    let paths = glob::glob_with(pattern, options)
        .map_err(|error| anyhow!("invalid pattern {pattern}: {error}"))?;
    let paths: Vec<_> = paths.collect::<Result<_, _>>()?;
    if paths.is_empty() {
        bail!("no file matches {pattern}");
    }
    Ok(paths)
}

/// Adds the files of a folder and of those in it.
fn search(folder: &Path, inputs: &mut Vec<Input>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        if kind.is_dir() {
            search(&path, inputs)?;
        } else if entry.file_name().to_str().is_some_and(is_archive) {
            inputs.push(Input::File(path));
        }
    }
    Ok(())
}

fn is_archive(name: &str) -> bool {
    let name = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    !name.starts_with('.') && SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// Returns the total size of the inputs in bytes, or `None` if one of them has no known size.
pub(super) fn total_size(inputs: &[Input]) -> Option<u64> {
    let size = |input: &Input| match input {
        Input::Stdin => None,
        Input::File(path) => {
            fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|file| file.len())
        }
    };
    inputs.iter().map(size).sum()
}

/// Reader that counts its bytes.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Recognises gzip (RFC 1952) and Zstandard (RFC 8878) by their first bytes.
fn decompressed(mut reader: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
    let start = reader.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        let decoder = flate2::bufread::MultiGzDecoder::new(reader);
        return Ok(Box::new(BufReader::with_capacity(BUFFER, decoder)));
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
        return Ok(Box::new(BufReader::with_capacity(BUFFER, decoder)));
    }
    Ok(Box::new(reader))
}

/// Line of an input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Line without surrounding white space; never empty.
    Text {
        /// Number of the line, from 1.
        number: u64,
        text: Vec<u8>,
        /// True if nothing ends it, as after an interrupted write.
        is_last: bool,
    },
    /// Line longer than [`MAX_LINE`].
    TooLong(u64),
}

/// Lines of an input, with bounded memory.
pub(super) struct Lines {
    reader: Box<dyn BufRead>,
    number: u64,
}

impl Lines {
    fn new(reader: Box<dyn BufRead>) -> Self {
        Self { reader, number: 0 }
    }

    /// Returns the number of the last line that was read.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the next line that is not blank.
    ///
    /// # Errors
    /// If the input can't be read, or not be decompressed.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let mut line = Vec::new();
            let limit = MAX_LINE as u64 + 1;
            if (&mut self.reader).take(limit).read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let is_last = line.last() != Some(&b'\n');
            if line.len() > MAX_LINE && is_last {
                self.reader.skip_until(b'\n')?;
                return Ok(Some(Line::TooLong(self.number)));
            }
            let text = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.number == 1);
            let text = text.unwrap_or(&line).trim_ascii();
            if !text.is_empty() {
                return Ok(Some(Line::Text { number: self.number, text: text.to_vec(), is_last }));
            }
        }
    }

    /// Passes over lines.
    pub(super) fn skip(&mut self, lines: u64) -> io::Result<()> {
        for _ in 0..lines {
            self.reader.skip_until(b'\n')?;
        }
        self.number += lines;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_patterns_name_archives() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("bot")).unwrap();
        let names = ["a.jsonl", "b.jsonl.gz", "bot/c.ndjson.zst", "bot/d.json"];
        for name in names.iter().chain(&["notes.txt", ".a.jsonl.gz", "x.gz"]) {
            fs::write(path(name), "").unwrap();
        }
        let files = |names: &[&str]| -> Vec<_> {
            names.iter().map(|name| Input::File(path(name))).collect()
        };
        assert_eq!(find(&[dir.path().to_owned()]).unwrap(), files(&names));
        assert_eq!(find(&[path("*.jsonl*")]).unwrap(), files(&names[..2]));
        assert_eq!(find(&[path("notes.txt"), path("notes.txt")]).unwrap(), files(&["notes.txt"]));
        assert_eq!(find(&["-".into()]).unwrap(), [Input::Stdin]);
        fs::create_dir(path("empty")).unwrap();
        for (name, problem) in [
            ("missing", "missing can't be read"),
            ("*.csv", "no file matches "),
            ("empty", "empty has no files that end in .jsonl, .ndjson, .json"),
        ] {
            let error = find(&[path(name)]).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn lines_are_numbered_and_bounded() {
        let long = "x".repeat(MAX_LINE + 1);
        let input = format!("\u{feff}a\r\n\n  \n{long}\n b\nc");
        let mut lines = Lines::new(Box::new(io::Cursor::new(input.into_bytes())));
        let text =
            |number, text: &str, is_last| Some(Line::Text { number, text: text.into(), is_last });
        assert_eq!(lines.next().unwrap(), text(1, "a", false));
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong(4)));
        assert_eq!(lines.next().unwrap(), text(5, "b", false));
        assert_eq!(lines.next().unwrap(), text(6, "c", true));
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn compressed_input_is_recognised_by_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, bytes) = (b"one\ntwo\n".to_vec(), Arc::default());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, &plain).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        for content in [plain, gzip.repeat(2), zstd] {
            let path = dir.path().join("archive");
            fs::write(&path, &content).unwrap();
            let mut lines = Input::File(path).open(&bytes).unwrap();
            lines.skip(1).unwrap();
            let Some(Line::Text { number: 2, text, .. }) = lines.next().unwrap() else { panic!() };
            assert_eq!(text, b"two");
        }
    }
}
