//! How producers and readers are served.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use observer_core::units;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::{TlsConfig, one_or_more};

/// How producers and readers are served.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where to listen. Both loopbacks by default, since `localhost` may mean either.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// TLS, where it is served too.
    pub tls: Option<TlsConfig>,
    /// The largest body of one event, in bytes.
    #[serde(deserialize_with = "units::size")]
    pub max_body: u64,
    /// The largest body of a batch, in bytes, compressed as well as after decompression.
    #[serde(deserialize_with = "units::size")]
    pub max_batch_body: u64,
    /// The most events in a batch.
    pub max_batch_events: NonZeroUsize,
    /// The most connections at once. Beyond, one that is idle makes room.
    pub max_connections: NonZeroUsize,
    /// The most requests at once.
    pub max_requests_in_flight: NonZeroUsize,
    /// The most bytes that the bodies of these may have together.
    #[serde(deserialize_with = "units::size")]
    pub max_bytes_in_flight: u64,
    /// The host names that requests may name beside `localhost` and addresses; `*` for any.
    #[serde(deserialize_with = "names")]
    pub hosts: Vec<String>,
    /// The origins whose pages may ask for things; `*` for any.
    #[serde(deserialize_with = "origins")]
    pub cors_origins: Vec<String>,
    /// How long a body may take to arrive.
    #[serde(deserialize_with = "units::duration")]
    pub body_timeout: Duration,
    /// How long a request's head may take to arrive.
    #[serde(deserialize_with = "units::duration")]
    pub header_timeout: Duration,
    /// How long a producer waits for the journal before it is answered with 503. The client in the
    /// field gives up after 3 s.
    #[serde(deserialize_with = "units::duration")]
    pub ingest_timeout: Duration,
    /// How long requests and deliveries that are under way may go on when the program ends.
    #[serde(deserialize_with = "units::duration")]
    pub shutdown_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![([127, 0, 0, 1], 3800).into(), ([0, 0, 0, 0, 0, 0, 0, 1], 3800).into()],
            tls: None,
            max_body: 1 << 20,
            max_batch_body: 16 << 20,
            max_batch_events: const { NonZeroUsize::new(10_000).unwrap() },
            max_connections: const { NonZeroUsize::new(4_096).unwrap() },
            max_requests_in_flight: const { NonZeroUsize::new(4_096).unwrap() },
            max_bytes_in_flight: 32 << 20,
            hosts: Vec::new(),
            cors_origins: Vec::new(),
            body_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            ingest_timeout: Duration::from_millis(2500),
            shutdown_timeout: Duration::from_secs(20),
        }
    }
}

/// An address with its port. The error says what is missing.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => format!("the address {text:?} has no port; write \"{}\"", SocketAddr::new(ip, 3800)),
        Err(_) => {
            format!("{text:?} is not an IP address with its port, such as \"127.0.0.1:3800\" or \"[::1]:3800\"")
        }
    })
}

pub(super) fn addresses<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SocketAddr>, D::Error> {
    const EXPECTING: &str =
        "an address with its port, such as \"127.0.0.1:3800\", or a list of them";
    let addresses: Vec<Address> = one_or_more::strings(deserializer, EXPECTING)?;
    Ok(addresses.into_iter().map(|Address(address)| address).collect())
}

struct Address(SocketAddr);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        address(&text).map(Self).map_err(D::Error::custom)
    }
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    one_or_more::strings(
        deserializer,
        "a host name, such as \"observer.example.com\", or a list of them",
    )
}

fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    one_or_more::strings(
        deserializer,
        "an origin, such as \"https://grafana.example.com\", or a list of them",
    )
}
