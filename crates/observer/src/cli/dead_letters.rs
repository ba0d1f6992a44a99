//! `observer dead-letters`: the dead letters of a sink of a running observer.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::{Args, Subcommand};
use observer_figures::clean;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::args::not_empty;
use super::failure::Failure;
use super::output::{count, print, print_as, print_json, table, truncate_to_seconds};
use super::remote::{Remote, RemoteArgs, Timeout};

const EXAMPLES: &str = "\
Examples:
  observer dead-letters list failures
  observer dead-letters show failures 0f8e4c1a-7f1e-5f0c-9a52-3f6f2b1f7a10
  observer dead-letters replay failures --all
  observer dead-letters divert failures
  observer dead-letters purge failures --older-than 30d

A dead letter is an event that a sink rejected permanently, together with the reason. Its id is that
of the event. A replay delivers the event to that sink only, and removes the dead letter once the
sink has accepted the event.

Exit codes:
  0  success
  1  the observer rejected the request, or a dead letter was rejected again or does not exist
  2  invalid usage, an unreachable observer, or a token without access";

const SHOW_EXAMPLES: &str = "\
Examples:
  observer dead-letters show failures 0f8e4c1a-7f1e-5f0c-9a52-3f6f2b1f7a10
  observer dead-letters show failures 0f8e4c1a-7f1e-5f0c-9a52-3f6f2b1f7a10 --event > event.json";

const REPLAY_EXAMPLES: &str = "\
Examples:
  observer dead-letters replay failures --all
  observer dead-letters replay failures 0f8e4c1a-7f1e-5f0c-9a52-3f6f2b1f7a10 --event event.json

Dead letters are sent in the order of their events, interleaved with new events. Those that the sink
rejects again stay. If the observer stops before it removes a dead letter, the sink may receive the
event twice, with the same id. A sink that stores its position with its data (file, prometheus)
accepts no replay.

Exit codes:
  0  the sink accepted every dead letter
  1  some dead letters remain, or the sink accepts no replay
  2  invalid usage, an unreachable observer, or a token without access";

const DIVERT_EXAMPLES: &str = "\
Examples:
  observer dead-letters divert failures
  observer dead-letters divert failures --event 0f8e4c1a-7f1e-5f0c-9a52-3f6f2b1f7a10
  observer dead-letters divert failures --head 20

Without an option, the event moves that holds the sink: the oldest one that the destination refuses,
or the next one to be delivered. Its dead letter can be replayed later.

Exit codes:
  0  the events are dead letters
  1  the sink has no such unresolved event, or the dead letters can't be written
  2  invalid usage, an unreachable observer, or a token without access";

/// Limit of the reason in a table row, in characters.
const MAX_REASON: usize = 80;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DeadLettersArgs {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Debug, Subcommand)]
enum DeadLettersCommand {
    /// List the dead letters, those of the newest events first
    List(ListArgs),
    /// Show one dead letter with its event
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Send dead letters to their sink again
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Move events that hold a sink to its dead letters
    #[command(after_help = DIVERT_EXAMPLES)]
    Divert(DivertArgs),
    /// Delete dead letters permanently
    Purge(PurgeArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Name of the sink
    #[arg(value_parser = not_empty)]
    sink: String,

    /// Maximum number of dead letters to list
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 50,
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    limit: u16,

    /// Cursor of the next page, as printed by the previous one
    #[arg(long)]
    cursor: Option<String>,

    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Name of the sink
    #[arg(value_parser = not_empty)]
    sink: String,

    /// Id of the event
    #[arg(value_parser = not_empty)]
    id: String,

    /// Print only the event, for editing
    #[arg(long, conflicts_with = "json")]
    event: bool,

    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// Name of the sink
    #[arg(value_parser = not_empty)]
    sink: String,

    /// Ids of the events
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,

    /// All dead letters of the sink
    #[arg(long)]
    all: bool,

    /// File with the event to send instead of the stored one, for a single id; `-` for standard
    /// input
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    event: Option<PathBuf>,

    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, Args)]
struct DivertArgs {
    /// Name of the sink
    #[arg(value_parser = not_empty)]
    sink: String,

    /// Id of an event that the destination refused, or that is delivered next
    #[arg(long, value_name = "ID", conflicts_with = "head")]
    event: Option<String>,

    /// Number of events, from the first unresolved one on
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(1..=10_000)
    )]
    head: Option<u16>,

    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, Args)]
struct PurgeArgs {
    /// Name of the sink
    #[arg(value_parser = not_empty)]
    sink: String,

    /// Ids of the events
    #[arg(
        value_name = "ID",
        required_unless_present_any = ["all", "older_than"],
        conflicts_with_all = ["all", "older_than"]
    )]
    ids: Vec<String>,

    /// All dead letters of the sink
    #[arg(long, conflicts_with = "older_than")]
    all: bool,

    /// Dead letters stored longer ago than this, such as `30d`
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,

    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Deserialize)]
struct Page {
    total: u64,
    dead_letters: Vec<Summary>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Summary {
    id: String,
    source: String,
    event_kind: String,
    dead_at: String,
    attempts: u64,
    reason: String,
}

#[derive(Deserialize)]
struct DeadLetter {
    id: String,
    dead_at: String,
    attempts: u64,
    reason: String,
    envelope: Envelope,
}

#[derive(Deserialize)]
struct Envelope {
    seq: u64,
    received_at: String,
    event: Box<RawValue>,
}

#[derive(Deserialize)]
struct Replayed {
    replayed: u64,
    refused: Vec<Rejection>,
    missing: Vec<String>,
    stopped: Option<String>,
}

#[derive(Deserialize)]
struct Rejection {
    id: String,
    reason: String,
}

#[derive(Deserialize)]
struct Diverted {
    diverted: Vec<String>,
}

#[derive(Deserialize)]
struct Purged {
    purged: u64,
}

pub(super) async fn run(
    DeadLettersArgs { command }: DeadLettersArgs,
    config: Option<&Path>,
) -> Result<ExitCode, Failure> {
    match command {
        DeadLettersCommand::List(arguments) => list(arguments, config).await,
        DeadLettersCommand::Show(arguments) => show(arguments, config).await,
        DeadLettersCommand::Replay(arguments) => replay(arguments, config).await,
        DeadLettersCommand::Divert(arguments) => divert(arguments, config).await,
        DeadLettersCommand::Purge(arguments) => purge(arguments, config).await,
    }
}

async fn list(
    ListArgs { sink, limit, cursor, remote }: ListArgs,
    config: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let as_json = remote.json;
    let remote = Remote::new(remote, config)?;
    let mut url = dead_letters_url(&remote, &sink, &[]);
    url.query_pairs_mut().append_pair("limit", &limit.to_string());
    if let Some(cursor) = cursor {
        url.query_pairs_mut().append_pair("cursor", &cursor);
    }
    let response = remote.get(url).await?.success()?;
    print_as(
        as_json,
        &if as_json { response.text() } else { render_page(&sink, response.json()?) },
    )?;
    Ok(ExitCode::SUCCESS)
}

fn render_page(sink: &str, Page { total, dead_letters, next }: Page) -> String {
    if total == 0 {
        return format!("{sink} has no dead letters\n");
    }
    let row = |summary: &Summary| {
        let Summary { id, source, event_kind, dead_at, attempts, reason } = summary;
        let reason = reason
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(MAX_REASON)
            .collect();
        [
            id.clone(),
            truncate_to_seconds(dead_at),
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
        text.push_str(&format!("next page: observer dead-letters list {sink} --cursor {next}\n"));
    }
    text
}

async fn show(
    ShowArgs { sink, id, event, remote }: ShowArgs,
    config: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let as_json = remote.json;
    let remote = Remote::new(remote, config)?;
    let response = remote.get(dead_letters_url(&remote, &sink, &[&id])).await?.success()?;
    if as_json {
        print_json(&response.text())?;
        return Ok(ExitCode::SUCCESS);
    }
    let DeadLetter {
        id,
        dead_at,
        attempts,
        reason,
        envelope: Envelope { seq, received_at, event: raw },
    } = response.json()?;
    if event {
        print_json(&format!("{raw}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (reason, raw) = (clean::line(&reason, usize::MAX), clean::json(raw.get()));
    print(&format!(
        "id        {id}\nreceived  {received_at}, sequence number {seq}\n\
             dead      {dead_at}, after {}\nreason    {reason}\n\n{raw}\n",
        count(attempts, "attempt")
    ))?;
    Ok(ExitCode::SUCCESS)
}

async fn replay(
    ReplayArgs { sink, ids, all, event, remote }: ReplayArgs,
    config: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let as_json = remote.json;
    let remote = Remote::new(remote, config)?;
    let event = event.as_deref().map(read_event).transpose().map_err(Failure::usage)?;
    let body = if all { json!({ "all": true }) } else { json!({ "ids": ids }) };
    let body = match event {
        // The bytes of the event are sent unchanged.
        Some(event) => format!("{{\"ids\":{},\"event\":{event}}}", Value::from(ids)),
        None => body.to_string(),
    };
    let url = dead_letters_url(&remote, &sink, &["replay"]);
    let response =
        remote.authorized(Method::POST, url, Some(body), Timeout::None).await?.success()?;
    let result: Replayed = response.json()?;
    let all_accepted =
        result.refused.is_empty() && result.missing.is_empty() && result.stopped.is_none();
    print_as(as_json, &if as_json { response.text() } else { render_result(&sink, &result) })?;
    Ok(if all_accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn render_result(
    sink: &str,
    Replayed { replayed, refused, missing, stopped }: &Replayed,
) -> String {
    let mut text = format!("{sink} accepted {}\n", count(*replayed, "dead letter"));
    for Rejection { id, reason } in refused {
        text.push_str(&format!("rejected again: {id}: {reason}\n"));
    }
    for id in missing {
        text.push_str(&format!("not found: {id}\n"));
    }
    if let Some(reason) = stopped {
        text.push_str(&format!("the remaining dead letters were not sent: {reason}\n"));
    }
    text
}

async fn divert(
    DivertArgs { sink, event, head, remote }: DivertArgs,
    config: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let as_json = remote.json;
    let remote = Remote::new(remote, config)?;
    let body = match (event, head) {
        (Some(id), _) => json!({ "event": id }),
        (None, Some(count)) => json!({ "head": count }),
        (None, None) => json!({}),
    };
    let url = dead_letters_url(&remote, &sink, &["divert"]);
    let response = remote
        .authorized(Method::POST, url, Some(body.to_string()), Timeout::None)
        .await?
        .success()?;
    let Diverted { diverted } = response.json()?;
    print_as(
        as_json,
        &if as_json {
            response.text()
        } else {
            let mut text =
                format!("diverted {} of {sink}\n", count(diverted.len() as u64, "event"));
            diverted.iter().for_each(|id| text.push_str(&format!("{id}\n")));
            text
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

async fn purge(
    PurgeArgs { sink, ids, all, older_than, remote }: PurgeArgs,
    config: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let as_json = remote.json;
    let remote = Remote::new(remote, config)?;
    let mut urls: Vec<_> = ids.iter().map(|id| dead_letters_url(&remote, &sink, &[id])).collect();
    if let Some(age) = older_than {
        let before = SystemTime::from(observer_core::Timestamp::now())
            .checked_sub(age)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let mut url = dead_letters_url(&remote, &sink, &[]);
        url.query_pairs_mut()
            .append_pair("before", &humantime::format_rfc3339_seconds(before).to_string());
        urls.push(url);
    } else if all {
        let mut url = dead_letters_url(&remote, &sink, &[]);
        url.query_pairs_mut().append_pair("all", "true");
        urls.push(url);
    }
    let mut total = 0;
    for url in urls {
        let response =
            remote.authorized(Method::DELETE, url, None, Timeout::Default).await?.success()?;
        total += response.json::<Purged>()?.purged;
    }
    print_as(
        as_json,
        &if as_json {
            format!("{}\n", json!({ "purged": total }))
        } else {
            format!("purged {} of {sink}\n", count(total, "dead letter"))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

fn dead_letters_url(remote: &Remote, sink: &str, rest: &[&str]) -> reqwest::Url {
    remote.at(&[&["v1", "sinks", sink, "dead-letters"][..], rest].concat())
}

/// Reads an event from a file. It must be JSON, since it becomes part of the request body.
///
/// # Errors
/// If the file can't be read, or is not JSON.
fn read_event(path: &Path) -> anyhow::Result<Box<RawValue>> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().read_to_string(&mut text).context("standard input can't be read")?;
    } else {
        text = fs::read_to_string(path)
            .with_context(|| format!("{} can't be read", path.display()))?;
    }
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}
