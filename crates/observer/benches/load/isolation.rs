//! What one sick sink does to producers and to the other sinks.
//!
//! Beside an archive and metrics stands a sink that takes each batch within a millisecond, or hangs
//! for ever, or fails each time, or takes a hundred times as long. Rounds of the four alternate,
//! each against a fresh process; `wrk` sends unique events. What is compared is how long producers
//! wait, and how far the healthy sinks are behind when the load ends.

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

/// The argument that makes this program an observer with the sink that is measured.
pub(crate) const SERVE: &str = "serve-patient";
const CONNECTIONS: usize = 64;
const HEALTHS: [Health; 4] = [Health::Well, Health::Hung, Health::Failing, Health::Slow];

/// How the third sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Well,
    Hung,
    Failing,
    Slow,
}

impl Health {
    fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Hung => "hung",
            Self::Failing => "failing",
            Self::Slow => "slow",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatientConfig {
    health: Health,
}

impl SinkConfig for PatientConfig {
    const TYPE: &'static str = "patient";

    fn build(self, _: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        Ok(vec![SinkPart::whole(Arc::new(Patient(self.health)))])
    }
}

struct Patient(Health);

#[async_trait]
impl EventSink for Patient {
    async fn deliver(&self, _: &Batch) -> Result<Receipt, SinkError> {
        let takes = match self.0 {
            Health::Well => Duration::from_millis(1),
            Health::Slow => Duration::from_millis(100),
            Health::Failing => return Err(SinkError::transient("503 Service Unavailable")),
            Health::Hung => std::future::pending().await,
        };
        tokio::time::sleep(takes).await;
        Ok(Receipt::accepted())
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// One round with one kind of sick sink.
struct Measured {
    rate: f64,
    p50: f64,
    p99: f64,
    /// Of the healthy sink that is furthest behind, in events.
    lag: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (seconds, rounds) = (arguments.number("--seconds", 5)?, arguments.number("--rounds", 5)?);
    wrk::need()?;
    let folder = folder()?;
    let mut measured = HEALTHS.map(|_| Vec::new());
    for round in 0..rounds {
        for (health, measured) in HEALTHS.iter().zip(&mut measured) {
            let data = folder.path().join(format!("{}-{round}", health.name()));
            let server =
                Server::of_this_program(&[SERVE, health.name(), &data.display().to_string()])?;
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
        "\n{rounds} alternating rounds of {seconds} s, {CONNECTIONS} connections, fsync; medians, and beside them the ratio to a healthy third sink\n"
    );
    println!(
        "{:>10} {:>16} {:>16} {:>16} {:>22}",
        "third sink", "events/s", "p50, ms", "p99, ms", "others behind, events"
    );
    let of = |measured: &[Measured], what: fn(&Measured) -> f64| {
        median(measured.iter().map(what).collect())
    };
    for (health, these) in HEALTHS.iter().zip(&measured) {
        let column = |what: fn(&Measured) -> f64, digits: usize| {
            let (value, well) = (of(these, what), of(&measured[0], what));
            format!("{value:>9.digits$} ({:.2})", value / well)
        };
        println!(
            "{:>10} {:>16} {:>16} {:>16} {:>22}",
            health.name(),
            column(|measured| measured.rate, 0),
            column(|measured| measured.p50, 3),
            column(|measured| measured.p99, 3),
            column(|measured| measured.lag, 0),
        );
    }
    Ok(())
}

/// How far the archive or the metrics are behind, whichever is further.
fn lag(address: &str) -> anyhow::Result<f64> {
    let sinks = sinks(address)?;
    let healthy = sinks.iter().filter(|sink| sink["name"] != "patient");
    Ok(healthy.map(pending).max().unwrap_or(0) as f64)
}

pub(crate) fn serve(health: &str, data: &Path) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let text = format!(
        "data_dir = {data:?}\n[server]\nlisten = \"127.0.0.1:0\"\n\
         [sinks.archive]\ntype = \"file\"\npath = \"{}/events/{{date}}.jsonl\"\n[sinks.prometheus]\ntype = \"prometheus\"\n\
         [sinks.patient]\ntype = \"patient\"\nhealth = {health:?}\n",
        data.display()
    );
    let config = observer::Config::parse(&text)?;
    let types = |metrics: &prometheus::Registry| {
        observer::registry::with_defaults(metrics).with::<PatientConfig>()
    };
    tokio::runtime::Runtime::new()?.block_on(async {
        let service = observer::Service::start(&config, types).await?;
        eprintln!("http://{}", service.local_addrs()[0]);
        service.run(std::future::pending()).await;
        Ok(())
    })
}
