//! Probe of a folder: whether the sink can write there.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::access::Access;
use crate::disk::{Disk, create_folders};
use crate::error::FileError;

/// Creates the folder if it is missing, writes a file into it and deletes that file.
pub(crate) fn check_folder(
    folder: &Path,
    access: &Access,
    disk: &dyn Disk,
) -> Result<(), FileError> {
    for changed in create_folders(folder, access)? {
        disk.sync_folder(&changed)?;
    }
    // Sinks with the same folder are checked at the same time, each on a thread of its own.
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    let path = folder.join(format!(".observer-check-{}-{thread}.tmp", std::process::id()));
    // A full disk still accepts an empty file, but no block.
    let written = File::create(&path).and_then(|mut file| file.write_all(&[0; 4096]));
    let removed = fs::remove_file(&path);
    written.map_err(FileError::io("write into", folder))?;
    removed.map_err(FileError::io("delete", &path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn check_leaves_only_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("a/b");
        check_folder(&base, &Access::PRIVATE, &RealDisk).unwrap();
        assert_eq!(fs::read_dir(&base).unwrap().count(), 0);
    }

    #[test]
    fn sinks_check_the_same_folder_at_the_same_time() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let check = || {
                for _ in 0..50 {
                    check_folder(folder.path(), &Access::PRIVATE, &RealDisk).unwrap();
                }
            };
            let checks: Vec<_> = (0..8).map(|_| scope.spawn(check)).collect();
            checks.into_iter().for_each(|check| check.join().unwrap());
        });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn error_names_a_file_that_blocks_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("file");
        fs::write(&base, "").unwrap();
        let error = check_folder(&base.join("events"), &Access::PRIVATE, &RealDisk)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(base.to_str().unwrap()) && error.contains("check `path`"),
            "{error}"
        );
        let error = check_folder(&base, &Access::PRIVATE, &RealDisk).unwrap_err().to_string();
        assert!(
            error.contains(base.to_str().unwrap()) && error.contains("check `path`"),
            "{error}"
        );
    }
}
