//! Knowledge base with events, and calls to it.

use std::path::Path;
use std::sync::Arc;

use observer_core::query::Scope;
use observer_core::{Batch, Envelope, Event, EventSink, SinkContext, Timestamp, Uuid};
use observer_kb::{KbConfig, KbSink};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::reader::Reader;
use crate::tools::Tool;

/// Knowledge base in a folder of its own.
pub(super) struct Kb {
    sink: KbSink,
    _folder: TempDir,
}

/// Present time of the calls.
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

/// Returns the id of an event by its index. Its digits look random, as those of real ids do.
pub(super) fn id(index: usize) -> Uuid {
    let digits = (index as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Uuid::from_u128(digits)
}

/// Returns the runs of real agents that `OBSERVER_TEST_RUNS` names, or those of the fixture.
pub(super) fn runs() -> Vec<String> {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/agent-runs.ndjson");
    let path = std::env::var_os("OBSERVER_TEST_RUNS").map_or(fixture, Into::into);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::to_owned).collect()
}

impl Kb {
    /// Creates a knowledge base with these events, each received a second after the one before, the
    /// last one now.
    pub(super) async fn of(events: &[String]) -> Self {
        Self::until(now(), events).await
    }

    /// Creates a knowledge base with these events, the last one received at this time.
    pub(super) async fn until(end: Timestamp, events: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = KbConfig::in_dir(folder.path().join("kb"));
        let sink = KbSink::new(config, &SinkContext::new("kb", folder.path())).unwrap();
        let end = end.as_millisecond();
        let envelope = |(index, event): (usize, &String)| {
            let at = end - 1_000 * (events.len() - index) as i64;
            Arc::new(Envelope {
                id: id(index),
                seq: index as u64 + 1,
                received_at: Timestamp::from_millisecond(at).unwrap(),
                event: Event::parse(event.clone()).unwrap(),
            })
        };
        let envelopes: Vec<_> = events.iter().enumerate().map(envelope).collect();
        for chunk in envelopes.chunks(200) {
            sink.deliver(&Batch::new(1, chunk.to_vec())).await.unwrap();
        }
        sink.flush().await.unwrap();
        Self { sink, _folder: folder }
    }

    /// Returns the result of a call by a caller who may read these sources.
    pub(super) async fn call_in(
        &self,
        scope: Scope,
        tool: &str,
        arguments: Value,
    ) -> Result<String, String> {
        let Value::Object(arguments): Value = arguments else { panic!("no object") };
        let reader = Reader { store: Some(self.sink.store()), scope };
        Tool::from_name(tool).unwrap().call(arguments, &reader, now()).await
    }

    pub(super) async fn call(&self, tool: &str, arguments: Value) -> Result<String, String> {
        self.call_in(Scope::all(), tool, arguments).await
    }

    /// Returns the answer to a call.
    pub(super) async fn answer(&self, tool: &str, arguments: Value) -> String {
        self.call(tool, arguments).await.unwrap()
    }
}

/// Returns the arguments of no parameter.
pub(super) fn none() -> Value {
    Map::new().into()
}
