//! Names for files that are corrupt and kept.

use std::io;
use std::path::Path;

use super::FileSystem;

/// Renames a corrupt file so that the journal no longer reads it. Returns the new name.
pub(crate) fn quarantine(fs: &dyn FileSystem, dir: &Path, name: &str) -> io::Result<String> {
    let quarantined = free_name(fs, dir, &format!("{name}.corrupt"))?;
    fs.rename(&dir.join(name), &dir.join(&quarantined))?;
    Ok(quarantined)
}

/// Returns `name` if no file has it, else the first unused one of `name.2`, `name.3`, …
pub(crate) fn free_name(fs: &dyn FileSystem, dir: &Path, name: &str) -> io::Result<String> {
    let listed = fs.list(dir)?;
    let numbered = (2..).map(|number: u32| format!("{name}.{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    Ok(names.find(|name| !listed.contains(name)).expect("there are more numbers than files"))
}
