//! Data folders of earlier versions, which the current program opens without loss.
//!
//! `tests/fixtures/README.md` describes their contents and how they are written.

mod check;
mod fixture;
mod undecided;
mod write;

use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::{Destinations, Fixture, copy};

use crate::support::OBSERVER;

/// Folder to write a fixture to, instead of a temporary one.
const WRITE: &str = "OBSERVER_WRITE_FIXTURES";

fn version_0_1() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/v0.1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_folder_of_version_0_1_opens_without_loss() {
    check::opens_without_loss(&version_0_1(), &[]).await;
}

/// Data folder with files of the formats of November 2026: segments 2, positions 1, identities 2,
/// metrics 2, files 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_folder_of_formats_2_opens_without_loss() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/formats-2");
    check::opens_without_loss(&dir, &check::BY_MODEL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_folder_of_the_current_version_opens_without_loss() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = std::env::var_os(WRITE).map_or(temporary.path().to_owned(), PathBuf::from);
    write::write(&dir, &version_0_1().join(fixture::CONFIG)).await;
    check::opens_without_loss(&dir, &check::BY_MODEL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_of_version_0_1_is_accepted() {
    let config = Fixture::read(&version_0_1()).config;
    let parsed = observer::Config::parse(&config).unwrap();
    let sinks: Vec<_> = parsed.sinks.keys().map(String::as_str).collect();
    let expected = ["archive", "behind", "failures", "prometheus", "rejecting", "replaying"];
    assert_eq!(sinks, expected);

    let dir = tempfile::tempdir().unwrap();
    copy(&version_0_1(), dir.path());
    let destinations = Destinations::start();
    let mut check = Command::new(OBSERVER);
    check.arg("check").current_dir(dir.path()).envs(destinations.environment());
    let output = tokio::task::spawn_blocking(move || check.output()).await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{errors}", String::from_utf8_lossy(&output.stdout));
}
