//! Effect of a faulty sink on producers and on the other sinks.
//!
//! Besides an archive and metrics there is a third sink, which accepts each batch within a
//! millisecond, hangs forever, fails each time, or takes a hundred times as long. Rounds of the
//! four alternate, each with a new process; `wrk` sends unique events. The benchmark compares the
//! latency of requests, and the backlog of the other sinks when the load ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use observer_core::{
    Batch, BuildError, EventSink, Receipt, SinkConfig, SinkContext, SinkError, SinkPart,
};
use serde::Deserialize;

use crate::client::{pending, sinks};
use crate::server::Server;
use crate::wrk::{self, wrk};
use crate::{Arguments, folder, median};

/// Argument with which this program runs an observer with the third sink.
pub(crate) const SERVE: &str = "serve-isolation";
const CONNECTIONS: usize = 64;

/// State of the third sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Healthy,
    Hung,
    Failing,
    Slow,
}

impl Health {
    const ALL: [Self; 4] = [Self::Healthy, Self::Hung, Self::Failing, Self::Slow];

    fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Hung => "hung",
            Self::Failing => "failing",
            Self::Slow => "slow",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThirdSinkConfig {
    health: Health,
}

impl SinkConfig for ThirdSinkConfig {
    const TYPE: &'static str = "third";

    fn build(self, _: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        Ok(vec![SinkPart::whole(Arc::new(ThirdSink(self.health)))])
    }
}

struct ThirdSink(Health);

#[async_trait]
impl EventSink for ThirdSink {
    async fn deliver(&self, _: &Batch) -> Result<Receipt, SinkError> {
        let delay = match self.0 {
            Health::Healthy => Duration::from_millis(1),
            Health::Slow => Duration::from_millis(100),
            Health::Failing => return Err(SinkError::transient("503 Service Unavailable")),
            Health::Hung => std::future::pending().await,
        };
        tokio::time::sleep(delay).await;
        Ok(Receipt::accepted())
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Result of one round.
struct Measured {
    /// Requests per second.
    rate: f64,
    /// In milliseconds.
    p50: f64,
    /// In milliseconds.
    p99: f64,
    /// Backlog in events of the other sink that is furthest behind.
    lag: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (seconds, rounds) = (arguments.number("--seconds", 5)?, arguments.number("--rounds", 5)?);
    wrk::check_installed()?;
    let folder = folder()?;
    let mut measured = Health::ALL.map(|_| Vec::new());
    for round in 0..rounds {
        for (health, measured) in Health::ALL.iter().zip(&mut measured) {
            let data = folder.path().join(format!("{}-{round}", health.as_str()));
            let server =
                Server::of_this_program(&[SERVE, health.as_str(), &data.display().to_string()])?;
            let run = wrk(&server, CONNECTIONS, seconds, &round.to_string())?;
            let lag = lag(&server.address)?;
            drop(server);
            std::fs::remove_dir_all(&data)?;
            measured.push(Measured {
                rate: run.requests_per_second,
                p50: run.p50,
                p99: run.p99,
                lag,
            });
        }
    }
    println!(
        "\n{rounds} alternating rounds of {seconds} s, {CONNECTIONS} connections, fsync; \
         medians, with the ratio to a healthy third sink in parentheses\n"
    );
    println!(
        "{:>10} {:>16} {:>16} {:>16} {:>22}",
        "third sink", "events/s", "p50, ms", "p99, ms", "others' lag, events"
    );
    let of = |measured: &[Measured], field: fn(&Measured) -> f64| {
        median(measured.iter().map(field).collect())
    };
    for (health, these) in Health::ALL.iter().zip(&measured) {
        let column = |field: fn(&Measured) -> f64, digits: usize| {
            let (value, healthy) = (of(these, field), of(&measured[0], field));
            format!("{value:>9.digits$} ({:.2})", value / healthy)
        };
        println!(
            "{:>10} {:>16} {:>16} {:>16} {:>22}",
            health.as_str(),
            column(|measured| measured.rate, 0),
            column(|measured| measured.p50, 3),
            column(|measured| measured.p99, 3),
            column(|measured| measured.lag, 0),
        );
    }
    Ok(())
}

/// Returns the backlog of the archive or of the metrics, whichever is larger.
fn lag(address: &str) -> anyhow::Result<f64> {
    let sinks = sinks(address)?;
    let healthy = sinks.iter().filter(|sink| sink["name"] != "third");
    Ok(healthy.map(pending).max().unwrap_or(0) as f64)
}

/// Runs an observer with the third sink in this state.
pub(crate) fn serve(health: &str, data: &Path) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let text = format!(
        r#"data_dir = {data:?}
[server]
listen = "127.0.0.1:0"
[sinks.archive]
type = "file"
path = "{}/events/{{date}}.jsonl"
[sinks.prometheus]
type = "prometheus"
[sinks.third]
type = "third"
health = {health:?}
"#,
        data.display()
    );
    let config = observer::Config::parse(&text)?;
    let types = |metrics: &prometheus::Registry| {
        observer::registry::with_defaults(metrics).with::<ThirdSinkConfig>()
    };
    tokio::runtime::Runtime::new()?.block_on(async {
        let service = observer::Service::start(&config, types).await?;
        eprintln!("http://{}", service.local_addrs()[0]);
        service.run(std::future::pending()).await;
        Ok(())
    })
}
