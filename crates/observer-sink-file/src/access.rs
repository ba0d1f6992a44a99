//! Access modes and the group of files and folders.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::path::Path;

use observer_core::BuildError;
use serde::{Deserialize, Deserializer, de};

/// Mode of archive files, unless the configuration has one.
const FILE_MODE: u32 = 0o640;
/// Mode of archive folders, unless the configuration has one.
const FOLDER_MODE: u32 = 0o750;

/// Access to new files and folders. Modes of existing ones are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    file: Mode,
    folder: Mode,
    group: Option<u32>,
}

/// Mode of a new file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A default, which the umask of the process restricts.
    Default(u32),
    /// The mode of the configuration, exactly.
    Exact(u32),
}

impl Access {
    /// Access by the user alone, for state.
    pub(crate) const PRIVATE: Self =
        Self { file: Mode::Default(0o600), folder: Mode::Default(0o700), group: None };

    /// Returns the access to archive files.
    ///
    /// # Errors
    /// If the group is unknown.
    pub(crate) fn of_archive(
        file: Option<u32>,
        folder: Option<u32>,
        group: Option<&str>,
    ) -> Result<Self, BuildError> {
        let group = group.map(|group| match group.parse() {
            Ok(id) => Ok(id),
            Err(_) => find_group(&fs::read_to_string("/etc/group").unwrap_or_default(), group)
                .ok_or_else(|| {
                    let problem = format!(
                        "names the group {group:?}, which this system doesn't have; use a group \
                         of /etc/group or its number"
                    );
                    BuildError::new("group", problem)
                }),
        });
        Ok(Self {
            file: file.map_or(Mode::Default(FILE_MODE), Mode::Exact),
            folder: folder.map_or(Mode::Default(FOLDER_MODE), Mode::Exact),
            group: group.transpose()?,
        })
    }

    /// Creates a file that doesn't exist, for reading and appending.
    pub(crate) fn create_file(&self, path: &Path) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, self.file.bits());
        let file = options.open(path)?;
        self.apply(path, self.file).inspect_err(|_| {
            let _ = fs::remove_file(path);
        })?;
        Ok(file)
    }

    /// Creates a folder in an existing one. A folder that exists is left as it is.
    pub(crate) fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, self.folder.bits());
        match builder.create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            created => created.and_then(|()| self.apply(path, self.folder)),
        }
    }

    #[cfg(unix)]
    fn apply(&self, path: &Path, mode: Mode) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        if let Some(group) = self.group {
            std::os::unix::fs::chown(path, None, Some(group))?;
        }
        match mode {
            Mode::Default(_) => Ok(()),
            Mode::Exact(bits) => fs::set_permissions(path, fs::Permissions::from_mode(bits)),
        }
    }

    #[cfg(not(unix))]
    fn apply(&self, _: &Path, _: Mode) -> io::Result<()> {
        Ok(())
    }
}

impl Mode {
    #[cfg(unix)]
    fn bits(self) -> u32 {
        match self {
            Self::Default(bits) | Self::Exact(bits) => bits,
        }
    }
}

/// Deserializes an access mode from octal digits, such as `"0640"`.
pub(crate) fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
    let bits = u32::from_str_radix(&text, 8).ok().filter(|bits| is_octal && *bits <= 0o7777);
    bits.map(Some).ok_or_else(|| {
        de::Error::custom(format_args!("expected an octal mode such as \"0640\", not {text:?}"))
    })
}

/// Returns the number of a group in the text of `/etc/group`.
fn find_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_is_found_by_its_name() {
        let groups = "root:x:0:\nadm:x:4:syslog,ubuntu\nbroken\n";
        assert_eq!(find_group(groups, "adm"), Some(4));
        assert_eq!(find_group(groups, "broken"), None);
        assert_eq!(find_group(groups, "x"), None);
        let error = Access::of_archive(None, None, Some("no such group")).unwrap_err().to_string();
        assert!(error.starts_with("`group` names the group \"no such group\""), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn modes_of_the_configuration_are_exact_and_existing_ones_are_kept() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let dir = tempfile::tempdir().unwrap();
        let mode_of = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let group = fs::metadata(dir.path()).unwrap().gid().to_string();
        let access = Access::of_archive(Some(0o666), Some(0o2777), Some(&group)).unwrap();
        let (folder, file) = (dir.path().join("folder"), dir.path().join("folder/file"));
        access.create_folder(&folder).unwrap();
        access.create_file(&file).unwrap();
        assert_eq!((mode_of(&folder), mode_of(&file)), (0o2777, 0o666));
        Access::PRIVATE.create_folder(&folder).unwrap();
        assert_eq!(mode_of(&folder), 0o2777);
        let private = dir.path().join("private");
        Access::PRIVATE.create_folder(&private).unwrap();
        assert_eq!(mode_of(&private), 0o700);
    }
}
