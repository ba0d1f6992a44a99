//! Probe of a folder: whether the sink can write there.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::disk::{Disk, create_folders};
use crate::error::FileError;

/// Creates the folder if it is missing, writes a file into it and deletes that file.
pub(crate) fn check_folder(folder: &Path, disk: &dyn Disk) -> Result<(), FileError> {
    for changed in create_folders(folder)? {
        disk.sync_folder(&changed)?;
    }
    let path = folder.join(format!(".observer-check-{}.tmp", std::process::id()));
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
        check_folder(&base, &RealDisk).unwrap();
        assert_eq!(fs::read_dir(&base).unwrap().count(), 0);
    }

    #[test]
    fn error_names_a_file_that_blocks_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("file");
        fs::write(&base, "").unwrap();
        let error = check_folder(&base.join("events"), &RealDisk).unwrap_err().to_string();
        assert!(
            error.contains(base.to_str().unwrap()) && error.contains("check `path`"),
            "{error}"
        );
        let error = check_folder(&base, &RealDisk).unwrap_err().to_string();
        assert!(
            error.contains(base.to_str().unwrap()) && error.contains("check `path`"),
            "{error}"
        );
    }
}
