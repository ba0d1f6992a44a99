//! Contract test of the file sink.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{EventSink, SinkContext};
use observer_sink_file::{FileConfig, FileSink};
use observer_testing::{Clause, Contents, Destination, Outage, SinkContract};
use tempfile::TempDir;

struct Folder {
    root: TempDir,
    config: fn(FileConfig) -> FileConfig,
}

impl Folder {
    fn events(&self) -> PathBuf {
        self.root.path().join("events")
    }
}

#[async_trait]
impl Destination for Folder {
    fn sink(&self) -> Arc<dyn EventSink> {
        let config =
            (self.config)(FileConfig::new(format!("{}/{{date}}.jsonl", self.events().display())));
        let context = SinkContext::new("archive", self.root.path().join("state"));
        Arc::new(FileSink::new(&config, &context).unwrap())
    }

    async fn contents(&self) -> Contents {
        // The thread of a dropped sink completes its commands before it releases the lock.
        if let Ok(lock) = File::open(self.root.path().join("state/lock")) {
            lock.lock().unwrap();
        }
        let files =
            fs::read_dir(self.events()).into_iter().flatten().map(|entry| entry.unwrap().path());
        // The active file has no number and is the last one.
        let mut files: Vec<_> =
            files.map(|path| (path.file_name().unwrap().len() == 16, path)).collect();
        files.sort();
        Contents::from_lines(
            &files.iter().map(|(_, path)| fs::read_to_string(path).unwrap()).collect::<String>(),
        )
    }

    async fn make_unavailable(&self) -> Outage {
        fs::remove_dir_all(self.events()).unwrap();
        fs::write(self.events(), "in the way").unwrap();
        Outage::Simulated
    }

    async fn make_available(&self) {
        fs::remove_file(self.events()).unwrap();
    }
}

async fn holds(config: fn(FileConfig) -> FileConfig) {
    let report =
        SinkContract::new(move || Folder { root: TempDir::new().unwrap(), config }).verify().await;
    let skipped: Vec<_> = report.skipped.iter().map(|(clause, _)| *clause).collect();
    // A file accepts every event.
    assert_eq!(skipped, [Clause::Rejection, Clause::PartialAcceptance]);
}

#[tokio::test]
async fn file_sink_meets_the_contract() {
    holds(|config| config).await;
}

#[tokio::test]
async fn file_sink_meets_the_contract_with_rotation() {
    holds(|config| config.rotate_at_size(4096)).await;
}
