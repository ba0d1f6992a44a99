//! `observer health`: a health check for containers and supervisors.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use super::connect::error::{detail, root_cause};
use super::connect::tls::{TlsArgs, explain};
use super::connect::{ConnectArgs, endpoint};
use super::failure::Failure;
use super::output::print;
use super::remote::{beside, from_this_machine};
use crate::Config;
use crate::config::Addresses;

pub(super) const HEALTH_EXAMPLES: &str = "\
Examples:
  observer health
  observer --config /etc/observer/observer.toml health --ready
  observer health --url https://observer.example.com:3843 --cacert ca.pem

Without --url it asks the first address of server.listen, else that of server.tls.listen, and of an
address that stands for all, the loopback. No token is sent. The certificate of a configured address
is not verified, since it may name the machine as others see it; that of --url is.

Exit codes:
  0  the observer responds or, with --ready, accepts events
  1  it does not
  2  invalid usage";

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// URL of the observer, in place of the address in the configuration
    #[arg(long, value_parser = endpoint)]
    url: Option<Url>,

    /// Check that events are accepted (`/readyz`), not only that the process responds (`/livez`)
    #[arg(long)]
    ready: bool,

    /// Time after which the observer counts as unhealthy
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "3s",
        value_parser = humantime::parse_duration
    )]
    timeout: Duration,

    #[command(flatten)]
    tls: TlsArgs,
}

/// Answer of `/readyz`, as far as it is needed.
#[derive(Deserialize)]
struct Readiness {
    reason: Option<String>,
}

/// Asks a probe of the observer and prints a line.
pub(super) async fn run(arguments: HealthArgs, config: Option<&Path>) -> Result<ExitCode, Failure> {
    let HealthArgs { url, ready, timeout, tls } = arguments;
    let is_given = url.is_some();
    let base = match url {
        Some(url) => url,
        None => {
            configured(&Config::load_addresses(config).map_err(unhealthy)?).map_err(unhealthy)?
        }
    };
    let probe = beside(&base, &[if ready { "readyz" } else { "livez" }]);
    let client = client(tls, &base, is_given).map_err(unhealthy)?;
    let started = Instant::now();
    ask(&client, &probe, timeout).await.map_err(unhealthy)?;
    let state = if ready { "ready" } else { "alive" };
    print(&format!("{state}: {probe} responded in {} ms\n", started.elapsed().as_millis()))?;
    Ok(ExitCode::SUCCESS)
}

/// Container runtimes reserve exit codes above 1.
fn unhealthy(error: impl Into<anyhow::Error>) -> Failure {
    Failure { status: 1, error: error.into().context("unhealthy") }
}

/// Returns the URL of the first address that can be asked.
fn configured(Addresses { plain, tls, .. }: &Addresses) -> anyhow::Result<Url> {
    let first = |scheme, addresses: &[SocketAddr]| {
        addresses.first().map(|address| (scheme, from_this_machine(*address)))
    };
    let (scheme, address) = first("http", plain)
        .or_else(|| first("https", tls))
        .context("the configuration has no address; name one with --url")?;
    ensure!(
        address.port() != 0,
        "the port of {address} in the configuration is chosen at the start; name it with --url"
    );
    endpoint(&format!("{scheme}://{address}")).map_err(|error| anyhow!(error))
}

fn client(tls: TlsArgs, url: &Url, is_given: bool) -> anyhow::Result<Client> {
    let connect = ConnectArgs { token: None, token_file: None, tls };
    let mut builder = connect.client(url)?;
    if !is_given {
        builder = builder.no_proxy();
        if url.scheme() == "https" {
            // The answer is one of this machine, and the request has no secret.
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
    }
    Ok(builder.build()?)
}

async fn ask(client: &Client, probe: &Url, timeout: Duration) -> anyhow::Result<()> {
    let request = async {
        let response = client.get(probe.clone()).send().await?;
        Ok::<_, reqwest::Error>((response.status(), response.bytes().await?))
    };
    let response = tokio::time::timeout(timeout, request).await.map_err(|_| {
        anyhow!("{probe} did not respond within {}", humantime::format_duration(timeout))
    })?;
    let (status, body) = response.map_err(|error| {
        anyhow!("{probe} is unreachable: {}", explain(&error).unwrap_or_else(|| root_cause(&error)))
    })?;
    if status.is_success() {
        return Ok(());
    }
    bail!("{probe} responded {}: {}", status.as_u16(), reason(status, &body))
}

/// Returns the reason of an answer of `/readyz`, else the detail of the error body.
fn reason(status: StatusCode, body: &[u8]) -> String {
    let readiness = serde_json::from_slice(body).ok();
    readiness.and_then(|Readiness { reason }| reason).unwrap_or_else(|| detail(status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_plain_address_is_asked_else_that_of_tls() {
        for (plain, tls, expected) in [
            (&["127.0.0.1:1", "[::1]:2"][..], &[][..], "http://127.0.0.1:1/event"),
            (&["0.0.0.0:1"], &["0.0.0.0:2"], "http://127.0.0.1:1/event"),
            (&["[::]:1"], &[], "http://[::1]:1/event"),
            (&["10.0.0.7:1"], &[], "http://10.0.0.7:1/event"),
            (&[], &["[::]:2"], "https://[::1]:2/event"),
        ] {
            let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
            let addresses = Addresses { admin_socket: None, plain: parse(plain), tls: parse(tls) };
            assert_eq!(configured(&addresses).unwrap().as_str(), expected, "{addresses:?}");
        }
    }

    #[test]
    fn address_without_a_fixed_port_needs_a_url() {
        let addresses = Addresses {
            admin_socket: None,
            plain: vec!["127.0.0.1:0".parse().unwrap()],
            tls: Vec::new(),
        };
        assert_eq!(
            configured(&addresses).unwrap_err().to_string(),
            "the port of 127.0.0.1:0 in the configuration is chosen at the start; name it with \
             --url"
        );
    }

    #[test]
    fn reason_is_that_of_the_probe_or_of_the_error() {
        let reason = |body: &str| reason(StatusCode::SERVICE_UNAVAILABLE, body.as_bytes());
        assert_eq!(
            reason(r#"{"status":"not ready","reason":"the journal is full"}"#),
            "the journal is full"
        );
        assert_eq!(
            reason(r#"{"title":"t","detail":"too many connections"}"#),
            "too many connections"
        );
        assert_eq!(reason("gateway\n down"), "gateway down");
    }
}
