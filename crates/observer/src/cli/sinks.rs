//! `observer sinks` and `observer status`: how a running observer is doing.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::journal::shown::{count, table};
use super::remote::{Patience, Remote, RemoteArgs};
use super::{Failed, print};

const EXAMPLES: &str = "\
Examples:
  observer sinks list
  observer sinks forget failures

Exit codes:
  0  all went well
  1  the observer said no
  2  wrong usage, or no observer to ask, or a token that it doesn't let in";

pub(super) const STATUS_EXAMPLES: &str = "\
Examples:
  observer status
  observer status --url https://observer.example.com:3843 --json

Exit codes:
  0  it takes events, and no sink is parked
  1  it takes no events, or a sink is parked
  2  wrong usage, or no observer to ask, or a token that it doesn't let in";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SinksArgs {
    #[command(subcommand)]
    command: SinksCommand,
}

#[derive(Debug, Subcommand)]
enum SinksCommand {
    /// Each sink: its state, its backlog, and what became of its events
    List(RemoteArgs),
    /// Forget where a sink stands that is configured no more; should it come again, it begins anew
    Forget {
        /// The sink
        sink: String,

        #[command(flatten)]
        remote: RemoteArgs,
    },
}

#[derive(Deserialize)]
struct Sinks {
    head: String,
    sinks: Vec<Sink>,
}

#[derive(Deserialize)]
struct Sink {
    name: String,
    r#type: String,
    state: String,
    reason: Option<String>,
    pending: u64,
    oldest_pending_seconds: Option<f64>,
    delivered: u64,
    dead: u64,
    refused: u64,
    expired: u64,
    replay: Option<Replay>,
}

#[derive(Deserialize)]
struct Replay {
    state: String,
    reason: Option<String>,
    events: u64,
    pending: u64,
}

pub(super) async fn run(SinksArgs { command }: SinksArgs) -> Result<ExitCode, Failed> {
    match command {
        SinksCommand::List(remote) => {
            let as_json = remote.json;
            let remote = Remote::new(remote)?;
            let answer = remote.get(remote.at(&["v1", "sinks"])).await?.good()?;
            print(&if as_json { answer.text() } else { listed(&answer.read()?) })?;
        }
        SinksCommand::Forget { sink, remote } => {
            let as_json = remote.json;
            let remote = Remote::new(remote)?;
            let url = remote.at(&["v1", "sinks", &sink]);
            remote.ask(Method::DELETE, url, None, Patience::Question).await?.good()?;
            print(&if as_json {
                format!("{}\n", json!({ "forgotten": sink }))
            } else {
                format!("{sink} is forgotten\n")
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether it takes events, and how its sinks are.
pub(super) async fn status(remote: RemoteArgs) -> Result<ExitCode, Failed> {
    #[derive(Deserialize)]
    struct Ready {
        status: String,
        reason: Option<String>,
    }
    let as_json = remote.json;
    let remote = Remote::new(remote)?;
    let ready = remote.get(remote.at(&["readyz"])).await?;
    let takes_events = ready.status == StatusCode::OK;
    let Ready { status, reason } = ready.read()?;
    let answer = remote.get(remote.at(&["v1", "sinks"])).await?.good()?;
    let sinks: Sinks = answer.read()?;
    print(&if as_json {
        let mut all: Value = answer.read()?;
        all["status"] = status.into();
        all["reason"] = reason.into();
        format!("{all}\n")
    } else {
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let mut text = format!(
            "observer  {} is {status}{reason}\nhead      {}\n",
            remote.address(),
            sinks.head
        );
        if !sinks.sinks.is_empty() {
            let _ = write!(text, "\n{}", listed(&sinks));
        }
        text
    })?;
    let is_fine = takes_events && sinks.sinks.iter().all(|sink| sink.state != "parked");
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn listed(Sinks { sinks, .. }: &Sinks) -> String {
    if sinks.is_empty() {
        return "there are no sinks\n".to_owned();
    }
    let row = |sink: &Sink| {
        let waiting =
            sink.oldest_pending_seconds.and_then(|age| Duration::try_from_secs_f64(age).ok());
        let oldest = waiting
            .map(|age| humantime::format_duration(Duration::from_secs(age.as_secs())).to_string());
        [
            sink.name.clone(),
            sink.r#type.clone(),
            sink.state.clone(),
            sink.pending.to_string(),
            oldest.unwrap_or_default(),
            sink.delivered.to_string(),
            sink.dead.to_string(),
            sink.refused.to_string(),
            sink.expired.to_string(),
        ]
    };
    let headings =
        ["sink", "type", "state", "pending", "oldest", "delivered", "dead", "refused", "expired"];
    let mut text = table(headings, &sinks.iter().map(row).collect::<Vec<_>>());
    for sink in sinks {
        if let Some(reason) = &sink.reason {
            let _ = write!(text, "\n{} is {}: {reason}\n", sink.name, sink.state);
        }
        if let Some(Replay { state, reason, events, pending }) = &sink.replay
            && matches!(state.as_str(), "running" | "stopped")
        {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let past = events.saturating_sub(*pending);
            let _ = write!(
                text,
                "\na replay to {} is {state}, past {past} of {events} events{reason}\n",
                sink.name
            );
        }
    }
    let dead: u64 = sinks.iter().map(|sink| sink.dead).sum();
    if dead > 0 {
        let were = if dead == 1 { "was" } else { "were" };
        let _ = write!(
            text,
            "\n{} {were} put aside: observer dead-letters list SINK\n",
            count(dead, "dead letter")
        );
    }
    text
}
