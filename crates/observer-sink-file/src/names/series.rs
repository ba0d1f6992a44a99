//! The names of one series: the active file, and those that were rotated away from it.
//!
//! `bot.jsonl` is written; `bot.000001.jsonl` is the oldest one rotated, `bot.000002.jsonl` the
//! next. Sorted by name, they stand in the order in which they were written, the active file last.
//! A compressed file has `.gz` or `.zst` after all that. Numbers are never reused while a file with
//! a higher one is there, and nothing is overwritten.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::compression::Compression;
use crate::names::safe_name::INDEX_DIGITS;

/// A file name taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    /// What stands before the number and the extension.
    pub(crate) stem: &'a str,
    pub(crate) index: Option<u64>,
    pub(crate) compression: Compression,
}

impl<'a> Name<'a> {
    /// Take off the compression and the extension, and leave the number for [`Name::rotated`].
    pub(crate) fn parse(name: &'a str, extension: &str) -> Option<Self> {
        let (name, compression) = Compression::split_suffix(name);
        let stem = name.strip_suffix(extension)?;
        Some(Self { stem, index: None, compression })
    }

    /// The same name read as that of a rotated file.
    pub(crate) fn rotated(self) -> Option<Self> {
        let (stem, digits) = self.stem.rsplit_once('.')?;
        let is_index =
            digits.len() >= INDEX_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
        let index = digits.parse().ok().filter(|_| is_index)?;
        Some(Self { stem, index: Some(index), ..self })
    }
}

/// The name of the active file at `path` once it is rotated away as number `index`.
pub(crate) fn rotated(path: &Path, extension: &str, index: u64) -> PathBuf {
    let stem = stem_of(path, extension);
    path.with_file_name(format!("{stem}.{index:0INDEX_DIGITS$}{extension}"))
}

/// The next free number of the series at `path`.
pub(crate) fn next_index(path: &Path, extension: &str) -> io::Result<u64> {
    let stem = stem_of(path, extension);
    let folder = path.parent().expect("an active file stands in a folder");
    let mut highest = 0;
    for entry in fs::read_dir(folder)? {
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
        .expect("the template made the name, with its extension")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_number_is_past_all_that_are_there_whatever_their_compression() {
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
