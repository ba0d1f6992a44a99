//! Files of a fixture, and helpers for its writer and its check.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use observer_testing::http::HttpReceiver;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::support::{Observer, wait_until};

pub(super) const CONFIG: &str = "observer.toml";
pub(super) const METRICS: &str = "metrics.txt";
const EXPECTED: &str = "expected.json";
const EVENTS: &str = "events.ndjson";
pub(super) const DATA: &str = "observer-data";

/// Files beside the data folder, parsed.
pub(super) struct Fixture {
    pub(super) config: String,
    /// Text of `/metrics` before the program was stopped.
    pub(super) metrics: String,
    pub(super) expected: Expected,
}

impl Fixture {
    pub(super) fn read(dir: &Path) -> Self {
        let read = |name| fs::read_to_string(dir.join(name)).unwrap();
        let mut expected: Expected = serde_json::from_str(&read(EXPECTED)).unwrap();
        expected.events =
            read(EVENTS).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Self { config: read(CONFIG), metrics: read(METRICS), expected }
    }
}

/// Expected contents of a data folder, from requests, responses and destinations.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    /// Position of the last event, as `/v1/sinks` shows it.
    pub(super) head: String,
    /// Each sink as `/v1/sinks` showed it, without values that depend on time.
    pub(super) sinks: Vec<Value>,
    /// Sequence numbers of the events that each HTTP destination accepted, in order.
    pub(super) accepted: BTreeMap<String, Vec<u64>>,
    /// Dead letters of the sink `rejecting`, as the program listed them.
    pub(super) dead_letters: Vec<Value>,
    /// Every acknowledged event, in order. They are in a separate file.
    #[serde(skip)]
    pub(super) events: Vec<Acknowledged>,
}

impl Expected {
    pub(super) fn write(&self, dir: &Path) {
        let text = serde_json::to_string_pretty(self).unwrap();
        fs::write(dir.join(EXPECTED), text + "\n").unwrap();
        let lines = self.events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n");
        fs::write(dir.join(EVENTS), lines.collect::<String>()).unwrap();
    }
}

/// Event whose response was `accepted`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Acknowledged {
    pub(super) seq: u64,
    pub(super) id: String,
    pub(super) received_at: String,
    /// Event as the producer sent it.
    pub(super) event: String,
    /// Posted envelope, if the event was posted in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) envelope: Option<String>,
    /// `Idempotency-Key` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// True if the event is a duplicate when it is posted again.
    pub(super) has_identity: bool,
}

impl Acknowledged {
    /// Returns the envelope in which the event is delivered.
    pub(super) fn line(&self) -> String {
        let Self { seq, id, received_at, event, .. } = self;
        let head = format!(r#"{{"id":"{id}","seq":{seq},"received_at":"{received_at}""#);
        format!(r#"{head},"event":{event}}}"#)
    }

    /// Returns the body of the request that posted the event.
    pub(super) fn body(&self) -> &str {
        self.envelope.as_ref().unwrap_or(&self.event)
    }

    pub(super) fn is_failure(&self) -> bool {
        is_failure(&self.event)
    }

    /// Returns whether the event has no identity but its cycle.
    pub(super) fn has_cycle_only(&self) -> bool {
        #[derive(Deserialize)]
        struct Id {
            id: Option<String>,
        }
        let Id { id } = serde_json::from_str(&self.event).unwrap();
        self.has_identity && self.key.is_none() && self.envelope.is_none() && id.is_none()
    }
}

/// Returns whether an event reports a failure.
pub(super) fn is_failure(event: &str) -> bool {
    /// Only `ok`, since other fields of an event may not fit into a [`Value`].
    #[derive(Deserialize)]
    struct Outcome {
        ok: bool,
    }
    !serde_json::from_str::<Outcome>(event).unwrap().ok
}

/// Destinations of the sinks of type `http`.
pub(super) struct Destinations {
    pub(super) rejecting: HttpReceiver,
    pub(super) behind: HttpReceiver,
    pub(super) replaying: HttpReceiver,
}

impl Destinations {
    /// Starts destinations that accept every event.
    pub(super) fn start() -> Self {
        let start = HttpReceiver::start;
        Self { rejecting: start(), behind: start(), replaying: start() }
    }

    /// Returns the environment variables with the URLs for the configuration.
    pub(super) fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("REJECTING_URL", self.rejecting.url("/events")),
            ("BEHIND_URL", self.behind.url("/events")),
            ("REPLAYING_URL", self.replaying.url("/events")),
        ]
    }
}

/// Returns the part of a sink in `/v1/sinks` that a restart doesn't change.
pub(super) fn lasting(sink: &Value) -> Value {
    let mut lasting = serde_json::Map::new();
    for key in [
        "name",
        "type",
        "required",
        "position",
        "pending",
        "accepted",
        "delivered",
        "dead",
        "refused",
        "expired",
        "filtered",
    ] {
        lasting.insert(key.to_owned(), sink[key].clone());
    }
    let Value::Object(replay) = &sink["replay"] else { return lasting.into() };
    // The reason may be that of an attempt after the restart. The first versions counted no lost
    // events.
    let replay = replay.iter().filter(|(key, _)| !matches!(key.as_str(), "reason" | "lost"));
    lasting
        .insert("replay".into(), replay.map(|(key, value)| (key.clone(), value.clone())).collect());
    lasting.into()
}

/// Copies a folder recursively.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Returns all files below a folder, sorted by path.
pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files.extend(self::files(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

/// Returns the decompressed lines of all files below a folder, sorted by sequence number. While a
/// file is being compressed, its lines may be repeated, or reading may fail.
pub(super) fn lines(dir: &Path) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    for path in files(dir) {
        let bytes = fs::read(&path)?;
        let bytes = match path.extension().and_then(|extension| extension.to_str()) {
            Some("zst") => zstd::decode_all(&*bytes)?,
            Some("gz") => {
                let mut decompressed = Vec::new();
                flate2::read::MultiGzDecoder::new(&*bytes).read_to_end(&mut decompressed)?;
                decompressed
            }
            _ => bytes,
        };
        for line in String::from_utf8(bytes).map_err(io::Error::other)?.lines() {
            let head: Head = serde_json::from_str(line)?;
            lines.push((head.seq, line.to_owned()));
        }
    }
    lines.sort();
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// Fields that an envelope adds to its event.
#[derive(Deserialize)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) seq: u64,
    pub(super) received_at: String,
}

impl Head {
    pub(super) fn of(envelope: &str) -> Self {
        serde_json::from_str(envelope).unwrap_or_else(|error| panic!("{error}: {envelope}"))
    }
}

/// Posts one event, and asserts the status 200.
pub(super) async fn send(observer: &Observer, body: &str, key: Option<&str>) -> Value {
    let mut request =
        observer.client().post(format!("{}/event", observer.url)).body(body.to_owned());
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    let response = observer.send(request).await;
    assert_eq!(response.status, 200, "{}", response.text);
    response.json()
}

/// Waits until every sink meets a condition.
pub(super) async fn wait_for_sinks(observer: &Observer, condition: impl Fn(&Value) -> bool) {
    wait_until("every sink meets the condition", async || {
        let status = observer.get("/v1/sinks").await.json();
        status["sinks"].as_array().unwrap().iter().all(&condition)
    })
    .await;
}
