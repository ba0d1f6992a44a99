//! `observer dead-letters`: what a sink of a running observer refused for good.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::journal::shown::{count, table};
use super::remote::{Patience, Remote, RemoteArgs};
use super::{Failed, print};

const EXAMPLES: &str = "\
Examples:
  observer dead-letters list failures
  observer dead-letters show failures 0f8e4c1a-7f1e-5f0c-9a52-3f6f2b1f7a10
  observer dead-letters replay failures --all
  observer dead-letters purge failures --older-than 30d

A dead letter is an event that a sink refused for good, with the reason, and is known by the id of
its event. A replay goes straight to that sink and to no other; the letter is removed once the sink
has the event.

Exit codes:
  0  all went well
  1  the observer said no, or some letters were refused again or are not there
  2  wrong usage, or no observer to ask, or a token that it doesn't let in";

const SHOW_EXAMPLES: &str = "\
Examples:
  observer dead-letters show failures 0f8e4c1a-7f1e-5f0c-9a52-3f6f2b1f7a10
  observer dead-letters show failures 0f8e4c1a-7f1e-5f0c-9a52-3f6f2b1f7a10 --event > event.json";

const REPLAY_EXAMPLES: &str = "\
Examples:
  observer dead-letters replay failures --all
  observer dead-letters replay failures 0f8e4c1a-7f1e-5f0c-9a52-3f6f2b1f7a10 --event event.json

They go in the order of the events, between what else the sink gets. Those that it refuses again
stay. When the observer ends before a letter is removed, the sink may get its event twice, under
one id. A sink that keeps its position with its data (file, prometheus) takes none.

Exit codes:
  0  the sink has them all
  1  some stay, or the sink takes none
  2  wrong usage, or no observer to ask, or a token that it doesn't let in";

/// What of a reason fits on a screen, in characters.
const MAX_REASON: usize = 80;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DeadLettersArgs {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Debug, Subcommand)]
enum DeadLettersCommand {
    /// What there is, those of the newest events first
    List(ListArgs),
    /// One of them, with its event
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Send them to their sink again
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Remove them for good
    Purge(PurgeArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// The sink
    sink: String,

    /// How many at most
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,

    /// Where to go on, as the page before says
    #[arg(long)]
    cursor: Option<String>,

    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The sink
    sink: String,

    /// The id of the event
    id: String,

    /// Print the event alone, to edit it
    #[arg(long, conflicts_with = "json")]
    event: bool,

    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The sink
    sink: String,

    /// The ids of the events
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,

    /// All of them
    #[arg(long)]
    all: bool,

    /// A file with what goes in place of the event of a single id; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    event: Option<PathBuf>,

    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, Args)]
struct PurgeArgs {
    /// The sink
    sink: String,

    /// The ids of the events
    #[arg(
        value_name = "ID",
        required_unless_present_any = ["all", "older_than"],
        conflicts_with_all = ["all", "older_than"]
    )]
    ids: Vec<String>,

    /// All of them
    #[arg(long, conflicts_with = "older_than")]
    all: bool,

    /// Those that were put aside longer ago, such as `30d`
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,

    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Deserialize)]
struct Page {
    total: u64,
    dead_letters: Vec<Listed>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    source: String,
    event_kind: String,
    dead_at: String,
    attempts: u64,
    reason: String,
}

#[derive(Deserialize)]
struct Whole {
    id: String,
    dead_at: String,
    attempts: u64,
    reason: String,
    envelope: Enveloped,
}

#[derive(Deserialize)]
struct Enveloped {
    seq: u64,
    received_at: String,
    event: Box<RawValue>,
}

#[derive(Deserialize)]
struct Outcome {
    replayed: u64,
    refused: Vec<Refused>,
    missing: Vec<String>,
    stopped: Option<String>,
}

#[derive(Deserialize)]
struct Refused {
    id: String,
    reason: String,
}

#[derive(Deserialize)]
struct Purged {
    purged: u64,
}

pub(super) async fn run(DeadLettersArgs { command }: DeadLettersArgs) -> Result<ExitCode, Failed> {
    match command {
        DeadLettersCommand::List(arguments) => list(arguments).await,
        DeadLettersCommand::Show(arguments) => show(arguments).await,
        DeadLettersCommand::Replay(arguments) => replay(arguments).await,
        DeadLettersCommand::Purge(arguments) => purge(arguments).await,
    }
}

async fn list(ListArgs { sink, limit, cursor, remote }: ListArgs) -> Result<ExitCode, Failed> {
    let as_json = remote.json;
    let remote = Remote::new(remote)?;
    let mut url = letters(&remote, &sink, &[]);
    url.query_pairs_mut().append_pair("limit", &limit.to_string());
    if let Some(cursor) = cursor {
        url.query_pairs_mut().append_pair("cursor", &cursor);
    }
    let answer = remote.get(url).await?.good()?;
    print(&if as_json { answer.text() } else { listed(&sink, answer.read()?) })?;
    Ok(ExitCode::SUCCESS)
}

fn listed(sink: &str, Page { total, dead_letters, next }: Page) -> String {
    if total == 0 {
        return format!("{sink} has no dead letters\n");
    }
    let row = |letter: &Listed| {
        let Listed { id, source, event_kind, dead_at, attempts, reason } = letter;
        let reason = reason
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(MAX_REASON)
            .collect();
        [
            id.clone(),
            seconds(dead_at),
            attempts.to_string(),
            source.clone(),
            event_kind.clone(),
            reason,
        ]
    };
    let rows: Vec<_> = dead_letters.iter().map(row).collect();
    let mut text = table(["id", "dead since", "attempts", "source", "event_kind", "reason"], &rows);
    text.push_str(&format!("\n{} of {}\n", rows.len(), count(total, "dead letter")));
    if let Some(next) = next {
        text.push_str(&format!("more: observer dead-letters list {sink} --cursor {next}\n"));
    }
    text
}

/// A time without its fractions.
fn seconds(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

async fn show(ShowArgs { sink, id, event, remote }: ShowArgs) -> Result<ExitCode, Failed> {
    let as_json = remote.json;
    let remote = Remote::new(remote)?;
    let answer = remote.get(letters(&remote, &sink, &[&id])).await?.good()?;
    if as_json {
        print(&answer.text())?;
        return Ok(ExitCode::SUCCESS);
    }
    let Whole {
        id,
        dead_at,
        attempts,
        reason,
        envelope: Enveloped { seq, received_at, event: raw },
    } = answer.read()?;
    print(&if event {
        format!("{raw}\n")
    } else {
        format!(
            "id        {id}\nreceived  {received_at}, as number {seq}\n\
             dead      {dead_at}, after {}\nreason    {reason}\n\n{raw}\n",
            count(attempts, "attempt")
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn replay(
    ReplayArgs { sink, ids, all, event, remote }: ReplayArgs,
) -> Result<ExitCode, Failed> {
    let as_json = remote.json;
    let remote = Remote::new(remote)?;
    let event = event.as_deref().map(read_event).transpose().map_err(Failed::usage)?;
    let body = if all { json!({ "all": true }) } else { json!({ "ids": ids }) };
    let body = match event {
        // Its bytes stay as they are.
        Some(event) => format!("{{\"ids\":{},\"event\":{event}}}", Value::from(ids)),
        None => body.to_string(),
    };
    let answer = remote.ask(
        Method::POST,
        letters(&remote, &sink, &["replay"]),
        Some(body),
        Patience::Unbounded,
    );
    let answer = answer.await?.good()?;
    let outcome: Outcome = answer.read()?;
    let all_taken =
        outcome.refused.is_empty() && outcome.missing.is_empty() && outcome.stopped.is_none();
    print(&if as_json { answer.text() } else { told(&sink, &outcome) })?;
    Ok(if all_taken { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(sink: &str, Outcome { replayed, refused, missing, stopped }: &Outcome) -> String {
    let mut text = format!("{sink} has taken {}\n", count(*replayed, "dead letter"));
    for Refused { id, reason } in refused {
        text.push_str(&format!("refused again: {id}: {reason}\n"));
    }
    for id in missing {
        text.push_str(&format!("not there: {id}\n"));
    }
    if let Some(reason) = stopped {
        text.push_str(&format!("the others were not tried: {reason}\n"));
    }
    text
}

async fn purge(
    PurgeArgs { sink, ids, all, older_than, remote }: PurgeArgs,
) -> Result<ExitCode, Failed> {
    let as_json = remote.json;
    let remote = Remote::new(remote)?;
    let mut urls: Vec<_> = ids.iter().map(|id| letters(&remote, &sink, &[id])).collect();
    if let Some(age) = older_than {
        let before = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut url = letters(&remote, &sink, &[]);
        url.query_pairs_mut()
            .append_pair("before", &humantime::format_rfc3339_seconds(before).to_string());
        urls.push(url);
    } else if all {
        let mut url = letters(&remote, &sink, &[]);
        url.query_pairs_mut().append_pair("all", "true");
        urls.push(url);
    }
    let mut total = 0;
    for url in urls {
        let answer = remote.ask(Method::DELETE, url, None, Patience::Question).await?.good()?;
        total += answer.read::<Purged>()?.purged;
    }
    print(&if as_json {
        format!("{}\n", json!({ "purged": total }))
    } else {
        format!("{} of {sink} purged\n", count(total, "dead letter"))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn letters(remote: &Remote, sink: &str, rest: &[&str]) -> reqwest::Url {
    remote.at(&[&["v1", "sinks", sink, "dead-letters"][..], rest].concat())
}

/// An event in a file, which has to be JSON to become part of the request.
fn read_event(path: &Path) -> anyhow::Result<Box<RawValue>> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().read_to_string(&mut text).context("standard input can't be read")?;
    } else {
        text = fs::read_to_string(path)
            .with_context(|| format!("{} can't be read", path.display()))?;
    }
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}
