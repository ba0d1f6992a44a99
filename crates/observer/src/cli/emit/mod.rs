//! `observer emit`: events to an observer, in batches, one POST after the other.

mod batch;
mod event;
mod input;
mod lines;
mod screen;
pub(super) mod send;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use self::batch::{Batches, Item, Part};
use self::event::EventArgs;
use self::input::{Input, Source};
use self::lines::MAX_LINE;
use self::screen::{Screen, Tally, Terminal};
use self::send::{Answer, BatchAnswer, Refusal, Sender};
use super::connect::ConnectArgs;
use super::{Failed, USAGE, print};

const EXAMPLES: &str = "\
Examples:
  observer emit --source bot --event-kind tests_failed --failed --cycle-id c-17 --sig-hash 9f2c \\
      --staffer-id gpt-oss:120b --turns 7 --extra '{\"branch\":\"fix-17\"}'
  observer emit events.ndjson more.ndjson
  jq -c '.[]' events.json | observer emit --json
  observer emit --url https://observer.example.com:3843 --cacert ca.pem events.ndjson

Events go in order, and those of files and standard input in batches: up to 500 lines or 1 MiB, or
what is there when no more comes. While the observer can't be reached or has no room (429, 502,
503, 504), the same events are tried again; a repeat is harmless, since an event is known by its
identity. A line that is refused is told with its place, and the others are stored.

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

    #[command(flatten)]
    to: ConnectArgs,

    /// How long events are tried again while they can't be taken
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
    let EmitArgs { files, event, to, retry_for, json } = arguments;
    let inputs = input::choose(event.into_json(), files).map_err(Failed::usage)?;
    let sender = Sender::new(to, retry_for).map_err(Failed::usage)?;
    let mut screen = Terminal::new(input::total_size(&inputs));

    let (tally, ended) = emit(inputs, &sender, &mut screen).await;
    screen.finish();
    print(&if json { tally.to_json(ended.is_ok()) } else { format!("{tally}\n") })?;
    ended.map_err(|error| Failed { status: USAGE, error })?;
    Ok(if tally.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Send every event of every input; ends at the first one that can't be sent at all.
async fn emit(
    inputs: Vec<Input>,
    sender: &Sender,
    screen: &mut impl Screen,
) -> (Tally, anyhow::Result<()>) {
    let mut emitter = Emitter { sender, screen, tally: Tally::default(), mode: Mode::Batches };
    for input in inputs {
        if let Err(error) = emitter.emit(input).await {
            return (emitter.tally, Err(error));
        }
    }
    (emitter.tally, Ok(()))
}

struct Emitter<'a, S> {
    sender: &'a Sender,
    screen: &'a mut S,
    tally: Tally,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Batches,
    /// For an observer that doesn't know batches.
    Single,
}

impl<S: Screen> Emitter<'_, S> {
    async fn emit(&mut self, Input { name, source }: Input) -> anyhow::Result<()> {
        let lines = match source {
            Source::Event(event) => return self.send_one(&name, &Item::new(1, event)).await,
            Source::Stream(open) => {
                open.open().await.with_context(|| format!("{name} can't be read"))?
            }
        };
        let mut batches = Batches::new(lines);
        let start = self.tally.bytes;
        while let Some(part) =
            batches.next().await.with_context(|| format!("{name} can't be read"))?
        {
            match part {
                Part::Batch(items) => self.send(&name, &items).await?,
                Part::TooLong(number) => {
                    self.tally.rejected += 1;
                    self.screen.note(&format!(
                        "{name}:{number}: not sent: longer than {} MiB",
                        MAX_LINE >> 20
                    ));
                }
            }
            self.tally.bytes = start + batches.bytes_read();
            self.screen.progress(&self.tally);
        }
        Ok(())
    }

    /// In one request, or in as many as it takes.
    async fn send(&mut self, name: &str, items: &[Item]) -> anyhow::Result<()> {
        let place = |item: &Item| format!("{name}:{}", item.number);
        let mut left = vec![items];
        while let Some(items) = left.pop() {
            let Some((first, rest)) = items.split_first() else { continue };
            // As the first line of a batch an array would be taken for the batch itself.
            if self.mode == Mode::Single || first.event.starts_with(b"[") {
                self.send_one(&place(first), first).await?;
                self.screen.progress(&self.tally);
                left.push(rest);
                continue;
            }
            let first = place(first);
            match self
                .sender
                .send_batch(items, &first, self.screen)
                .await
                .with_context(|| first.clone())?
            {
                BatchAnswer::Told { accepted, duplicate, refused } => {
                    self.tally.accepted += accepted;
                    self.tally.duplicate += duplicate;
                    for (index, refusal) in refused {
                        self.reject(&place(&items[index]), refusal);
                    }
                }
                BatchAnswer::Refused(refusal) if items.len() == 1 => self.reject(&first, refusal),
                // Too much at once, or one event that spoils it for the others.
                BatchAnswer::Refused(_) => {
                    let (first, second) = items.split_at(items.len() / 2);
                    left.extend([second, first]);
                }
                BatchAnswer::Unknown => {
                    self.mode = Mode::Single;
                    left.push(items);
                }
            }
        }
        Ok(())
    }

    async fn send_one(&mut self, place: &str, item: &Item) -> anyhow::Result<()> {
        match self.sender.send(item, place, self.screen).await.with_context(|| place.to_owned())? {
            Answer::Accepted => self.tally.accepted += 1,
            Answer::Duplicate => self.tally.duplicate += 1,
            Answer::Refused(refusal) => self.reject(place, refusal),
        }
        Ok(())
    }

    fn reject(&mut self, place: &str, Refusal { status, detail }: Refusal) {
        self.tally.rejected += 1;
        self.screen.note(&format!("{place}: {status} {detail}"));
    }
}

#[cfg(test)]
mod tests;
