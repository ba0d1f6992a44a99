//! Files of later versions of the program, which this one refuses by name and leaves as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{DEFAULTS, OBSERVER, Observer, text_of};

const EVENT: &str = r#"{"source":"job","event_kind":"ok","ok":true}"#;

/// Starts a data folder with a journal, an archive and metrics, and stops the observer.
async fn stopped() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    for _ in 0..3 {
        assert_eq!(observer.post(EVENT).await.status, 200);
    }
    observer.wait_until_caught_up().await;
    assert!(observer.terminate().0.success());
    dir
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(OBSERVER).args(arguments).current_dir(dir).output().unwrap()
}

/// Returns all files below a folder with their contents.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else if !path.file_name().unwrap().to_str().unwrap().ends_with(".sock") {
            files.insert(path.clone(), fs::read(path).unwrap_or_default());
        }
    }
    files
}

/// Replaces the version in a file, and the checksum of a line that follows or precedes it.
fn replace(path: &Path, old: &str, new: &str) {
    let mut bytes = fs::read(path).unwrap();
    let mut count = 0;
    for at in 0..=bytes.len() - old.len() {
        if bytes[at..].starts_with(old.as_bytes()) {
            bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
            count += 1;
        }
    }
    assert!(count > 0, "{} has no {old:?}", path.display());
    fs::write(path, bytes).unwrap();
}

/// Returns the CRC-32 (IEEE) of some bytes.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    })
}

/// Sets the version of a file in the state folder of the archive, whose lines have checksums.
fn replace_format(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().next().unwrap();
    let json = &line[line.find('{').unwrap()..];
    let newer = json.replace("\"format\":1", "\"format\":2");
    assert_ne!(newer, json);
    let sum = |json: &str| format!("{:08x}", crc32(json.as_bytes()));
    fs::write(path, text.replace(json, &newer).replace(&sum(json), &sum(&newer))).unwrap();
}

#[tokio::test]
async fn file_of_a_later_version_stops_the_start_and_stays_as_it_is() {
    type Change = fn(&Path);
    let files: [(&str, Change, &str, &str); 8] = [
        (
            "journal/00000000000000000001-0.log",
            |path| replace(path, "OBSVLOG2", "OBSVLOG3"),
            "3",
            "2",
        ),
        ("journal/positions", |path| replace(path, "OBSVPOS1", "OBSVPOS2"), "2", "1"),
        ("journal/identities", |path| replace(path, "\"version\":2", "\"version\":3"), "3", "2"),
        ("journal/0000000001.keys", |path| fs::write(path, "OBSVKEY2").unwrap(), "2", "1"),
        (
            "journal/undecided/hook/logs.ndjson",
            |path| {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "{\"version\":2,\"delivered\":0,\"dead\":0}\n").unwrap();
            },
            "2",
            "1",
        ),
        (
            "sinks/prometheus/metrics.snapshot",
            |path| replace(path, "observer-prometheus 2", "observer-prometheus 3"),
            "3",
            "2",
        ),
        ("sinks/archive/files", replace_format, "2", "1"),
        ("sinks/archive/position", replace_format, "2", "1"),
    ];
    let original = stopped().await;
    for (name, change, found, known) in files {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("observer.toml"), DEFAULTS).unwrap();
        let data = dir.path().join("observer-data");
        let copied = Command::new("cp")
            .arg("-a")
            .args([&original.path().join("observer-data"), &data])
            .status()
            .unwrap();
        assert!(copied.success());
        change(&data.join(name));
        let before = contents(&data);
        let output = run(dir.path(), &["serve"]);
        let text = text_of(&output);
        assert!(!output.status.success(), "{name}: {text}");
        for part in [
            name.rsplit('/').next().unwrap(),
            &format!("has version {found} of its format"),
            &format!(" {known}; start "),
        ] {
            assert!(text.contains(part), "{name}: {part}: {text}");
        }
        assert_eq!(contents(&data), before, "{name}");
        let is_verified = name.ends_with(".log") || name.ends_with("positions");
        for command in [Some(&["check"][..]), is_verified.then_some(&["journal", "verify"])] {
            let Some(command) = command else { continue };
            let output = run(dir.path(), command);
            let text = text_of(&output);
            assert!(!output.status.success(), "{name}: {command:?}: {text}");
            assert!(text.contains(&format!("has version {found} of its format")), "{text}");
        }
        assert_eq!(contents(&data), before, "{name}");
    }
}

#[tokio::test]
async fn knowledge_base_of_a_later_version_stops_the_start_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("{DEFAULTS}[sinks.kb]\ntype = \"kb\"\n");
    let observer = Observer::start(dir.path(), &config);
    assert_eq!(observer.post(EVENT).await.status, 200);
    observer.wait_until_caught_up().await;
    assert!(observer.terminate().0.success());
    let data = dir.path().join("observer-data");
    let files = contents(&data);
    let path = files.keys().find(|path| path.ends_with("kb.sqlite")).unwrap();
    let mut bytes = fs::read(path).unwrap();
    // `PRAGMA user_version`, in the header of the file.
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(path, bytes).unwrap();
    let before = contents(&data);
    for command in ["serve", "check"] {
        let output = run(dir.path(), &[command]);
        let text = text_of(&output);
        assert!(!output.status.success(), "{command}: {text}");
        assert!(text.contains("kb.sqlite\" has version 99 of the knowledge base"), "{text}");
        assert_eq!(contents(&data), before, "{command}");
    }
}

#[tokio::test]
async fn damaged_file_is_not_taken_for_one_of_a_later_version() {
    let dir = stopped().await;
    let journal = dir.path().join("observer-data/journal");
    let segment = journal.join("00000000000000000001-0.log");
    let mut bytes = fs::read(&segment).unwrap();
    // The version in the first of two copies of the header.
    bytes[7] = b'3';
    fs::write(&segment, bytes).unwrap();
    let snapshot = dir.path().join("observer-data/sinks/prometheus/metrics.snapshot");
    fs::write(&snapshot, "observer-prometheus 2 00000000\n{}").unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    assert_eq!(observer.post(EVENT).await.status, 200);
    observer.wait_until_caught_up().await;
    assert_eq!(observer.archive().len(), 4);
}
