//! Files that another program puts beside those of the observer.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Foreign files by path. The observer must neither change nor delete any of them.
#[derive(Debug, Default)]
pub(crate) struct ForeignFiles {
    files: BTreeMap<PathBuf, ForeignFile>,
}

#[derive(Debug)]
struct ForeignFile {
    content: Vec<u8>,
    inode: u64,
    modified: (i64, i64),
}

impl ForeignFiles {
    /// Creates a file, completely or not at all, unless its name is taken. Returns whether it
    /// exists now. `draft` is a path on the same disk outside the observer's folders.
    pub(crate) fn create(
        &mut self,
        path: PathBuf,
        content: Vec<u8>,
        draft: &Path,
    ) -> Result<bool, String> {
        let created = std::fs::write(draft, &content).and_then(|()| {
            std::fs::hard_link(draft, &path)?;
            std::fs::remove_file(draft)?;
            std::fs::metadata(&path)
        });
        let _ = std::fs::remove_file(draft);
        match created {
            Ok(metadata) => {
                let modified = (metadata.mtime(), metadata.mtime_nsec());
                let file = ForeignFile { content, inode: metadata.ino(), modified };
                self.files.insert(path, file);
                Ok(true)
            }
            // The folder was not created yet, or the disk is full.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::AlreadyExists | ErrorKind::NotFound | ErrorKind::StorageFull
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(format!("can't create {}: {error}", path.display())),
        }
    }

    pub(crate) fn contains(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// Forgets the files below a folder that was removed.
    pub(crate) fn forget_folder(&mut self, folder: &Path) {
        self.files.retain(|path, _| !path.starts_with(folder));
    }

    /// Checks that each file is the one that was created, with the same content.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (path, file) in &self.files {
            let found = std::fs::metadata(path)
                .and_then(|metadata| Ok((metadata, std::fs::read(path)?)))
                .map_err(|error: io::Error| format!("foreign file {}: {error}", path.display()))?;
            let (metadata, content) = found;
            if content != file.content {
                return Err(format!("the content of the foreign file {} changed", path.display()));
            }
            if metadata.ino() != file.inode
                || (metadata.mtime(), metadata.mtime_nsec()) != file.modified
            {
                return Err(format!("the foreign file {} was written or replaced", path.display()));
            }
        }
        Ok(())
    }
}
