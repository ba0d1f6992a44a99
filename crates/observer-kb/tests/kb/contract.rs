//! The contract of sinks.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use observer_core::query::{EventStore, EventsRequest};
use observer_core::{EventSink, SinkContext};
use observer_kb::{KbConfig, KbSink, KbStore};
use observer_testing::{Clause, Contents, Destination, Outage, SinkContract, StoredEvent};
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn path(&self) -> PathBuf {
        self.0.path().join("kb")
    }
}

#[async_trait]
impl Destination for Folder {
    fn sink(&self) -> Arc<dyn EventSink> {
        let context = SinkContext::new("kb", self.0.path());
        Arc::new(KbSink::new(KbConfig::in_dir(self.path()), &context).unwrap())
    }

    async fn contents(&self) -> Contents {
        if !self.path().join("kb.sqlite").exists() {
            return Contents::Events(Vec::new());
        }
        let context = SinkContext::new("kb", self.0.path());
        let store = KbStore::open(KbConfig::in_dir(self.path()), &context).unwrap();
        let (mut events, mut cursor) = (Vec::new(), None);
        loop {
            let request = EventsRequest { limit: 1_000, cursor, ..EventsRequest::default() };
            let page = store.events(request).await.unwrap();
            events.extend(page.events.into_iter().map(|stored| StoredEvent {
                id: stored.envelope.id,
                raw: Some(String::from_utf8_lossy(stored.envelope.event.raw()).into_owned()),
            }));
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        events.reverse();
        Contents::Events(events)
    }

    async fn make_unavailable(&self) -> Outage {
        let _ = fs::remove_dir_all(self.path());
        fs::write(self.path(), "in the way").unwrap();
        Outage::Simulated
    }

    async fn make_available(&self) {
        fs::remove_file(self.path()).unwrap();
    }
}

#[tokio::test]
async fn knowledge_base_meets_the_contract() {
    let contract = SinkContract::new(|| Folder(TempDir::new().unwrap())).max_events(8192);
    let skipped = contract.verify().await.skipped;
    let skipped: Vec<_> = skipped.iter().map(|(clause, _)| *clause).collect();
    // The destination accepts every event.
    assert_eq!(skipped, [Clause::Rejection, Clause::PartialAcceptance]);
}
