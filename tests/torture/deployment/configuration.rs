//! Configuration of an observer under test.

use std::path::Path;

use crate::deployment::destination::Destination;
use crate::deployment::{INGEST_TIMEOUT, SHUTDOWN_TIMEOUT};
use crate::oracle::BATCH;

/// Maximum size in bytes of the files of the sink `sources`.
pub(crate) const SOURCES_SIZE: u64 = 256 << 10;
/// Size in bytes at which files of the sink `sources` are closed.
pub(crate) const SOURCES_FILE: u64 = 64 << 10;

/// Durability with which an observer acknowledges events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Durability {
    /// After a sync.
    #[default]
    Fsync,
    /// After the write. Only a power cut may lose such events, and no fault is one.
    Write,
}

impl Durability {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Write => "write",
        }
    }
}

/// Returns the configuration of the observer.
///
/// Delivered segments and identities have no limit on their age: the clock jumps by years, and a
/// producer may send an event again after a jump.
pub(crate) fn configuration(
    dir: &Path,
    port: u16,
    destinations: &[Destination],
    durability: Durability,
) -> String {
    // The backlog of the sink that is not required reaches the limit. A build with debug assertions
    // accepts fewer events.
    let max_size = if cfg!(debug_assertions) { "2MiB" } else { "12MiB" };
    let data = dir.display();
    let mut text = format!(
        r#"data_dir = "{data}"
[server]
listen = "127.0.0.1:{port}"
ingest_timeout = "{}ms"
shutdown_timeout = "{}s"
[ingest]
dedup = {{ window = "36500d" }}
[journal]
durability = "{}"
segment_size = "256KiB"
max_size = "{max_size}"
retain = "36500d"
[sinks.prometheus]
type = "prometheus"
required = true
start = "earliest"
retry = {{ max = "1s" }}
"#,
        INGEST_TIMEOUT.as_millis(),
        SHUTDOWN_TIMEOUT.as_secs(),
        durability.as_str(),
    );
    text.push_str(&file_sinks(&data.to_string()));
    for destination in destinations {
        text.push_str(&http_sink(destination));
    }
    text
}

/// Returns the tables of the file sinks. The files of `copy` and `sources` want the same names. No
/// file of `copy` is older than a day by the time that passes, and jumps of the clock don't count.
fn file_sinks(data: &str) -> String {
    let sources = format!(
        "rotate = {{ max_size = {SOURCES_FILE} }}\nretain = {{ max_total_size = {SOURCES_SIZE} }}"
    );
    let sinks = [
        ("archive", "events/archive.jsonl", "rotate = { max_size = \"512KiB\" }"),
        (
            "copy",
            "shared/bot.jsonl",
            "rotate = { max_size = \"256KiB\" }\nretain = { max_age = \"1h\" }",
        ),
        ("sources", "shared/{source}.jsonl", &sources),
    ];
    let tables = sinks.map(|(name, path, keys)| {
        format!(
            r#"[sinks.{name}]
type = "file"
path = "{data}/{path}"
{keys}
compression = "gzip"
required = true
start = "earliest"
retry = {{ max = "1s" }}
"#
        )
    });
    tables.concat()
}

fn http_sink(destination: &Destination) -> String {
    format!(
        r#"[sinks.{}]
type = "http"
url = "http://127.0.0.1:{}/"
body = "ndjson"
required = {}
start = "earliest"
batch = {{ max_events = {BATCH}, linger = "20ms" }}
retry = {{ initial = "50ms", max = "1s" }}
timeout = "1s"
"#,
        destination.name, destination.port, !destination.may_expire
    )
}
