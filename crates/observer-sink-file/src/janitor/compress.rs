//! Compression of one closed file.
//!
//! 1. The contents of `x.jsonl` are written to `.x.jsonl.gz.tmp`, which is synced.
//! 2. The temporary file is renamed to `x.jsonl.gz`, and the folder is synced.
//! 3. `x.jsonl` is deleted.
//!
//! A crash during step 1 leaves a temporary file, which the next start deletes. A crash before step
//! 3 leaves both files; the next attempt compares their contents. If they are equal, `x.jsonl` is
//! deleted. If they differ (`x.jsonl` holds late lines of a day that was already compressed),
//! `x.jsonl` is renamed to the next number of its series and compressed under that name.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::compression::Compression;
use crate::disk::{Disk, parent};
use crate::names::series;

const BLOCK: usize = 128 << 10;

/// Coordination with the writer and with shutdown.
pub(crate) trait WriterLock {
    /// Returns whether the compression should stop before it is complete.
    fn is_stopping(&self) -> bool;

    /// Runs `change` while the writer can't open `path`. Returns `None`, without a call of
    /// `change`, if the writer has the file open.
    fn exclusively<T>(
        &self,
        path: &Path,
        change: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<Option<T>>;
}

/// Result of an attempt to compress a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compressed {
    /// Only the compressed file exists.
    Done,
    /// The original is unchanged: the writer uses it again, or the sink is stopping.
    Skipped,
}

/// Compresses a closed file. A file that no longer exists counts as compressed.
pub(crate) fn compress(
    path: &Path,
    compression: Compression,
    extension: &str,
    owner: &impl WriterLock,
    disk: &dyn Disk,
) -> io::Result<Compressed> {
    match compress_existing(path, compression, extension, owner, disk) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => {
            Ok(Compressed::Done)
        }
        outcome => outcome,
    }
}

fn compress_existing(
    path: &Path,
    compression: Compression,
    extension: &str,
    owner: &impl WriterLock,
    disk: &dyn Disk,
) -> io::Result<Compressed> {
    let mut path = path.to_owned();
    for other in [Compression::Gzip, Compression::Zstd] {
        let compressed = with_suffix(&path, other);
        if !compressed.exists() {
            continue;
        }
        let len = fs::metadata(&path)?.len();
        if has_same_contents(&compressed, other, &path).unwrap_or(false) {
            let outcome = owner.exclusively(&path, || remove_if_unchanged(&path, len))?;
            return Ok(outcome.unwrap_or(Compressed::Skipped));
        }
        let moved = owner.exclusively(&path, || {
            let free = series::rotated(&path, extension, series::next_index(&path, extension)?);
            fs::rename(&path, &free).map(|()| free)
        })?;
        match moved {
            Some(free) => path = free,
            None => return Ok(Compressed::Skipped),
        }
        break;
    }
    let compressed = with_suffix(&path, compression);
    let temporary = temporary(&compressed);
    let outcome =
        write_compressed(&path, &temporary, compression, owner, disk).and_then(|len| match len {
            None => Ok(Compressed::Skipped),
            Some(len) => {
                let change = || {
                    if fs::metadata(&path)?.len() != len {
                        return Ok(Compressed::Skipped);
                    }
                    fs::rename(&temporary, &compressed)?;
                    disk.sync_folder(parent(&compressed)).map_err(io::Error::other)?;
                    remove_if_unchanged(&path, len)
                };
                Ok(owner.exclusively(&path, change)?.unwrap_or(Compressed::Skipped))
            }
        });
    if !matches!(outcome, Ok(Compressed::Done)) {
        // It may be missing or already renamed. After any other failure the next start deletes it.
        let _ = fs::remove_file(&temporary);
    }
    outcome
}

fn remove_if_unchanged(path: &Path, len: u64) -> io::Result<Compressed> {
    if fs::metadata(path)?.len() != len {
        return Ok(Compressed::Skipped);
    }
    fs::remove_file(path)?;
    Ok(Compressed::Done)
}

/// Writes and syncs the temporary file. Returns the number of uncompressed bytes, or `None` if the
/// sink is stopping.
fn write_compressed(
    path: &Path,
    temporary: &Path,
    compression: Compression,
    owner: &impl WriterLock,
    disk: &dyn Disk,
) -> io::Result<Option<u64>> {
    let source = File::open(path)?;
    let metadata = source.metadata()?;
    let target = File::create(temporary)?;
    let (target, len) = match compression {
        Compression::None => unreachable!("the janitor compresses only with a compression"),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(target, flate2::Compression::default());
            let Some(len) = copy(source, &mut encoder, owner)? else { return Ok(None) };
            (encoder.finish()?, len)
        }
        Compression::Zstd => {
            let mut encoder =
                zstd::stream::write::Encoder::new(target, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            encoder.include_checksum(true)?;
            let Some(len) = copy(source, &mut encoder, owner)? else { return Ok(None) };
            (encoder.finish()?, len)
        }
    };
    target.set_permissions(metadata.permissions())?;
    // The age of a file, by which retention deletes it, is that of its last line.
    target.set_modified(metadata.modified()?)?;
    disk.sync_all(&target)?;
    Ok(Some(len))
}

fn copy(
    mut source: File,
    target: &mut impl Write,
    owner: &impl WriterLock,
) -> io::Result<Option<u64>> {
    let mut block = vec![0; BLOCK];
    let mut len = 0;
    loop {
        if owner.is_stopping() {
            return Ok(None);
        }
        let count = source.read(&mut block)?;
        if count == 0 {
            return Ok(Some(len));
        }
        target.write_all(&block[..count])?;
        len += count as u64;
    }
}

fn has_same_contents(compressed: &Path, compression: Compression, path: &Path) -> io::Result<bool> {
    let compressed = BufReader::with_capacity(BLOCK, File::open(compressed)?);
    let plain = BufReader::with_capacity(BLOCK, File::open(path)?);
    match compression {
        Compression::None => is_equal(compressed, plain),
        Compression::Gzip => is_equal(MultiGzDecoder::new(compressed), plain),
        Compression::Zstd => is_equal(zstd::stream::read::Decoder::with_buffer(compressed)?, plain),
    }
}

fn is_equal(mut left: impl Read, mut right: impl Read) -> io::Result<bool> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    loop {
        a.clear();
        b.clear();
        left.by_ref().take(BLOCK as u64).read_to_end(&mut a)?;
        right.by_ref().take(BLOCK as u64).read_to_end(&mut b)?;
        if a != b || a.is_empty() {
            return Ok(a == b);
        }
    }
}

fn with_suffix(path: &Path, compression: Compression) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(compression.suffix());
    name.into()
}

fn temporary(compressed: &Path) -> PathBuf {
    let name = compressed
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name that the template rendered is UTF-8");
    compressed.with_file_name(format!(".{name}.tmp"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    /// Lock of a writer that does not use the file.
    struct Free;

    impl WriterLock for Free {
        fn is_stopping(&self) -> bool {
            false
        }

        fn exclusively<T>(
            &self,
            _: &Path,
            change: impl FnOnce() -> io::Result<T>,
        ) -> io::Result<Option<T>> {
            change().map(Some)
        }
    }

    struct Stopping;

    impl WriterLock for Stopping {
        fn is_stopping(&self) -> bool {
            true
        }

        fn exclusively<T>(
            &self,
            _: &Path,
            _: impl FnOnce() -> io::Result<T>,
        ) -> io::Result<Option<T>> {
            unreachable!("a compression that stops renames no file")
        }
    }

    /// Lock of a writer that appends a line between the compression and the change of names.
    struct Writing;

    impl WriterLock for Writing {
        fn is_stopping(&self) -> bool {
            false
        }

        fn exclusively<T>(
            &self,
            path: &Path,
            change: impl FnOnce() -> io::Result<T>,
        ) -> io::Result<Option<T>> {
            File::options().append(true).open(path)?.write_all(b"late\n")?;
            change().map(Some)
        }
    }

    fn read(path: &Path, compression: Compression) -> String {
        let file = BufReader::new(File::open(path).unwrap());
        let mut text = String::new();
        match compression {
            Compression::None => { file }.read_to_string(&mut text),
            Compression::Gzip => MultiGzDecoder::new(file).read_to_string(&mut text),
            Compression::Zstd => {
                zstd::stream::read::Decoder::with_buffer(file).unwrap().read_to_string(&mut text)
            }
        }
        .unwrap();
        text
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn compressed_file_keeps_every_byte_and_the_modification_time() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.jsonl");
            let text: String = (0..100_000).map(|line| format!("{{\"line\":{line}}}\n")).collect();
            fs::write(&path, &text).unwrap();
            let age = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
            File::options().append(true).open(&path).unwrap().set_modified(age).unwrap();

            assert_eq!(
                compress(&path, compression, ".jsonl", &Free, &RealDisk).unwrap(),
                Compressed::Done
            );
            let compressed = with_suffix(&path, compression);
            assert_eq!(names(folder.path()), [compressed.file_name().unwrap().to_str().unwrap()]);
            assert_eq!(read(&compressed, compression), text);
            assert_eq!(fs::metadata(&compressed).unwrap().modified().unwrap(), age);
            assert_eq!(
                compress(&path, compression, ".jsonl", &Free, &RealDisk).unwrap(),
                Compressed::Done
            );
        }
    }

    #[test]
    fn crash_before_the_original_is_deleted_duplicates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        fs::write(&path, "one\n").unwrap();
        compress(&path, Compression::Gzip, ".jsonl", &Free, &RealDisk).unwrap();
        fs::write(&path, "one\n").unwrap();
        // The same holds if the operator has changed the compression meanwhile.
        assert_eq!(
            compress(&path, Compression::Zstd, ".jsonl", &Free, &RealDisk).unwrap(),
            Compressed::Done
        );
        assert_eq!(names(folder.path()), ["x.jsonl.gz"]);
    }

    #[test]
    fn lines_written_after_the_compression_get_a_file_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        for text in ["one\n", "two\n", "three\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(
                compress(&path, Compression::Gzip, ".jsonl", &Free, &RealDisk).unwrap(),
                Compressed::Done
            );
        }
        assert_eq!(names(folder.path()), ["x.000001.jsonl.gz", "x.000002.jsonl.gz", "x.jsonl.gz"]);
        let read = |name| read(&folder.path().join(name), Compression::Gzip);
        assert_eq!(
            [read("x.jsonl.gz"), read("x.000001.jsonl.gz"), read("x.000002.jsonl.gz")],
            ["one\n", "two\n", "three\n"]
        );
    }

    #[test]
    fn original_is_kept_if_the_compressed_file_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        fs::write(&path, "one\n").unwrap();
        fs::write(folder.path().join("x.jsonl.gz"), "\x1f\u{8b}damaged").unwrap();
        assert_eq!(
            compress(&path, Compression::Gzip, ".jsonl", &Free, &RealDisk).unwrap(),
            Compressed::Done
        );
        assert_eq!(read(&folder.path().join("x.000001.jsonl.gz"), Compression::Gzip), "one\n");
    }

    #[test]
    fn file_that_grows_during_compression_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        fs::write(&path, "one\n").unwrap();
        assert_eq!(
            compress(&path, Compression::Gzip, ".jsonl", &Writing, &RealDisk).unwrap(),
            Compressed::Skipped
        );
        assert_eq!(names(folder.path()), ["x.jsonl"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\nlate\n");
    }

    #[test]
    fn stop_leaves_the_file_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        fs::write(&path, "one\n").unwrap();
        assert_eq!(
            compress(&path, Compression::Zstd, ".jsonl", &Stopping, &RealDisk).unwrap(),
            Compressed::Skipped
        );
        assert_eq!(names(folder.path()), ["x.jsonl"]);
    }
}
