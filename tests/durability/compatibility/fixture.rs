//! What a fixture consists of.

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

/// The files beside the data folder, parsed.
pub(super) struct Fixture {
    pub(super) config: String,
    /// The text of `/metrics` before the program was stopped.
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

/// What is known of a data folder from outside: from requests, responses and destinations.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    /// Position of the last event, as `/v1/sinks` shows it.
    pub(super) head: String,
    /// Each sink as `/v1/sinks` showed it, without what depends on time.
    pub(super) sinks: Vec<Value>,
    /// Sequence numbers of the events that each HTTP destination accepted, in order.
    pub(super) accepted: BTreeMap<String, Vec<u64>>,
    /// Of the sink `rejecting`, as the program listed them.
    pub(super) dead_letters: Vec<Value>,
    /// Every event that was acknowledged, in order: in a file of their own.
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

/// An event that was answered with `accepted`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Acknowledged {
    pub(super) seq: u64,
    pub(super) id: String,
    pub(super) received_at: String,
    /// The producer's bytes.
    pub(super) event: String,
    /// What was posted, where it is an envelope around the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) envelope: Option<String>,
    /// The `Idempotency-Key` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// Whether the event is recognised when it is posted again.
    pub(super) has_identity: bool,
}

impl Acknowledged {
    /// The envelope in which the event is handed out.
    pub(super) fn line(&self) -> String {
        let Self { seq, id, received_at, event, .. } = self;
        let head = format!(r#"{{"id":"{id}","seq":{seq},"received_at":"{received_at}""#);
        format!(r#"{head},"event":{event}}}"#)
    }

    /// The body of the request that brought the event.
    pub(super) fn body(&self) -> &str {
        self.envelope.as_ref().unwrap_or(&self.event)
    }

    pub(super) fn is_failure(&self) -> bool {
        /// The rest of an event may be more than a [`Value`] holds.
        #[derive(Deserialize)]
        struct Outcome {
            ok: bool,
        }
        !serde_json::from_str::<Outcome>(&self.event).unwrap().ok
    }
}

/// The destinations of the sinks of type `http`.
pub(super) struct Destinations {
    pub(super) rejecting: HttpReceiver,
    pub(super) behind: HttpReceiver,
    pub(super) replaying: HttpReceiver,
}

impl Destinations {
    /// Destinations that are up and accept everything.
    pub(super) fn start() -> Self {
        let start = HttpReceiver::start;
        Self { rejecting: start(), behind: start(), replaying: start() }
    }

    /// The variables that the configuration takes their URLs from.
    pub(super) fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("REJECTING_URL", self.rejecting.url("/events")),
            ("BEHIND_URL", self.behind.url("/events")),
            ("REPLAYING_URL", self.replaying.url("/events")),
        ]
    }
}

/// The part of a sink in `/v1/sinks` that a restart doesn't change.
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
    // A failed attempt since then would show here.
    let replay = replay.iter().filter(|(key, _)| *key != "reason");
    lasting
        .insert("replay".into(), replay.map(|(key, value)| (key.clone(), value.clone())).collect());
    lasting.into()
}

/// Copies a folder with all that is below it.
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

/// All files below a folder, by name.
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

/// The lines of all files below a folder, decompressed, by sequence number. A file that is being
/// compressed may be there twice, or an error.
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

/// What an envelope says of its event.
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

/// Posts one event, which is answered with 200.
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

/// Waits until this holds of every sink.
pub(super) async fn until(observer: &Observer, holds: impl Fn(&Value) -> bool) {
    wait_until("the sinks are as wanted", async || {
        let status = observer.get("/v1/sinks").await.json();
        status["sinks"].as_array().unwrap().iter().all(&holds)
    })
    .await;
}
