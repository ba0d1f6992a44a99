//! File names of one series: an active file and the files that were rotated from it.
//!
//! `bot.jsonl` is the active file, `bot.000001.jsonl` the oldest rotated file, `bot.000002.jsonl`
//! the next one. Sorted by name, the files are in the order in which they were written, with the
//! active file last. A compressed file has the additional suffix `.gz` or `.zst`. A number is not
//! reused, also when all files were deleted, and no file is overwritten.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::compression::Compression;
use crate::names::safe_name::INDEX_DIGITS;

/// Parts of a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    /// Part before the number and the extension.
    pub(crate) stem: &'a str,
    /// Number of a rotated file.
    pub(crate) index: Option<u64>,
    pub(crate) compression: Compression,
}

impl<'a> Name<'a> {
    /// Splits off the compression suffix and the extension. A number stays in the stem until
    /// [`Name::rotated`].
    pub(crate) fn parse(name: &'a str, extension: &str) -> Option<Self> {
        let (name, compression) = Compression::split_suffix(name);
        let stem = name.strip_suffix(extension)?;
        Some(Self { stem, index: None, compression })
    }

    /// Splits a number off the stem; `None` if there is none.
    pub(crate) fn rotated(self) -> Option<Self> {
        let (stem, digits) = self.stem.rsplit_once('.')?;
        let is_index =
            digits.len() >= INDEX_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
        let index = digits.parse().ok().filter(|_| is_index)?;
        Some(Self { stem, index: Some(index), ..self })
    }
}

/// Returns the path that the active file at `path` gets when it is rotated as number `index`.
pub(crate) fn rotated(path: &Path, extension: &str, index: u64) -> PathBuf {
    let stem = stem_of(path, extension);
    path.with_file_name(format!("{stem}.{index:0INDEX_DIGITS$}{extension}"))
}

/// Splits the number off the path of a rotated file, compressed or not. Returns the path of the
/// active file and the number.
pub(crate) fn number_of(path: &str, extension: &str) -> Option<(String, u64)> {
    let Name { stem, index, .. } = Name::parse(path, extension)?.rotated()?;
    Some((format!("{stem}{extension}"), index?))
}

/// Returns the next free number of the series whose active file is at `path`.
pub(crate) fn next_index(path: &Path, extension: &str) -> io::Result<u64> {
    let stem = stem_of(path, extension);
    let folder = path.parent().expect("an active file has a parent folder");
    let mut highest = 0;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(1),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let found =
            name.to_str().and_then(|name| Name::parse(name, extension)).and_then(Name::rotated);
        if let Some(Name { stem: of, index: Some(index), .. }) = found
            && of == stem
        {
            highest = highest.max(index);
        }
    }
    Ok(highest + 1)
}

fn stem_of<'a>(path: &'a Path, extension: &str) -> &'a str {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_suffix(extension))
        .expect("a name that the template rendered ends in its extension")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_split_off_a_path() {
        let split = |path| number_of(path, ".jsonl");
        assert_eq!(split("a/bot.000012.jsonl.gz"), Some(("a/bot.jsonl".to_owned(), 12)));
        assert_eq!(split("a/bot.000012.jsonl"), Some(("a/bot.jsonl".to_owned(), 12)));
        for path in ["a/bot.jsonl", "a/bot.12.jsonl", "a/bot.000012.ndjson", "a.000001/bot"] {
            assert_eq!(split(path), None, "{path}");
        }
    }

    #[test]
    fn next_number_exceeds_those_of_all_files_compressed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bot.jsonl");
        assert_eq!(next_index(&path, ".jsonl").unwrap(), 1);
        for name in [
            "bot.jsonl",
            "bot.000002.jsonl",
            "bot.000007.jsonl.gz",
            "bot.9.jsonl",
            "other.000009.jsonl",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(next_index(&path, ".jsonl").unwrap(), 8);
        assert_eq!(rotated(&path, ".jsonl", 8), folder.path().join("bot.000008.jsonl"));
        assert_eq!(rotated(&path, ".jsonl", 1_234_567), folder.path().join("bot.1234567.jsonl"));
    }
}
