//! `observer sinks` and `observer status`: the state of a running observer.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use observer_core::Timestamp;
use observer_pipeline::ReplayState;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::not_empty;
use super::failure::Failure;
use super::output::{count, print_as, table, truncate_to_seconds};
use super::remote::{Remote, RemoteArgs, Timeout};

const EXAMPLES: &str = "\
Examples:
  observer sinks list
  observer sinks retry failures
  observer sinks adopt archive
  observer sinks forget failures

Exit codes:
  0  success
  1  the observer rejected the request
  2  invalid usage, an unreachable observer, or a token without access";

pub(super) const STATUS_EXAMPLES: &str = "\
Examples:
  observer status
  observer status --url https://observer.example.com:3843 --json

Exit codes:
  0  the observer accepts events, and no sink is parked
  1  the observer accepts no events, or a sink is parked
  2  invalid usage, an unreachable observer, or a token without access";

/// States of a replay that the list of sinks mentions.
const LISTED_REPLAYS: [ReplayState; 2] = [ReplayState::Running, ReplayState::Stopped];

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SinksArgs {
    #[command(subcommand)]
    command: SinksCommand,
}

#[derive(Debug, Subcommand)]
enum SinksCommand {
    /// List each sink with its state, its backlog and its event counts
    List(RemoteArgs),
    /// Try a sink now that waits for its back-off, for a requested delay, or for its next check
    Retry {
        /// Name of the sink
        #[arg(value_parser = not_empty)]
        sink: String,

        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Take over files in a file sink's folder that it did not write, and end the wait of deletion
    /// by age after a jump of the clock
    Adopt {
        /// Name of the sink
        #[arg(value_parser = not_empty)]
        sink: String,

        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Discard the position of a sink that is no longer configured; if added again, it starts anew
    Forget {
        /// Name of the sink
        #[arg(value_parser = not_empty)]
        sink: String,

        #[command(flatten)]
        remote: RemoteArgs,
    },
}

#[derive(Deserialize)]
struct Adoption {
    adopted: u64,
    left: u64,
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
    retry_at: Option<String>,
    pending: u64,
    undecided: u64,
    oldest_pending_seconds: Option<f64>,
    delivered: u64,
    dead: u64,
    /// Number of dead letters that are stored at the moment.
    dead_letters: u64,
    refused: u64,
    expired: u64,
    lost: u64,
    replay: Option<Replay>,
}

#[derive(Deserialize)]
struct Replay {
    state: String,
    reason: Option<String>,
    events: u64,
    pending: u64,
}

pub(super) async fn run(
    SinksArgs { command }: SinksArgs,
    config: Option<&Path>,
) -> Result<ExitCode, Failure> {
    match command {
        SinksCommand::List(remote) => {
            let as_json = remote.json;
            let remote = Remote::new(remote, config)?;
            let response = remote.get(remote.at(&["v1", "sinks"])).await?.success()?;
            print_as(
                as_json,
                &if as_json { response.text() } else { sink_table(&response.json()?) },
            )?;
        }
        SinksCommand::Retry { sink, remote } => {
            let as_json = remote.json;
            let remote = Remote::new(remote, config)?;
            let url = remote.at(&["v1", "sinks", &sink, "retry"]);
            remote.authorized(Method::POST, url, None, Timeout::Default).await?.success()?;
            print_as(
                as_json,
                &if as_json {
                    format!("{}\n", json!({ "tried": sink }))
                } else {
                    format!("trying {sink} now; see observer sinks list\n")
                },
            )?;
        }
        SinksCommand::Adopt { sink, remote } => {
            let as_json = remote.json;
            let remote = Remote::new(remote, config)?;
            let url = remote.at(&["v1", "sinks", &sink, "adopt"]);
            let response = remote.authorized(Method::POST, url, None, Timeout::Default).await?;
            let response = response.success()?;
            print_as(
                as_json,
                &if as_json {
                    response.text()
                } else {
                    let Adoption { adopted, left } = response.json()?;
                    let adopted = count(adopted, "file");
                    format!("{sink} adopted {adopted}; it leaves {left} alone\n")
                },
            )?;
        }
        SinksCommand::Forget { sink, remote } => {
            let as_json = remote.json;
            let remote = Remote::new(remote, config)?;
            let url = remote.at(&["v1", "sinks", &sink]);
            remote.authorized(Method::DELETE, url, None, Timeout::Default).await?.success()?;
            print_as(
                as_json,
                &if as_json {
                    format!("{}\n", json!({ "forgotten": sink }))
                } else {
                    format!("forgot sink {sink}\n")
                },
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints whether the observer accepts events, and the state of its sinks.
pub(super) async fn status(remote: RemoteArgs, config: Option<&Path>) -> Result<ExitCode, Failure> {
    #[derive(Deserialize)]
    struct Ready {
        status: String,
        reason: Option<String>,
    }
    let as_json = remote.json;
    let remote = Remote::new(remote, config)?;
    let ready = remote.get(remote.at(&["readyz"])).await?;
    let accepts_events = ready.status == StatusCode::OK;
    let Ready { status, reason } = ready.json()?;
    let response = remote.get(remote.at(&["v1", "sinks"])).await?.success()?;
    let sinks: Sinks = response.json()?;
    print_as(
        as_json,
        &if as_json {
            let mut status_and_sinks: Value = response.json()?;
            status_and_sinks["status"] = status.into();
            status_and_sinks["reason"] = reason.into();
            format!("{status_and_sinks}\n")
        } else {
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let mut text = format!(
                "observer  {} is {status}{reason}\nhead      {}\n",
                remote.address(),
                sinks.head
            );
            if !sinks.sinks.is_empty() {
                let _ = write!(text, "\n{}", sink_table(&sinks));
            }
            text
        },
    )?;
    let is_healthy = accepts_events && sinks.sinks.iter().all(|sink| sink.state != "parked");
    Ok(if is_healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sink_table(Sinks { sinks, .. }: &Sinks) -> String {
    if sinks.is_empty() {
        return "no sinks\n".to_owned();
    }
    let row = |sink: &Sink| {
        let oldest =
            sink.oldest_pending_seconds.and_then(|age| Duration::try_from_secs_f64(age).ok());
        let whole_seconds = oldest.map(|age| Duration::from_secs(age.as_secs()));
        [
            sink.name.clone(),
            sink.r#type.clone(),
            sink.state.clone(),
            sink.pending.to_string(),
            whole_seconds
                .map(|age| humantime::format_duration(age).to_string())
                .unwrap_or_default(),
            sink.delivered.to_string(),
            sink.dead.to_string(),
            sink.refused.to_string(),
            sink.expired.to_string(),
            sink.lost.to_string(),
        ]
    };
    let headings = [
        "sink",
        "type",
        "state",
        "pending",
        "oldest",
        "delivered",
        "dead",
        "refused",
        "expired",
        "lost",
    ];
    let mut text = table(headings, &sinks.iter().map(row).collect::<Vec<_>>());
    for sink in sinks {
        if let Some(reason) = &sink.reason {
            let _ = write!(text, "\n{} is {}: {reason}\n", sink.name, sink.state);
            if let Some(at) = &sink.retry_at {
                let is_under_way = at.parse().is_ok_and(|at: Timestamp| at <= Timestamp::now());
                let _ = if is_under_way {
                    writeln!(text, "the next attempt is under way")
                } else {
                    let (at, name) = (truncate_to_seconds(at), &sink.name);
                    writeln!(text, "next attempt at {at}; now: observer sinks retry {name}")
                };
            }
        }
        if sink.undecided > 0 {
            let _ = write!(
                text,
                "\n{} refused {}, which it may accept yet\nto make the first one a dead letter: \
                 observer dead-letters divert {}\n",
                sink.name,
                count(sink.undecided, "event"),
                sink.name
            );
        }
        if let Some(Replay { state, reason, events, pending }) = &sink.replay
            && LISTED_REPLAYS.iter().any(|listed| listed.as_str() == state)
        {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let done = events.saturating_sub(*pending);
            let _ = write!(
                text,
                "\nreplay to {} is {state}, {done} of {events} events done{reason}\n",
                sink.name
            );
        }
    }
    let dead: u64 = sinks.iter().map(|sink| sink.dead_letters).sum();
    if dead > 0 {
        let _ = write!(
            text,
            "\n{}; to list those of a sink: observer dead-letters list SINK\n",
            count(dead, "dead letter")
        );
    }
    text
}
