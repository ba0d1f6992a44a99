//! `observer emit`: sends events to an observer, one batch per POST request.

mod batch;
mod elements;
mod event;
mod input;
mod lines;
mod progress;
mod send;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use reqwest::Url;

use self::batch::{Batches, Item, Part};
use self::event::EventArgs;
use self::input::{Input, Source};
use self::lines::MAX_LINE;
use self::progress::{ReportedWarning, Reporter, Tally, Terminal};
use self::send::{BatchResponse, Rejection, Response, Sender, Warning, Warnings};
use super::connect::{ConnectArgs, DEFAULT_URL, URL_VARIABLE, endpoint};
use super::failure::{Failure, USAGE};
use super::output::print_as;

/// Limit of the warnings that are printed; the summary has the number of all.
const MAX_WARNINGS: usize = 10;

const EXAMPLES: &str = "\
Examples:
  observer emit --source bot --event-kind tests_failed --failed --cycle-id c-17 --sig-hash 9f2c \\
      --staffer-id gpt-oss:120b --turns 7 --extra '{\"branch\":\"fix-17\"}'
  observer emit events.ndjson more.ndjson
  observer emit --json events.json
  observer emit --url https://observer.example.com:3843 --cacert ca.pem events.ndjson

Events are sent in order. Those of files and standard input are sent in batches of up to 500 lines
or 1 MiB; a smaller batch is sent as soon as no further input is available. While the observer is
unreachable or overloaded (408, 425, 429, 502, 503, 504), a request is retried. A repetition is
harmless, since the observer recognises an event by its identity. A rejected line is reported with
its file and line number, and the other lines are stored; of a JSON array, each element counts as a
line. An optional field that can't be read counts as absent; the first ten such warnings are
reported in the same way.

Lines of an archive keep their ids if the token has the scope `relay`, or the observer has no
tokens. Otherwise each id counts as the `id` of an event of this token, with a warning.

Exit codes:
  0  every event is stored
  1  some events were rejected
  2  invalid usage, an unreadable file, or an unreachable observer";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EmitArgs {
    /// Files of events, one JSON object per line or one array; `-` for standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// URL of the observer
    #[arg(
        long,
        env = URL_VARIABLE,
        hide_env_values = true,
        default_value = DEFAULT_URL,
        value_parser = endpoint
    )]
    url: Url,

    #[command(flatten)]
    connect: ConnectArgs,

    /// Time for which a request is retried while the observer is unreachable or overloaded
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        value_parser = humantime::parse_duration
    )]
    retry_for: Duration,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    event: EventArgs,
}

/// Sends all events and prints a summary.
pub(super) async fn run(arguments: EmitArgs) -> Result<ExitCode, Failure> {
    let EmitArgs { files, event, url, connect, retry_for, json } = arguments;
    let inputs = input::choose(event.into_json(), files).map_err(Failure::usage)?;
    let sender = Sender::new(url, &connect, retry_for).map_err(Failure::usage)?;
    let mut terminal = Terminal::new(input::total_size(&inputs));

    let (tally, result) = emit(inputs, &sender, &mut terminal).await;
    terminal.finish();
    print_as(json, &if json { tally.to_json(result.is_ok()) } else { format!("{tally}\n") })?;
    result.map_err(|error| Failure { status: USAGE, error })?;
    Ok(if tally.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends every event of every input and stops at the first error that concerns all events.
async fn emit(
    inputs: Vec<Input>,
    sender: &Sender,
    reporter: &mut impl Reporter,
) -> (Tally, anyhow::Result<()>) {
    let mut emitter = Emitter { sender, reporter, tally: Tally::default(), mode: Mode::Batches };
    for input in inputs {
        if let Err(error) = emitter.emit(input).await {
            return (emitter.tally, Err(error));
        }
    }
    (emitter.tally, Ok(()))
}

struct Emitter<'a, R> {
    sender: &'a Sender,
    reporter: &'a mut R,
    tally: Tally,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Batches,
    /// One event per request, for an observer without the batch endpoint.
    Single,
}

impl<R: Reporter> Emitter<'_, R> {
    async fn emit(&mut self, Input { name, source }: Input) -> anyhow::Result<()> {
        let lines = match source {
            Source::Event(event) => return self.send_one(&name, &Item::new(1, event)).await,
            Source::Stream(stream) => {
                stream.open().await.with_context(|| format!("{name} can't be read"))?
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
                    self.reporter.message(&format!(
                        "{name}:{number}: not sent: the line is longer than {} MiB",
                        MAX_LINE >> 20
                    ));
                }
            }
            self.tally.bytes = start + batches.bytes_read();
            self.reporter.progress(&self.tally);
        }
        Ok(())
    }

    /// Sends a batch, and splits it into smaller requests if the observer rejects it as a whole.
    async fn send(&mut self, name: &str, items: &[Item]) -> anyhow::Result<()> {
        let location = |item: &Item| format!("{name}:{}", item.number);
        let mut remaining = vec![items];
        while let Some(items) = remaining.pop() {
            let Some((first, rest)) = items.split_first() else { continue };
            // The observer would parse an array in the first line as the batch itself.
            if self.mode == Mode::Single || first.event.starts_with(b"[") {
                self.send_one(&location(first), first).await?;
                self.reporter.progress(&self.tally);
                remaining.push(rest);
                continue;
            }
            let first = location(first);
            match self
                .sender
                .send_batch(items, &first, self.reporter)
                .await
                .with_context(|| first.clone())?
            {
                BatchResponse::Items { accepted, duplicate, rejected, warnings } => {
                    self.tally.accepted += accepted;
                    self.tally.duplicate += duplicate;
                    let is_stored = |index| rejected.iter().all(|(other, _)| *other != index);
                    let wrapped = items
                        .iter()
                        .enumerate()
                        .filter(|(index, item)| item.id.is_some() && is_stored(*index));
                    let warnings = warnings.without_generated_ids(wrapped.map(|(index, _)| index));
                    self.warn(&warnings, |index| location(&items[index]));
                    for (index, rejection) in rejected {
                        self.reject(&location(&items[index]), rejection);
                    }
                }
                BatchResponse::Rejected(rejection) if items.len() == 1 => {
                    self.reject(&first, rejection);
                }
                // The batch is too large, or a single event invalidates it.
                BatchResponse::Rejected(_) => {
                    let (first, second) = items.split_at(items.len() / 2);
                    remaining.extend([second, first]);
                }
                BatchResponse::Unsupported => {
                    self.mode = Mode::Single;
                    remaining.push(items);
                }
            }
        }
        Ok(())
    }

    async fn send_one(&mut self, location: &str, item: &Item) -> anyhow::Result<()> {
        let response = self.sender.send(item, location, self.reporter).await;
        let own = |warnings: Warnings| warnings.without_generated_ids(item.id.iter().map(|_| 0));
        match response.with_context(|| location.to_owned())? {
            Response::Accepted(warnings) => {
                self.tally.accepted += 1;
                self.warn(&own(warnings), |_| location.to_owned());
            }
            Response::Duplicate(warnings) => {
                self.tally.duplicate += 1;
                self.warn(&own(warnings), |_| location.to_owned());
            }
            Response::Rejected(rejection) => self.reject(location, rejection),
        }
        Ok(())
    }

    /// Counts warnings, and reports the first ones. `location` names an event by its index.
    fn warn(&mut self, warnings: &Warnings, location: impl Fn(usize) -> String) {
        self.tally.warnings += warnings.total;
        for (index, Warning { field, detail }) in &warnings.first {
            if self.tally.first_warnings.len() == MAX_WARNINGS {
                break;
            }
            let location = location(*index);
            self.reporter.message(&format!("{location}: warning: `{field}`: {detail}"));
            let warning =
                ReportedWarning { location, field: field.clone(), detail: detail.clone() };
            self.tally.first_warnings.push(warning);
        }
    }

    fn reject(&mut self, location: &str, Rejection { status, detail }: Rejection) {
        self.tally.rejected += 1;
        self.reporter.message(&format!("{location}: {status} {detail}"));
    }
}

#[cfg(test)]
mod tests;
