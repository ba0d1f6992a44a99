//! The example sink meets the contract of sinks, and the program runs with it.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

#[expect(dead_code, reason = "`main` belongs to the example")]
#[path = "spool_sink.rs"]
mod spool_sink;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{EventSink, SinkConfig, SinkContext};
use observer_testing::{Clause, Contents, Destination, Outage, SinkContract};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::spool_sink::SpoolConfig;

struct Folder(TempDir);

impl Folder {
    fn path(&self) -> PathBuf {
        self.0.path().join("spool")
    }
}

#[async_trait]
impl Destination for Folder {
    fn sink(&self) -> Arc<dyn EventSink> {
        let config: SpoolConfig = serde_json::from_value(json!({ "folder": self.path() })).unwrap();
        let context = SinkContext::new("out", self.0.path().join("state"));
        config.build(&context).unwrap().remove(0).sink
    }

    async fn contents(&self) -> Contents {
        Contents::from_lines(&spooled(&self.path()).join("\n"))
    }

    async fn make_unavailable(&self) -> Outage {
        fs::remove_dir_all(self.path()).unwrap();
        fs::write(self.path(), "not a folder").unwrap();
        Outage::Simulated
    }

    async fn make_available(&self) {
        fs::remove_file(self.path()).unwrap();
    }
}

/// Returns the complete files in the folder in the order of their names, as their reader sees them.
fn spooled(folder: &Path) -> Vec<String> {
    let paths = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let is_complete =
        |path: &PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with('.');
    let mut paths: Vec<_> = paths.filter(is_complete).collect();
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[tokio::test]
async fn spool_sink_meets_the_contract() {
    let report = SinkContract::new(|| Folder(TempDir::new().unwrap())).verify().await;
    let skipped: Vec<_> = report.skipped.iter().map(|(clause, _)| *clause).collect();
    // The folder accepts every event, and the sink keeps no position.
    assert_eq!(skipped, [Clause::Rejection, Clause::PartialAcceptance, Clause::Position]);
}

#[test]
fn program_delivers_events_to_the_spool_sink() {
    let folder = TempDir::new().unwrap();
    let example =
        std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/spool_sink");
    assert!(example.exists(), "`cargo test -p examples` builds the example too");
    let program = || {
        let mut program = Command::new(&example);
        program.current_dir(folder.path()).args(["--log-format", "json"]).stdin(Stdio::null());
        program
    };
    let config =
        "[server]\nlisten = \"127.0.0.1:0\"\n[sinks.out]\ntype = \"spool\"\nfolder = \"outbox\"\n";
    fs::write(folder.path().join("observer.toml"), config).unwrap();
    let check = program().arg("check").output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));

    let mut observer = program().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(observer.stderr.take().unwrap()).lines();
    let url = log.find_map(|line| {
        Some(serde_json::from_str::<Value>(&line.unwrap()).ok()?["listen"].as_str()?.to_owned())
    });
    let emit = ["emit", "--source", "nightly", "--event-kind", "ok", "--ok"];
    let emitted = program().args(emit).env("LH_OBSERVER_URL", url.unwrap()).output();
    let stopped = Command::new("kill").arg(observer.id().to_string()).status();
    // The program blocks on its log if the pipe is full.
    log.for_each(drop);
    let ended = observer.wait().unwrap();
    assert!(emitted.unwrap().status.success() && stopped.unwrap().success() && ended.success());
    let spooled = spooled(&folder.path().join("outbox"));
    assert_eq!(spooled.len(), 1, "{spooled:?}");
    assert!(
        spooled[0].contains(r#""event":{"source":"nightly","event_kind":"ok","ok":true"#),
        "{}",
        spooled[0]
    );
}
