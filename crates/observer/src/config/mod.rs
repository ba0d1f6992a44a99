//! Configuration of the program: a TOML file, parsed and validated.
//!
//! ```toml
//! data_dir = "observer-data"      # folder of everything without a path of its own
//!
//! [server]
//! listen = ["127.0.0.1:3800", "[::1]:3800"]    # one address, or a list
//! max_body = "1MiB"               # of a stored event
//! max_batch_body = "16MiB"        # of any body, before and after decompression
//! max_batch_events = 10_000
//! max_connections = 4_096         # a further one replaces an idle one, or uses a reserve
//! max_requests_in_flight = 4_096  # a further one receives 429
//! max_queries_in_flight = 256     # a further query receives 503
//! max_streams = 1_000             # a further stream receives 503
//! max_bytes_in_flight = "32MiB"   # total of their bodies, and of responses that are being sent
//! hosts = ["observer.example.com"]              # besides localhost and IP addresses; "*": any
//! cors_origins = []               # such as "https://grafana.example.com"; "*": any
//! body_timeout = "10s"            # to receive a body
//! min_body_rate = "1KiB"          # a second, after the first 5 s of a body; 0: any
//! write_timeout = "10s"           # within which a client accepts some bytes of a response
//! header_timeout = "10s"          # to receive the head of a request
//! ingest_timeout = "2500ms"       # for a commit, then 503
//! shutdown_timeout = "8s"         # for requests to end and sinks to drain
//!
//! [server.tls]                    # optional; without it, plain HTTP only
//! listen = "0.0.0.0:3843"         # in addition to server.listen, which may be []
//! cert = "/etc/observer/cert.pem" # certificate of the server, then intermediates
//! key = "/etc/observer/key.pem"   # without a passphrase
//! client_ca = "/etc/observer/clients.pem"       # requires client certificates
//!
//! [access]                        # without it, clients need no token, except to administer
//! anonymous = ["ingest"]          # scopes without a token: ingest, read, relay, admin
//! admin_socket = "observer-data/admin.sock"     # has all scopes; false: none
//!
//! [access.tokens.ci]              # printed by `observer token`
//! scopes = ["ingest", "read"]
//! sha256 = "b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799"    # or a list
//! sources = ["ci"]                # limits what the token may send and read; by default all
//! # In events, of which an empty request counts as one, and in bytes of bodies.
//! rate = { per_second = 100, burst = 1000, bytes_per_second = "1MiB" }
//!
//! [ingest]
//! dedup = { window = "24h", max_keys = 500_000 }
//! require = { bot = ["cycle_id", "sig_hash"] }  # required fields by source
//! phases = ["started", "heartbeat", "progress"] # event kinds that are no outcomes
//! strict = false                  # true: an unreadable optional field is an error
//! oversize = "trim"               # of an event larger than max_body: trim | reject
//! partial_status = 207            # of a batch with rejected items: 207 | 200
//!
//! [redact]                        # of secrets in extra, labels and unknown fields
//! enabled = true
//! action = "mask"                 # mask | hash | drop
//!
//! [redact.rules.acme]             # changes a built-in rule, or adds one
//! prefixes = ["acme_"]            # of secrets
//! keys = ["acme_key"]             # whose values are secrets
//!
//! [journal]
//! path = "observer-data/journal"
//! durability = "fsync"            # guaranteed by a response: fsync | write
//! max_size = "10GiB"
//! retain = "24h"
//! segment_size = "64MiB"
//!
//! [prices]                        # of models, for sums of costs; none by default
//! files = ["model_prices.json", "prices.toml"]  # later ones take precedence
//!
//! [telemetry]                     # own telemetry over OTLP; off without an endpoint
//! endpoint = "http://127.0.0.1:4318"
//! protocol = "http/protobuf"      # http/protobuf | grpc (default at port 4317)
//! signals = ["traces", "metrics", "logs"]
//! headers = { x-team = "${TEAM_TOKEN}" }
//! compression = "none"            # none | gzip
//! tls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem" }
//! interval = "60s"                # of metrics
//! sample = 1.0                    # fraction of the traces started here
//! resource = { "deployment.environment.name" = "prod" }
//!
//! [sinks.archive]
//! type = "file"
//! path = "observer-data/events/{date}.jsonl"
//! required = true
//! start = "earliest"
//! ```
//!
//! Every key is optional. Relative paths start at the working directory. Without `[sinks]`, an
//! archive, a knowledge base and metrics are configured. In strings, `${NAME}`, `${NAME:-default}` and `${file:PATH}`
//! are substituted.

mod access;
mod check;
mod default;
mod error;
mod ingest;
mod journal;
mod load;
pub(crate) mod parse;
mod prices;
mod redact;
mod server;
mod sinks;
mod telemetry;
mod tls;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use access::{AccessConfig, RateConfig, TokenConfig};
pub use error::{ConfigError, Problem};
pub use ingest::{DedupConfig, IngestConfig};
pub use journal::JournalConfig;
pub(crate) use load::Addresses;
pub use load::DEFAULT_FILE;
pub use prices::PricesConfig;
pub use redact::{RedactAction, RedactConfig, RedactRule};
pub use server::ServerConfig;
pub(crate) use server::address;
pub use sinks::SinkTable;
pub(crate) use telemetry::parse_endpoint;
pub use telemetry::{Signal, TelemetryConfig};
pub use tls::TlsConfig;

/// Complete configuration.
///
/// ```
/// use observer::Config;
///
/// let config = Config::parse("[journal]\nmax_size = \"1GiB\"\nretain = \"1h\"")?;
/// assert_eq!(config.journal.max_size, 1 << 30);
/// assert_eq!(config.journal.path.to_str(), Some("observer-data/journal"));
/// assert_eq!(config.sinks.keys().collect::<Vec<_>>(), ["archive", "kb", "prometheus"]);
/// # Ok::<(), observer::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Path of the file; `None` for the defaults or another source.
    pub origin: Option<PathBuf>,
    /// Folder of everything without a path of its own.
    pub data_dir: PathBuf,
    /// Settings of the server.
    pub server: ServerConfig,
    /// Access rules.
    pub access: AccessConfig,
    /// Settings of ingest.
    pub ingest: IngestConfig,
    /// Settings of redaction.
    pub redact: RedactConfig,
    /// Settings of the journal.
    pub journal: JournalConfig,
    /// Sources of prices of models.
    pub prices: PricesConfig,
    /// Settings of the export of the observer's own telemetry.
    pub telemetry: TelemetryConfig,
    /// Tables of the sinks, by name.
    pub sinks: BTreeMap<String, SinkTable>,
}

impl Config {
    /// Returns the state folder of a sink.
    #[must_use]
    pub fn state_dir(&self, sink: &str) -> PathBuf {
        self.sinks_dir().join(sink)
    }

    /// Returns the folder with the state folders of all sinks.
    #[must_use]
    pub fn sinks_dir(&self) -> PathBuf {
        self.data_dir.join("sinks")
    }

    /// Validates the values. [`load`](Self::load) and [`parse`](Self::parse) have done so already.
    ///
    /// # Errors
    /// If a value is invalid; the error holds every problem.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let problems = check::problems(self);
        if problems.is_empty() { Ok(()) } else { Err(self.invalid(problems)) }
    }

    /// Creates an error about this configuration.
    pub(crate) fn invalid(&self, problems: Vec<Problem>) -> ConfigError {
        ConfigError::Invalid { origin: self.origin.clone(), problems }
    }
}
