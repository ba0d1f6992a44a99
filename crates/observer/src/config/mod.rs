//! What an operator decides: a TOML file, checked.
//!
//! ```toml
//! data_dir = "observer-data"      # where the rest goes unless it says otherwise
//!
//! [server]
//! listen = ["127.0.0.1:3800", "[::1]:3800"]    # one address, or several
//! max_body = "1MiB"
//! max_batch_body = "16MiB"        # compressed as well as after decompression
//! max_batch_events = 10_000
//! max_connections = 4_096         # one more takes the place of one that is idle, or is answered with 503
//! max_requests_in_flight = 4_096  # one more is answered with 429
//! max_bytes_in_flight = "32MiB"   # of the bodies of these together
//! hosts = ["observer.example.com"]              # names that requests may use beside localhost and addresses; "*" for any
//! cors_origins = []               # pages that may ask for things, such as "https://grafana.example.com"
//! body_timeout = "10s"            # a body has to arrive within
//! header_timeout = "10s"
//! ingest_timeout = "2500ms"       # how long a producer waits for the journal before it gets 503
//! shutdown_timeout = "20s"        # how long sinks may go on with what they have when the program ends
//!
//! [server.tls]                    # without it, plain HTTP only
//! listen = "0.0.0.0:3843"         # in addition to the above, which may be [] then
//! cert = "/etc/observer/cert.pem" # the server's certificate first, then those that lead to an authority
//! key = "/etc/observer/key.pem"   # without a passphrase
//! client_ca = "/etc/observer/clients.pem"       # then clients need a certificate that is signed by one of these
//!
//! [access]                        # without it, everyone who reaches the observer may do everything
//! anonymous = ["ingest"]          # what those may do who send no token: ingest, read, admin
//!
//! [access.tokens.ci]              # made by `observer token`
//! scopes = ["ingest", "read"]
//! sha256 = "b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799"    # or a list of them
//! rate = { per_second = 100, burst = 1000 }     # events; a request without any counts as one
//!
//! [ingest]
//! dedup = { window = "24h", max_keys = 500_000 }
//! require = { bot = ["cycle_id", "sig_hash"] }  # what a source's events must have; `bot = []` for nothing
//!
//! [journal]
//! path = "observer-data/journal"
//! durability = "fsync"            # what an answer promises: fsync | write
//! max_size = "10GiB"
//! retain = "24h"
//! segment_size = "64MiB"
//!
//! [telemetry]                     # the observer's own, by OTLP; nowhere without an endpoint
//! endpoint = "http://127.0.0.1:4318"
//! protocol = "http/protobuf"      # http/protobuf | grpc (default at port 4317)
//! signals = ["traces", "metrics", "logs"]
//! headers = { x-team = "${TEAM_TOKEN}" }
//! compression = "none"            # none | gzip
//! tls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem" }
//! interval = "60s"                # of metrics
//! sample = 1.0                    # share of the traces that begin here
//! resource = { "deployment.environment.name" = "prod" }
//!
//! [sinks.archive]
//! type = "file"
//! path = "observer-data/events/{date}.jsonl"
//! required = true
//! start = "earliest"
//! ```
//!
//! Every key may be left out. Relative paths start at the folder that the program was started in.
//! Without any `[sinks]` there are an archive and metrics. In strings, `${NAME}`,
//! `${NAME:-default}` and `${file:PATH}` are filled in.

mod access;
mod check;
mod default;
mod error;
pub(crate) mod fill;
mod ingest;
mod journal;
pub(crate) mod key;
mod load;
mod one_or_more;
pub(crate) mod read;
mod server;
mod sinks;
mod telemetry;
mod tls;
mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use access::{AccessConfig, RateConfig, TokenConfig};
pub use error::{ConfigError, Problem};
pub use ingest::{DedupConfig, IngestConfig};
pub use journal::JournalConfig;
pub use load::DEFAULT_FILE;
pub use server::ServerConfig;
pub(crate) use server::address;
pub use sinks::SinkTable;
pub(crate) use telemetry::parse_endpoint;
pub use telemetry::{Signal, TelemetryConfig};
pub use tls::TlsConfig;

/// All that can be configured.
///
/// ```
/// use observer::Config;
///
/// let config = Config::parse("[journal]\nmax_size = \"1GiB\"\nretain = \"1h\"")?;
/// assert_eq!(config.journal.max_size, 1 << 30);
/// assert_eq!(config.journal.path.to_str(), Some("observer-data/journal"));
/// assert_eq!(config.sinks.keys().collect::<Vec<_>>(), ["archive", "prometheus"]);
/// # Ok::<(), observer::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file that this came from; `None` where no file was there.
    pub origin: Option<PathBuf>,
    /// Where everything goes that has no path of its own.
    pub data_dir: PathBuf,
    /// How producers and readers are served.
    pub server: ServerConfig,
    /// Who may do what.
    pub access: AccessConfig,
    /// How events are taken in.
    pub ingest: IngestConfig,
    /// Where events are made durable.
    pub journal: JournalConfig,
    /// Where the observer tells of itself.
    pub telemetry: TelemetryConfig,
    /// Where events go: the operator's name for each sink, and its table.
    pub sinks: BTreeMap<String, SinkTable>,
}

impl Config {
    /// A folder for what the sink of this name keeps beside its data.
    #[must_use]
    pub fn state_dir(&self, sink: &str) -> PathBuf {
        self.data_dir.join("sinks").join(sink)
    }

    /// Whether the values can be. A configuration that was read from a file is checked already.
    ///
    /// # Errors
    /// Everything that can't be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let problems = check::problems(self);
        if problems.is_empty() { Ok(()) } else { Err(self.invalid(problems)) }
    }

    pub(crate) fn invalid(&self, problems: Vec<Problem>) -> ConfigError {
        ConfigError::Invalid { origin: self.origin.clone(), problems }
    }
}
