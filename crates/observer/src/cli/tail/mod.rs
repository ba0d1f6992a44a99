//! `observer tail`: events as they are committed.
//!
//! [`run`] connects again with the id of the last event when a connection ends. [`blocks`] parses
//! the stream, and [`line`] formats an event for people.

mod blocks;
mod line;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use observer_core::Position;
use observer_figures::clean;
use reqwest::StatusCode;
use serde::Deserialize;

use self::blocks::{Block, Blocks};
use self::line::Lines;
use super::connect::error::detail;
use super::failure::Failure;
use super::output::{print_error, write_styled};
use super::query::{FilterArgs, Request};
use super::remote::{ObserverArgs, Remote};
use super::signal;

const EXAMPLES: &str = "\
Examples:
  observer tail
  observer tail --source bot --failed --label branch=main
  observer tail --json --since-id 1795877258000000-42 | jq .event.extra

Each line has the time of receipt, source, kind, result, model, cost and signature. After an
interruption the command connects again and continues after the last event. What is missing is
stated on standard error.

Exit codes:
  0  ended by Ctrl-C, by SIGTERM or by the reader of the output
  1  the output can't be written
  2  invalid usage, an unreachable observer at the start, or a token without access";

/// Time without bytes after which a connection counts as lost: three times that of keep-alives.
const SILENCE: Duration = Duration::from_secs(45);
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct TailArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// Begin after the event of this id, EPOCH-SEQ, rather than at the present
    #[arg(long, value_name = "ID")]
    since_id: Option<Position>,

    /// Print one envelope per line, which `observer emit` accepts
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    observer: ObserverArgs,
}

/// End of a connection.
enum Ended {
    /// The connection can be made again.
    Lost(anyhow::Error),
    /// The reader of the output closed it.
    Closed,
}

/// Stream that is printed.
struct Tail {
    remote: Remote,
    request: Request,
    last_id: Option<String>,
    lines: Option<Lines>,
    /// Time until the next connection.
    backoff: Duration,
}

/// Runs the command until a signal, or until the reader of the output closes it.
pub(super) async fn run(arguments: TailArgs, config: Option<&Path>) -> Result<ExitCode, Failure> {
    let TailArgs { filter, since_id, json, observer } = arguments;
    let mut tail = Tail {
        remote: Remote::new(observer, config)?,
        request: filter.add_to(Request::new(["stream"])),
        last_id: since_id.map(|position| position.to_string()),
        lines: (!json).then(Lines::new),
        backoff: FIRST_BACKOFF,
    };
    tokio::select! {
        biased;
        () = signal::interruption()? => Ok(ExitCode::SUCCESS),
        ended = tail.follow() => ended.map(|()| ExitCode::SUCCESS),
    }
}

impl Tail {
    async fn follow(&mut self) -> Result<(), Failure> {
        let mut response = Some(self.connect().await.map_err(Refusal::failure)?);
        loop {
            let ended = match response.take() {
                Some(response) => self.print(response).await?,
                None => match self.connect().await {
                    Ok(connected) => {
                        response = Some(connected);
                        continue;
                    }
                    Err(Refusal { error, is_final: false }) => Ended::Lost(error),
                    Err(refusal) => return Err(refusal.failure()),
                },
            };
            let Ended::Lost(error) = ended else { return Ok(()) };
            let seconds = self.backoff.as_secs_f64();
            print_error(&format!("observer: {error:#}; connecting again in {seconds} s"));
            tokio::time::sleep(self.backoff).await;
            self.backoff = (2 * self.backoff).min(MAX_BACKOFF);
        }
    }

    async fn connect(&self) -> Result<reqwest::Response, Refusal> {
        let segments: Vec<_> = self.request.path.iter().map(String::as_str).collect();
        let mut url = self.remote.at(&segments);
        if !self.request.parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.request.parameters);
        }
        let response = self.remote.stream(url, self.last_id.as_deref()).await;
        let response = response.map_err(|error| Refusal { error, is_final: false })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        let error = anyhow!("{} {}", status.as_u16(), detail(status, &body));
        let is_final = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
        Err(Refusal { error, is_final })
    }

    /// Prints the events of a connection until it ends.
    ///
    /// # Errors
    /// If the output can't be written.
    async fn print(&mut self, mut response: reqwest::Response) -> Result<Ended, Failure> {
        let mut blocks = Blocks::default();
        loop {
            let chunk = match tokio::time::timeout(SILENCE, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok(Ended::Lost(anyhow!("the observer ended the stream"))),
                Ok(Err(error)) => {
                    let error = anyhow::Error::from(error).context("the connection was lost");
                    return Ok(Ended::Lost(error));
                }
                Err(_) => {
                    let silence = SILENCE.as_secs();
                    return Ok(Ended::Lost(anyhow!("no byte has arrived for {silence} s")));
                }
            };
            self.backoff = FIRST_BACKOFF;
            blocks.push(&chunk);
            while let Some(block) = blocks.next() {
                match self.print_block(&block) {
                    Ok(()) => self.last_id = block.id.or_else(|| self.last_id.take()),
                    Err(error) if is_closed(&error) => return Ok(Ended::Closed),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    fn print_block(&self, block: &Block) -> anyhow::Result<()> {
        match (block.kind.as_str(), &self.lines) {
            _ if block.data.is_empty() => {}
            ("gap", _) => print_error(&format!("observer: {}", gap(&block.data)?)),
            (_, Some(lines)) => write_styled(&lines.of(&block.data)?)?,
            (_, None) if io::stdout().is_terminal() => {
                write_styled(&format!("{}\n", clean::json(&block.data)))?;
            }
            (_, None) => write_styled(&format!("{}\n", block.data))?,
        }
        Ok(())
    }
}

/// Refusal of a connection.
struct Refusal {
    error: anyhow::Error,
    /// True if another connection would be refused as well.
    is_final: bool,
}

impl Refusal {
    fn failure(self) -> Failure {
        Failure::usage(self.error)
    }
}

fn is_closed(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Returns what a gap says.
fn gap(data: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Gap {
        first: Option<u64>,
        last: Option<u64>,
        count: Option<u64>,
        reason: String,
    }
    let Gap { first, last, count, reason } =
        serde_json::from_str(data).context("unexpected event of the observer")?;
    let why = match reason.as_str() {
        "expired" => "the journal no longer retains them",
        "lost" => "the journal lost them",
        "slow" => "this command read too slowly",
        "unknown" => {
            return Ok(
                "the id is unknown to this observer; events may be missing, and the stream \
                       continues at the present"
                    .to_owned(),
            );
        }
        other => other,
    };
    let (Some(first), Some(last), Some(count)) = (first, last, count) else {
        bail!("unexpected event of the observer: {data}");
    };
    Ok(format!("{count} events of all sources are missing, {first} to {last}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_says_what_is_missing_and_why() {
        let gap = |data| gap(data).unwrap();
        assert_eq!(
            gap(r#"{"first":43,"last":57,"count":15,"reason":"slow"}"#),
            "15 events of all sources are missing, 43 to 57: this command read too slowly"
        );
        assert!(gap(r#"{"reason":"unknown"}"#).starts_with("the id is unknown to this observer"));
    }

    #[test]
    fn closed_output_is_no_failure() {
        let error = |kind| anyhow::Error::from(io::Error::from(kind));
        assert!(is_closed(&error(io::ErrorKind::BrokenPipe)));
        assert!(!is_closed(&error(io::ErrorKind::StorageFull)));
    }
}
