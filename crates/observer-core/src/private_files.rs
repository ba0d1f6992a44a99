//! Creation of files and folders that only the user of this process can access.
//!
//! Modes of existing files and folders are kept, so that an operator can change them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Returns options for a file that gets the mode 0600 if it is created.
#[must_use]
pub fn options() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "modes exist on Unix only"))]
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Creates a folder with the mode 0700, unless it exists. Missing ancestors get the mode 0755, since
/// they may contain files for others.
///
/// # Errors
/// If the folder or an ancestor can't be created, or the path is that of a file.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        builder(0o755).recursive(true).create(parent)?;
    }
    match builder(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        created => created,
    }
}

#[cfg_attr(not(unix), expect(unused_mut, unused_variables, reason = "modes exist on Unix only"))]
fn builder(mode: u32) -> DirBuilder {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, mode);
    builder
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn new_files_and_folders_are_private_and_existing_ones_keep_their_modes() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("a/b");
        let file = folder.join("file");
        create_folder(&folder).unwrap();
        options().write(true).create(true).truncate(false).open(&file).unwrap();
        assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));

        fs::set_permissions(&folder, Permissions::from_mode(0o750)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        create_folder(&folder).unwrap();
        options().write(true).create(true).truncate(false).open(&file).unwrap();
        assert_eq!((mode(&folder), mode(&file)), (0o750, 0o640));
        assert_eq!(create_folder(&file).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
}
