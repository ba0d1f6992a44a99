//! Packing one closed file.
//!
//! `x.jsonl` is packed into `.x.jsonl.gz.tmp`, which is synced and takes the name `x.jsonl.gz`;
//! once the folder is synced, too, `x.jsonl` goes. A crash leaves a temporary, which is deleted at
//! the next start, or both files: then the packed one is read, and if it holds the same bytes,
//! `x.jsonl` goes. If it holds others (lines of a day that was packed before), `x.jsonl` is renamed
//! to the next number of its series and packed under that name.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::compression::Compression;
use crate::disk::{Disk, parent};
use crate::names::series;

const BLOCK: usize = 128 << 10;

/// How the packing asks those who own the files.
pub(crate) trait Owner {
    /// Whether to stop half-way.
    fn is_stopping(&self) -> bool;

    /// Change names while nobody writes to `path`. `None` if somebody does.
    fn exclusively<T>(
        &self,
        path: &Path,
        change: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<Option<T>>;
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is packed.
    Packed,
    /// It stays as it was: it is written to again, or there is no time.
    Left,
}

/// Pack a closed file. One that isn't there any more is packed.
pub(crate) fn pack(
    path: &Path,
    compression: Compression,
    extension: &str,
    owner: &impl Owner,
    disk: &dyn Disk,
) -> io::Result<Outcome> {
    match pack_present(path, compression, extension, owner, disk) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => {
            Ok(Outcome::Packed)
        }
        outcome => outcome,
    }
}

fn pack_present(
    path: &Path,
    compression: Compression,
    extension: &str,
    owner: &impl Owner,
    disk: &dyn Disk,
) -> io::Result<Outcome> {
    let mut path = path.to_owned();
    for other in [Compression::Gzip, Compression::Zstd] {
        let packed = with_suffix(&path, other);
        if !packed.exists() {
            continue;
        }
        let len = fs::metadata(&path)?.len();
        if holds_the_same(&packed, other, &path).unwrap_or(false) {
            let outcome = owner.exclusively(&path, || remove_if_unchanged(&path, len))?;
            return Ok(outcome.unwrap_or(Outcome::Left));
        }
        let moved = owner.exclusively(&path, || {
            let free = series::rotated(&path, extension, series::next_index(&path, extension)?);
            fs::rename(&path, &free).map(|()| free)
        })?;
        match moved {
            Some(free) => path = free,
            None => return Ok(Outcome::Left),
        }
        break;
    }
    let packed = with_suffix(&path, compression);
    let temporary = temporary(&packed);
    let outcome =
        write_packed(&path, &temporary, compression, owner, disk).and_then(|len| match len {
            None => Ok(Outcome::Left),
            Some(len) => {
                let change = || {
                    if fs::metadata(&path)?.len() != len {
                        return Ok(Outcome::Left);
                    }
                    fs::rename(&temporary, &packed)?;
                    disk.sync_folder(parent(&packed)).map_err(io::Error::other)?;
                    remove_if_unchanged(&path, len)
                };
                Ok(owner.exclusively(&path, change)?.unwrap_or(Outcome::Left))
            }
        });
    if !matches!(outcome, Ok(Outcome::Packed)) {
        // Where it is not there, or was renamed, there is nothing to do; elsewhere the next start
        // tries again.
        let _ = fs::remove_file(&temporary);
    }
    outcome
}

fn remove_if_unchanged(path: &Path, len: u64) -> io::Result<Outcome> {
    if fs::metadata(path)?.len() != len {
        return Ok(Outcome::Left);
    }
    fs::remove_file(path)?;
    Ok(Outcome::Packed)
}

/// Write and sync the temporary; gives how many bytes went in, `None` if it was stopped.
fn write_packed(
    path: &Path,
    temporary: &Path,
    compression: Compression,
    owner: &impl Owner,
    disk: &dyn Disk,
) -> io::Result<Option<u64>> {
    let source = File::open(path)?;
    let metadata = source.metadata()?;
    let target = File::create(temporary)?;
    let (target, len) = match compression {
        Compression::None => unreachable!("nothing is packed without compression"),
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
    // Retention goes by the age of the last line.
    target.set_modified(metadata.modified()?)?;
    disk.sync_all(&target)?;
    Ok(Some(len))
}

fn copy(mut source: File, target: &mut impl Write, owner: &impl Owner) -> io::Result<Option<u64>> {
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

fn holds_the_same(packed: &Path, compression: Compression, path: &Path) -> io::Result<bool> {
    let packed = BufReader::with_capacity(BLOCK, File::open(packed)?);
    let plain = BufReader::with_capacity(BLOCK, File::open(path)?);
    match compression {
        Compression::None => same(packed, plain),
        Compression::Gzip => same(MultiGzDecoder::new(packed), plain),
        Compression::Zstd => same(zstd::stream::read::Decoder::with_buffer(packed)?, plain),
    }
}

fn same(mut left: impl Read, mut right: impl Read) -> io::Result<bool> {
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

fn temporary(packed: &Path) -> PathBuf {
    let name =
        packed.file_name().and_then(|name| name.to_str()).expect("the template made the name");
    packed.with_file_name(format!(".{name}.tmp"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    struct Free;

    impl Owner for Free {
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

    impl Owner for Stopping {
        fn is_stopping(&self) -> bool {
            true
        }

        fn exclusively<T>(
            &self,
            _: &Path,
            _: impl FnOnce() -> io::Result<T>,
        ) -> io::Result<Option<T>> {
            unreachable!("nothing is renamed while stopping")
        }
    }

    /// Somebody writes between the packing and the change of names.
    struct Writing;

    impl Owner for Writing {
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
    fn a_packed_file_holds_every_byte_and_keeps_its_age() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.jsonl");
            let text: String = (0..100_000).map(|line| format!("{{\"line\":{line}}}\n")).collect();
            fs::write(&path, &text).unwrap();
            let age = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
            File::options().append(true).open(&path).unwrap().set_modified(age).unwrap();

            assert_eq!(
                pack(&path, compression, ".jsonl", &Free, &RealDisk).unwrap(),
                Outcome::Packed
            );
            let packed = with_suffix(&path, compression);
            assert_eq!(names(folder.path()), [packed.file_name().unwrap().to_str().unwrap()]);
            assert_eq!(read(&packed, compression), text);
            assert_eq!(fs::metadata(&packed).unwrap().modified().unwrap(), age);
            assert_eq!(
                pack(&path, compression, ".jsonl", &Free, &RealDisk).unwrap(),
                Outcome::Packed
            );
        }
    }

    #[test]
    fn a_crash_before_the_original_went_doubles_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        fs::write(&path, "one\n").unwrap();
        pack(&path, Compression::Gzip, ".jsonl", &Free, &RealDisk).unwrap();
        fs::write(&path, "one\n").unwrap();
        // Also if the operator has changed the compression meanwhile.
        assert_eq!(
            pack(&path, Compression::Zstd, ".jsonl", &Free, &RealDisk).unwrap(),
            Outcome::Packed
        );
        assert_eq!(names(folder.path()), ["x.jsonl.gz"]);
    }

    #[test]
    fn lines_that_came_after_the_packing_get_a_name_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        for text in ["one\n", "two\n", "three\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(
                pack(&path, Compression::Gzip, ".jsonl", &Free, &RealDisk).unwrap(),
                Outcome::Packed
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
    fn a_packed_file_that_is_damaged_is_no_reason_to_delete_the_original() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        fs::write(&path, "one\n").unwrap();
        fs::write(folder.path().join("x.jsonl.gz"), "\x1f\u{8b}damaged").unwrap();
        assert_eq!(
            pack(&path, Compression::Gzip, ".jsonl", &Free, &RealDisk).unwrap(),
            Outcome::Packed
        );
        assert_eq!(read(&folder.path().join("x.000001.jsonl.gz"), Compression::Gzip), "one\n");
    }

    #[test]
    fn a_file_that_is_written_to_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        fs::write(&path, "one\n").unwrap();
        assert_eq!(
            pack(&path, Compression::Gzip, ".jsonl", &Writing, &RealDisk).unwrap(),
            Outcome::Left
        );
        assert_eq!(names(folder.path()), ["x.jsonl"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\nlate\n");
    }

    #[test]
    fn a_stop_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        fs::write(&path, "one\n").unwrap();
        assert_eq!(
            pack(&path, Compression::Zstd, ".jsonl", &Stopping, &RealDisk).unwrap(),
            Outcome::Left
        );
        assert_eq!(names(folder.path()), ["x.jsonl"]);
    }
}
