//! Access modes of what the observer creates with its default configuration.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::{DEFAULTS, Observer};

const EVENT: &str = r#"{"source":"job","event_kind":"ok","ok":true}"#;

#[tokio::test]
async fn state_is_private_and_archives_are_readable_by_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    assert_eq!(observer.post(EVENT).await.status, 200);
    observer.wait_until_caught_up().await;
    observer.terminate();

    let data = dir.path().join("observer-data");
    let modes = modes_below(&data);
    let expected = |path: &Path| match (path.starts_with("events"), data.join(path).is_dir()) {
        (true, true) => 0o750,
        (true, false) => 0o640,
        (false, true) => 0o700,
        (false, false) => 0o600,
    };
    for (path, mode) in &modes {
        let excess = mode & !expected(path);
        assert_eq!(excess, 0, "{} has the mode {mode:o}", path.display());
    }
    for part in ["journal", "kb", "sinks/archive", "sinks/prometheus", "events"] {
        let is_part = |path: &&PathBuf| path.starts_with(part) && data.join(path).is_file();
        assert!(modes.keys().any(|path| is_part(&path)), "{part} has no file: {modes:?}");
    }
}

/// The operator may open the data to others, which an upgrade or a restart must not undo.
#[tokio::test]
async fn modes_of_existing_state_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    assert_eq!(observer.post(EVENT).await.status, 200);
    observer.wait_until_caught_up().await;
    observer.terminate();
    let journal = dir.path().join("observer-data/journal");
    let database = dir.path().join("observer-data/kb/kb.sqlite");
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(&database, fs::Permissions::from_mode(0o640)).unwrap();

    let observer = Observer::start(dir.path(), DEFAULTS);
    assert_eq!(observer.post(EVENT.replace("job", "nightly")).await.status, 200);
    observer.wait_until_caught_up().await;
    observer.terminate();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&journal), mode(&database)), (0o750, 0o640));
}

/// Returns the modes of all files and folders in a folder, by their relative paths.
fn modes_below(folder: &Path) -> BTreeMap<PathBuf, u32> {
    let mut modes = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            let relative = path.strip_prefix(folder).unwrap().to_owned();
            modes.insert(relative, metadata.permissions().mode() & 0o777);
        }
    }
    modes
}
