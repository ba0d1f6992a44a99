//! `observer emit`: events to an observer, one POST after the other.

mod event;
mod input;
mod lines;
mod screen;
mod send;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use reqwest::Url;

use self::event::EventArgs;
use self::input::{Input, Source};
use self::lines::{Line, MAX_LINE};
use self::screen::{Screen, Tally, Terminal};
use self::send::{Answer, Sender};
use super::{Failed, USAGE, print};

const EXAMPLES: &str = "\
Examples:
  observer emit --source bot --event-kind tests_failed --failed --cycle-id c-17 --sig-hash 9f2c \\
      --staffer-id gpt-oss:120b --turns 7 --extra '{\"branch\":\"fix-17\"}'
  observer emit events.ndjson more.ndjson
  jq -c '.[]' events.json | observer emit --json

Events go one after the other, in order. While the observer can't be reached or has no room
(429, 502, 503, 504), the same event is tried again; a repeat is harmless, since an event is
known by its identity. A line that is refused is told with its place, and the next one follows.

Exit codes:
  0  every event is stored
  1  some were refused
  2  wrong usage, an unreadable file, or no observer to send to";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EmitArgs {
    /// Files of events, one JSON object a line; `-` is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The observer
    #[arg(
        long,
        env = "LH_OBSERVER_URL",
        hide_env_values = true,
        default_value = "http://localhost:3800",
        value_parser = send::endpoint
    )]
    url: Url,

    /// How long one event is tried again while it can't be taken
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    retry_for: Duration,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    event: EventArgs,
}

/// Send everything, and say what became of it.
pub(super) async fn run(arguments: EmitArgs) -> Result<ExitCode, Failed> {
    let EmitArgs { files, event, url, retry_for, json } = arguments;
    let inputs = input::choose(event.into_json(), files).map_err(Failed::usage)?;
    let sender = Sender::new(url, retry_for)?;
    let mut screen = Terminal::new(input::total_size(&inputs));

    let (tally, ended) = emit(inputs, &sender, &mut screen).await;
    screen.finish();
    print(&if json { tally.to_json(ended.is_ok()) } else { format!("{tally}\n") })?;
    ended.map_err(|error| Failed { status: USAGE, error })?;
    Ok(if tally.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Send every event of every input; ends at the first one that can't be sent at all.
async fn emit(inputs: Vec<Input>, sender: &Sender, screen: &mut impl Screen) -> (Tally, anyhow::Result<()>) {
    let mut tally = Tally::default();
    for input in inputs {
        if let Err(error) = emit_one(input, sender, screen, &mut tally).await {
            return (tally, Err(error));
        }
    }
    (tally, Ok(()))
}

async fn emit_one(
    Input { name, source }: Input,
    sender: &Sender,
    screen: &mut impl Screen,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let mut lines = match source {
        Source::Event(event) => return send_one(&name, event, sender, screen, tally).await,
        Source::Stream(open) => open.open().await.with_context(|| format!("{name} can't be read"))?,
    };
    let start = tally.bytes;
    while let Some((number, line)) = lines.next().await.with_context(|| format!("{name} can't be read"))? {
        let place = format!("{name}:{number}");
        match line {
            Line::Blank => {}
            Line::Event(event) => send_one(&place, event, sender, screen, tally).await?,
            Line::TooLong => {
                tally.rejected += 1;
                screen.note(&format!("{place}: not sent: longer than {} MiB", MAX_LINE >> 20));
            }
        }
        tally.bytes = start + lines.bytes_read();
        screen.progress(tally);
    }
    Ok(())
}

async fn send_one(
    place: &str,
    event: Bytes,
    sender: &Sender,
    screen: &mut impl Screen,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    match sender.send(event, place, screen).await.with_context(|| place.to_owned())? {
        Answer::Accepted => tally.accepted += 1,
        Answer::Duplicate => tally.duplicate += 1,
        Answer::Refused { status, detail } => {
            tally.rejected += 1;
            screen.note(&format!("{place}: {status} {detail}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
