//! Commands that only look: they create and change nothing, whoever runs them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use crate::support::{DEFAULTS, OBSERVER, Observer, text_of};

const LOOKING: [&[&str]; 3] = [&["check"], &["journal", "verify"], &["journal", "export"]];

/// Returns everything below a folder, with its time of modification and its content.
fn contents(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, Option<Vec<u8>>)> {
    let modified = fs::metadata(dir).unwrap().modified().unwrap();
    let mut found = BTreeMap::from([(dir.to_owned(), (modified, None))]);
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let modified = fs::symlink_metadata(&path).unwrap().modified().unwrap();
            found.insert(path.clone(), (modified, fs::read(path).ok()));
        }
    }
    found
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(OBSERVER).args(arguments).current_dir(dir).output().unwrap()
}

async fn stopped() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let event = r#"{"source":"job","event_kind":"ok","ok":true}"#;
    assert_eq!(observer.post(event).await.status, 200);
    observer.wait_until_caught_up().await;
    assert!(observer.terminate().0.success());
    dir
}

#[tokio::test]
async fn looking_at_a_data_folder_changes_nothing() {
    let dir = stopped().await;
    // The owner of a lock file would be whoever looks first.
    fs::remove_file(dir.path().join("observer-data/journal/lock")).unwrap();
    let before = contents(dir.path());
    for command in LOOKING {
        let output = run(dir.path(), command);
        assert!(output.status.success(), "{command:?}: {}", text_of(&output));
        assert_eq!(contents(dir.path()), before, "{command:?}");
    }
}

#[test]
fn check_creates_no_folder_and_reports_what_prevents_that() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "{DEFAULTS}[sinks.archive]\ntype = \"file\"\npath = \"events/{{date}}.jsonl\"\n\
         [sinks.metrics]\ntype = \"prometheus\"\n[sinks.kb]\ntype = \"kb\"\n"
    );
    fs::write(dir.path().join("observer.toml"), config).unwrap();
    let before = contents(dir.path());
    let output = run(dir.path(), &["check"]);
    assert!(output.status.success(), "{}", text_of(&output));
    assert_eq!(contents(dir.path()), before);

    fs::write(dir.path().join("events"), "").unwrap();
    let output = run(dir.path(), &["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text_of(&output).contains("events; check `path`"), "{}", text_of(&output));
}

#[tokio::test]
async fn journal_on_a_read_only_file_system_can_be_verified_and_exported() {
    let dir = stopped().await;
    let mount = "mount --bind observer-data observer-data && \
                 mount -o remount,bind,ro observer-data && echo mounted && exec \"$@\"";
    for command in &LOOKING[1..] {
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", OBSERVER])
            .args(*command)
            .current_dir(dir.path())
            .output()
            .unwrap();
        let text = text_of(&output);
        if !text.starts_with("mounted\n") {
            assert!(std::env::var_os("OBSERVER_TEST_TOOLS").is_none(), "can't mount: {text}");
            eprintln!("SKIPPED: can't mount: {text}");
            return;
        }
        assert!(output.status.success(), "{command:?}: {text}");
    }
}
