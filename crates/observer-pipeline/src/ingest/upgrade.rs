//! File `identities` in the folder of the journal: the time since which identities contain
//! principals and bytes.
//!
//! The file is JSON, `{"version":2,"since":1795341600000000}`, with the time in microseconds since
//! 1970. It is written once: at the first start with these identities, which is at time 0 for a new
//! journal. Events from before have the identities of version 1, those of an anonymous caller.
//! While the deduplication window reaches back before that time, retries of such events are looked
//! up by their former identities too. So a retry that spans the upgrade is a duplicate.

use std::io;
use std::path::Path;

use observer_journal::OpenError;
use observer_journal::fs::{FileSystem, OpenMode};
use serde::{Deserialize, Serialize};

const FILE: &str = "identities";
const NEW_FILE: &str = "identities.new";

/// Version of the identities.
const VERSION: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
struct Identities {
    version: u32,
    since: u64,
}

/// Checks that no later version wrote the file.
///
/// # Errors
/// If a later version wrote it.
pub(crate) fn verify_version(fs: &dyn FileSystem, dir: &Path) -> Result<(), OpenError> {
    #[derive(Deserialize)]
    struct Header {
        version: u32,
    }
    let header = read_bytes(fs, dir).ok().flatten();
    let header = header.and_then(|bytes| serde_json::from_slice::<Header>(&bytes).ok());
    match header.filter(|header| header.version > VERSION) {
        Some(Header { version }) => Err(OpenError::Newer {
            path: dir.join(FILE),
            found: version.to_string(),
            known: VERSION,
        }),
        None => Ok(()),
    }
}

/// Returns the time since which identities contain principals, in microseconds since 1970. At the
/// first start, that is 0 for a new journal, or else `now`, and stored. The caller holds the lock
/// of the journal.
pub(crate) fn principals_since(fs: &dyn FileSystem, dir: &Path, is_new: bool, now: u64) -> u64 {
    match read(fs, dir) {
        Ok(Some(since)) => since,
        Ok(None) => {
            let since = if is_new { 0 } else { now };
            if let Err(error) = write(fs, dir, since) {
                tracing::warn!(
                    path = %dir.join(FILE).display(),
                    %error,
                    "the start of the present identities can't be stored; the next start repeats \
                     this"
                );
            }
            since
        }
        Err(error) => {
            // A retry that is stored again does less harm than an event that passes for a retry.
            tracing::error!(
                path = %dir.join(FILE).display(),
                %error,
                "the start of the present identities can't be read; retries of events from before \
                 an upgrade are stored again"
            );
            0
        }
    }
}

fn read(fs: &dyn FileSystem, dir: &Path) -> io::Result<Option<u64>> {
    let Some(bytes) = read_bytes(fs, dir)? else { return Ok(None) };
    let Identities { since, .. } = serde_json::from_slice(&bytes)?;
    Ok(Some(since))
}

fn read_bytes(fs: &dyn FileSystem, dir: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match fs.open(&dir.join(FILE), OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; 1024];
    let count = file.read_at(&mut bytes, 0)?;
    Ok(Some(bytes[..count].to_vec()))
}

fn write(fs: &dyn FileSystem, dir: &Path, since: u64) -> io::Result<()> {
    let text = serde_json::to_vec(&Identities { version: VERSION, since })?;
    let file = fs.open(&dir.join(NEW_FILE), OpenMode::Create)?;
    file.write_at(&text, 0)?;
    file.sync()?;
    fs.rename(&dir.join(NEW_FILE), &dir.join(FILE))?;
    fs.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use observer_journal::fs::{Fault, Faulty, Memory};

    use super::*;

    #[test]
    fn first_start_is_stored_once() {
        for (is_new, expected) in [(true, 0), (false, 77)] {
            let (memory, dir) = (Memory::default(), Path::new("j"));
            assert_eq!(principals_since(&memory, dir, is_new, 77), expected);
            assert_eq!(principals_since(&memory, dir, false, 99), expected);
            let file = memory.open(&dir.join(FILE), OpenMode::Read).unwrap();
            let mut bytes = [0; 100];
            let count = file.read_at(&mut bytes, 0).unwrap();
            let expected = format!(r#"{{"version":2,"since":{expected}}}"#);
            assert_eq!(String::from_utf8_lossy(&bytes[..count]), expected);
            assert_eq!(memory.list(dir).unwrap(), [FILE]);
        }
    }

    #[test]
    fn unreadable_file_is_kept_and_no_event_counts_as_former() {
        let (memory, dir) = (Memory::default(), Path::new("j"));
        memory.open(&dir.join(FILE), OpenMode::Create).unwrap().write_at(b"?", 0).unwrap();
        assert_eq!(principals_since(&memory, dir, false, 77), 0);
        assert_eq!(memory.open(&dir.join(FILE), OpenMode::Read).unwrap().size().unwrap(), 1);
    }

    #[test]
    fn interrupted_first_start_is_repeated() {
        for fault in [Fault::Kill, Fault::PowerCut] {
            for at in 0..6 {
                let (disk, dir) = (Faulty::new(at), Path::new("j"));
                disk.create_dir_all(dir).unwrap();
                disk.fail_at(disk.operations() + at, fault);
                principals_since(&disk, dir, false, 77);
                if disk.is_off() {
                    disk.restart();
                }
                let since = principals_since(&disk, dir, false, 99);
                assert!([77, 99].contains(&since), "{fault:?} at {at}: {since}");
                assert_eq!(principals_since(&disk, dir, false, 111), since);
            }
        }
    }
}
