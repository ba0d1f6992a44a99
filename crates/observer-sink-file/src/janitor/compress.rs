//! Compression of one closed file.
//!
//! 1. The contents of `x.jsonl` are written to `.x.jsonl.gz.tmp`, which is synced.
//! 2. The ledger records `x.jsonl.gz`; the temporary file is renamed to it, and the folder is
//!    synced.
//! 3. `x.jsonl` is deleted.
//!
//! A crash during step 1 leaves a temporary file, which the next start deletes. A crash before step
//! 3 leaves both files; the next attempt compares their contents and deletes `x.jsonl`. While
//! another file has the name `x.jsonl.gz`, `x.jsonl` stays as it is: under another number it would
//! no longer sort in the order in which the files were written.

use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::compression::Compression;
use crate::config::Settings;
use crate::disk::{Disk, Identity, parent, rename_new};
use crate::janitor::is_own;
use crate::ledger::ownership::end_of;
use crate::ledger::{Entry, Kind, Ledger};
use crate::sync::lock;

const BLOCK: usize = 128 << 10;

/// Result of an attempt to compress a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packed {
    /// Only the compressed file exists.
    Done,
    /// The original is unchanged: it is not recognised, another file has the name of the compressed
    /// one, or the sink is stopping.
    Skipped,
}

/// Settings and state of a compression.
pub(crate) struct Job<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) ledger: &'a Mutex<Ledger>,
    pub(crate) disk: &'a dyn Disk,
}

impl Job<'_> {
    /// Compresses a closed file. A file that is gone counts as compressed.
    pub(crate) fn pack(&self, key: &str, is_stopping: &dyn Fn() -> bool) -> io::Result<Packed> {
        let (path, entry) = {
            let ledger = lock(self.ledger);
            match ledger.get(key) {
                Some(entry) if entry.kind == Kind::Closed => (ledger.path(key), *entry),
                _ => return Ok(Packed::Done),
            }
        };
        if !is_own(&path, &entry)? {
            lock(self.ledger).remove(key);
            return Ok(Packed::Skipped);
        }
        if self.is_packed(&path)? {
            fs::remove_file(&path)?;
            lock(self.ledger).remove(key);
            return Ok(Packed::Done);
        }
        let target = with_suffix(&path, self.settings.compression);
        if is_taken(&target)? {
            return Ok(Packed::Skipped);
        }
        let temporary = temporary(&target);
        let outcome = self.write(&path, &temporary, is_stopping).and_then(|written| {
            let Some((file, len)) = written else { return Ok(Packed::Skipped) };
            if len != entry.len || !is_own(&path, &entry)? {
                return Ok(Packed::Skipped);
            }
            self.replace(key, &path, entry, (&temporary, &file), &target)?;
            Ok(Packed::Done)
        });
        if !matches!(outcome, Ok(Packed::Done)) {
            self.discard(&temporary);
        }
        outcome
    }

    /// Returns whether a compressed file of the sink has the same contents as a closed one.
    fn is_packed(&self, path: &Path) -> io::Result<bool> {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let packed = with_suffix(path, compression);
            let entry = {
                let ledger = lock(self.ledger);
                ledger.get(&ledger.key(&packed)).copied()
            };
            if let Some(entry) = entry
                && is_own(&packed, &entry)?
                && has_same_contents(&packed, compression, path).unwrap_or(false)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes and syncs the temporary file. Returns it with the number of uncompressed bytes, or
    /// `None` if the sink is stopping.
    fn write(
        &self,
        path: &Path,
        temporary: &Path,
        is_stopping: &dyn Fn() -> bool,
    ) -> io::Result<Option<(File, u64)>> {
        self.discard(temporary);
        let source = File::open(path)?;
        let metadata = source.metadata()?;
        let target = File::options().read(true).write(true).create_new(true).open(temporary)?;
        let identity = Identity::of(&target.metadata()?);
        let entry = Entry { kind: Kind::Temporary, identity, len: 0, end: 0, newest: 0 };
        {
            let mut ledger = lock(self.ledger);
            let key = ledger.key(temporary);
            ledger.put(&key, entry);
            ledger.write().map_err(io::Error::other)?;
        }
        let (target, len) = match self.settings.compression {
            Compression::None => unreachable!("the janitor compresses only with a compression"),
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(target, flate2::Compression::default());
                let Some(len) = copy(source, &mut encoder, is_stopping)? else { return Ok(None) };
                (encoder.finish()?, len)
            }
            Compression::Zstd => {
                let mut encoder =
                    zstd::stream::write::Encoder::new(target, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                encoder.include_checksum(true)?;
                let Some(len) = copy(source, &mut encoder, is_stopping)? else { return Ok(None) };
                (encoder.finish()?, len)
            }
        };
        take_over(&target, &metadata)?;
        self.disk.sync_all(&target)?;
        Ok(Some((target, len)))
    }

    /// Records the compressed file, gives it its name and deletes the original.
    fn replace(
        &self,
        key: &str,
        path: &Path,
        entry: Entry,
        (temporary, file): (&Path, &File),
        target: &Path,
    ) -> io::Result<()> {
        let metadata = file.metadata()?;
        let len = metadata.len();
        let end = end_of(file, Kind::Packed, len, len)?.unwrap_or_default();
        let identity = Identity::of(&metadata);
        let packed = Entry { kind: Kind::Packed, identity, len, end, newest: entry.newest };
        let (target_key, temporary_key) = {
            let mut ledger = lock(self.ledger);
            let keys = (ledger.key(target), ledger.key(temporary));
            ledger.put(&keys.0, packed);
            ledger.write().and_then(|()| ledger.sync()).map_err(io::Error::other)?;
            keys
        };
        // Another sink or program may have created a file of this name meanwhile.
        rename_new(temporary, target).inspect_err(|_| {
            lock(self.ledger).remove(&target_key);
        })?;
        self.disk.sync_folder(parent(target)).map_err(io::Error::other)?;
        fs::remove_file(path)?;
        let mut ledger = lock(self.ledger);
        ledger.remove(key);
        ledger.remove(&temporary_key);
        // Repeated with the next write; until then a restart finds the files missing.
        let _ = ledger.write();
        Ok(())
    }

    /// Deletes the temporary file if it is one of the sink.
    fn discard(&self, temporary: &Path) {
        let mut ledger = lock(self.ledger);
        let key = ledger.key(temporary);
        if let Some(entry) = ledger.get(&key).copied() {
            if is_own(temporary, &entry).unwrap_or(false) {
                let _ = fs::remove_file(temporary);
            }
            ledger.remove(&key);
        }
    }
}

/// Gives a compressed file the access rights and the modification time of the original.
fn take_over(target: &File, original: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if target.metadata()?.gid() != original.gid() {
            // Only members of the group may give a file to it.
            let _ = std::os::unix::fs::fchown(target, None, Some(original.gid()));
        }
    }
    target.set_permissions(original.permissions())?;
    target.set_modified(original.modified()?)
}

fn copy(
    mut source: File,
    target: &mut impl Write,
    is_stopping: &dyn Fn() -> bool,
) -> io::Result<Option<u64>> {
    let mut block = vec![0; BLOCK];
    let mut len = 0;
    loop {
        if is_stopping() {
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

fn is_taken(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
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
    use std::sync::Arc;

    use super::*;
    use crate::FileConfig;
    use crate::disk::RealDisk;
    use crate::ledger::ownership::look;

    struct Fixture {
        folder: tempfile::TempDir,
        settings: Settings,
        ledger: Mutex<Ledger>,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("base")).unwrap();
            let base = folder.path().join("base");
            let config = FileConfig::new(format!("{}/{{date}}.jsonl", base.display()));
            let settings = config.compression(Compression::Gzip).check().unwrap();
            let ledger = Ledger::load(folder.path(), &base, ".jsonl").unwrap().ledger;
            Self { folder, settings, ledger: Mutex::new(ledger) }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join("base").join(name)
        }

        /// Creates a closed file that the ledger records.
        fn close(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::write(&path, text).unwrap();
            let seen = look(&path, None, None).unwrap().unwrap();
            let end = end_of(&File::open(&path).unwrap(), Kind::Closed, seen.len, seen.len);
            let entry = Entry {
                kind: Kind::Closed,
                identity: seen.identity,
                len: seen.len,
                end: end.unwrap().unwrap(),
                newest: 7,
            };
            lock(&self.ledger).put(name, entry);
        }

        fn pack(&self, name: &str, is_stopping: &dyn Fn() -> bool) -> io::Result<Packed> {
            let (settings, ledger) = (&self.settings, &self.ledger);
            Job { settings, ledger, disk: &RealDisk }.pack(name, is_stopping)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.folder.path().join("base")).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        fn recorded(&self) -> Vec<String> {
            let ledger = lock(&self.ledger);
            ledger.files().map(|(key, entry)| format!("{key} {:?}", entry.kind)).collect()
        }

        fn read(&self, name: &str) -> String {
            let mut text = String::new();
            let file = File::open(self.path(name)).unwrap();
            MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
            text
        }
    }

    fn running() -> bool {
        false
    }

    #[test]
    fn compressed_file_replaces_the_original() {
        let fixture = Fixture::new();
        fixture.close("x.jsonl", "one\n");
        assert_eq!(fixture.pack("x.jsonl", &running).unwrap(), Packed::Done);
        assert_eq!(fixture.names(), ["x.jsonl.gz"]);
        assert_eq!(fixture.recorded(), ["x.jsonl.gz Packed"]);
        assert_eq!(fixture.read("x.jsonl.gz"), "one\n");
        assert_eq!(fixture.pack("x.jsonl", &running).unwrap(), Packed::Done);
        assert_eq!(fixture.pack("x.jsonl.gz", &running).unwrap(), Packed::Done);
        assert_eq!(fixture.names(), ["x.jsonl.gz"]);
    }

    #[test]
    fn original_left_by_a_crash_is_deleted_only_if_its_contents_are_packed() {
        let fixture = Fixture::new();
        fixture.close("x.jsonl", "one\n");
        fixture.pack("x.jsonl", &running).unwrap();
        fixture.close("x.jsonl", "one\n");
        fixture.pack("x.jsonl", &running).unwrap();
        assert_eq!(fixture.names(), ["x.jsonl.gz"]);
        fixture.close("x.jsonl", "two\n");
        assert_eq!(fixture.pack("x.jsonl", &running).unwrap(), Packed::Skipped);
        assert_eq!(fixture.names(), ["x.jsonl", "x.jsonl.gz"]);
        assert_eq!(fixture.read("x.jsonl.gz"), "one\n");
    }

    #[test]
    fn files_of_other_programs_are_neither_replaced_nor_believed() {
        let fixture = Fixture::new();
        fixture.close("x.jsonl", "one\n");
        // The same contents, but the ledger doesn't record the file.
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"one\n").unwrap();
        let foreign = encoder.finish().unwrap();
        fs::write(fixture.path("x.jsonl.gz"), &foreign).unwrap();
        // Under another number it would no longer sort in the order of writing.
        assert_eq!(fixture.pack("x.jsonl", &running).unwrap(), Packed::Skipped);
        assert_eq!(fixture.names(), ["x.jsonl", "x.jsonl.gz"]);
        assert_eq!(fs::read(fixture.path("x.jsonl.gz")).unwrap(), foreign);
        fs::remove_file(fixture.path("x.jsonl.gz")).unwrap();
        assert_eq!(fixture.pack("x.jsonl", &running).unwrap(), Packed::Done);
        assert_eq!(fixture.names(), ["x.jsonl.gz"]);

        fixture.close("y.jsonl", "one\n");
        fs::write(fixture.path(".y.jsonl.gz.tmp"), "foreign").unwrap();
        fixture.pack("y.jsonl", &running).unwrap_err();
        assert_eq!(fs::read_to_string(fixture.path(".y.jsonl.gz.tmp")).unwrap(), "foreign");
        assert_eq!(fs::read_to_string(fixture.path("y.jsonl")).unwrap(), "one\n");
    }

    #[test]
    fn changed_file_is_left_alone() {
        let fixture = Fixture::new();
        for text in ["one\nlate\n", "two\n", ""] {
            fixture.close("x.jsonl", "one\n");
            fs::write(fixture.path("x.jsonl"), text).unwrap();
            assert_eq!(fixture.pack("x.jsonl", &running).unwrap(), Packed::Skipped);
            assert_eq!(fs::read_to_string(fixture.path("x.jsonl")).unwrap(), text);
            assert_eq!(fixture.recorded(), [""; 0]);
        }
    }

    #[test]
    fn stop_leaves_the_file_unchanged() {
        let fixture = Fixture::new();
        fixture.close("x.jsonl", "one\n");
        assert_eq!(fixture.pack("x.jsonl", &|| true).unwrap(), Packed::Skipped);
        assert_eq!(fixture.names(), ["x.jsonl"]);
        assert_eq!(fixture.recorded(), ["x.jsonl Closed"]);
    }

    #[test]
    fn line_appended_during_the_compression_is_kept() {
        let fixture = Arc::new(Fixture::new());
        fixture.close("x.jsonl", "one\n");
        let path = fixture.path("x.jsonl");
        let append = || {
            fs::write(&path, "one\nlate\n").unwrap();
            false
        };
        assert_eq!(fixture.pack("x.jsonl", &append).unwrap(), Packed::Skipped);
        assert_eq!(fixture.names(), ["x.jsonl"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\nlate\n");
    }
}
