//! Section `[server]`: addresses, limits and timeouts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use observer_core::units;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::TlsConfig;
use super::parse::one_or_more;

/// Port of the default addresses.
const DEFAULT_PORT: u16 = 3800;

/// Settings of the server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Addresses of plain HTTP. By default both loopback addresses, since `localhost` may resolve
    /// to either.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// TLS settings; `None` for plain HTTP only.
    pub tls: Option<TlsConfig>,
    /// Maximum size of a stored event, in bytes.
    #[serde(deserialize_with = "units::size")]
    pub max_body: u64,
    /// Maximum size of a body, in bytes, before and after decompression.
    #[serde(deserialize_with = "units::size")]
    pub max_batch_body: u64,
    /// Maximum number of events in a batch.
    pub max_batch_events: NonZeroUsize,
    /// Maximum number of connections. A further connection replaces an idle one. Without an idle
    /// one, health probes, `GET /metrics` and small bodies are served from a reserve, and other
    /// requests receive 503.
    pub max_connections: NonZeroUsize,
    /// Maximum number of concurrent requests. A further request receives 429.
    pub max_requests_in_flight: NonZeroUsize,
    /// Maximum number of concurrent queries. A further query receives 503.
    pub max_queries_in_flight: NonZeroUsize,
    /// Maximum number of open streams. A further stream receives 503.
    pub max_streams: NonZeroUsize,
    /// Maximum total body size of concurrent requests, in bytes, and that of the responses that are
    /// being sent. While more than half is in use, a client gets no more than its share.
    #[serde(deserialize_with = "units::size")]
    pub max_bytes_in_flight: u64,
    /// Accepted host names in addition to `localhost` and IP addresses; `*` accepts any name.
    #[serde(deserialize_with = "names")]
    pub hosts: Vec<String>,
    /// Origins whose pages may send requests (CORS); `*` accepts any origin.
    #[serde(deserialize_with = "origins")]
    pub cors_origins: Vec<String>,
    /// Timeout for receiving the body of a request.
    #[serde(deserialize_with = "units::duration")]
    pub body_timeout: Duration,
    /// Rate at which the body of a request must arrive after its first 5 s, in bytes per second; 0
    /// for any.
    #[serde(deserialize_with = "units::size")]
    pub min_body_rate: u64,
    /// Time within which a client must accept some bytes of a response.
    #[serde(deserialize_with = "units::duration")]
    pub write_timeout: Duration,
    /// Timeout for receiving the head of a request.
    #[serde(deserialize_with = "units::duration")]
    pub header_timeout: Duration,
    /// Timeout for the commit of an event, after which the response is 503. Deployed clients time
    /// out after 3 s.
    #[serde(deserialize_with = "units::duration")]
    pub ingest_timeout: Duration,
    /// Time for which requests and deliveries may continue after shutdown begins: requests for half
    /// of it, deliveries until its end. Containers are usually killed 10 s after SIGTERM.
    #[serde(deserialize_with = "units::duration")]
    pub shutdown_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![
                (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into(),
                (Ipv6Addr::LOCALHOST, DEFAULT_PORT).into(),
            ],
            tls: None,
            max_body: 1 << 20,
            max_batch_body: 16 << 20,
            max_batch_events: const { NonZeroUsize::new(10_000).unwrap() },
            max_connections: const { NonZeroUsize::new(4_096).unwrap() },
            max_requests_in_flight: const { NonZeroUsize::new(4_096).unwrap() },
            max_queries_in_flight: const { NonZeroUsize::new(256).unwrap() },
            max_streams: const { NonZeroUsize::new(1_000).unwrap() },
            max_bytes_in_flight: 32 << 20,
            hosts: Vec::new(),
            cors_origins: Vec::new(),
            body_timeout: Duration::from_secs(10),
            min_body_rate: 1 << 10,
            write_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            ingest_timeout: Duration::from_millis(2500),
            shutdown_timeout: Duration::from_secs(8),
        }
    }
}

/// Parses an IP address with a port.
///
/// # Errors
/// If a part is missing or invalid; the error is the message.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => {
            let address = SocketAddr::new(ip, DEFAULT_PORT);
            format!("the address {text:?} has no port; write \"{address}\"")
        }
        Err(_) => format!(
            "{text:?} is not an IP address with a port, such as \"127.0.0.1:3800\" or \
             \"[::1]:3800\""
        ),
    })
}

pub(super) fn addresses<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SocketAddr>, D::Error> {
    const EXPECTING: &str = "an address with a port, such as \"127.0.0.1:3800\", or a list of them";
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
