//! `observer replay`: delivers past events to a sink of a running observer.

mod selection;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressStyle};
use observer_pipeline::ReplayState;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use self::selection::{Condition, body, time};
use super::args::not_empty;
use super::failure::Failure;
use super::output::{count, print_as};
use super::remote::{Remote, RemoteArgs, Timeout};

const EXAMPLES: &str = "\
Examples:
  observer replay --sink failures --since 2h
  observer replay --sink failures --since 2026-11-22T17:00:00Z --until 2026-11-22T18:00:00Z
  observer replay --sink failures --since 24h --filter ok=false --filter source=bot
  observer replay --sink failures --follow
  observer replay --sink failures --cancel

A replay covers the events that are still in the journal (`journal.retain`), up to the position of
the sink. Its batches are sent in order and alternate with batches of new events. It continues after
this command ends and after a restart of the observer. Events delivered in the last two seconds
before a crash are delivered again, with the same ids. A sink that stores its position with its data
(file, prometheus) accepts no replay.

Exit codes:
  0  the replay is done, and the sink accepted every event
  1  the observer rejected the request, or the sink did not accept every event
  2  invalid usage, an unreachable observer, or a token without access";

/// Interval of the status requests.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Time for which the observer may be unreachable, as during a restart.
const MAX_OUTAGE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLES,
    group = ArgGroup::new("action").args(["since", "follow", "cancel"]).required(true)
)]
pub(super) struct ReplayArgs {
    /// Name of the sink
    #[arg(long, value_name = "NAME", value_parser = not_empty)]
    sink: String,

    /// Start of the range, inclusive: a time such as `2026-11-22T17:00:00Z`, or an age such as `2h`
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<String>,

    /// End of the range, exclusive
    #[arg(long, value_name = "TIME", value_parser = time, requires = "since")]
    until: Option<String>,

    /// Condition on `ok`, `source`, `event_kind`, `sig_hash`, `cycle_id` or `staffer_id`;
    /// repeatable, where several values of one field are alternatives
    #[arg(long, value_name = "FIELD=VALUE", requires = "since")]
    filter: Vec<Condition>,

    /// Return without waiting for the end of the replay
    #[arg(long, requires = "since")]
    no_wait: bool,

    /// Wait for the end of the current replay
    #[arg(long)]
    follow: bool,

    /// Cancel the current replay
    #[arg(long)]
    cancel: bool,

    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, Deserialize)]
struct Sinks {
    sinks: Vec<Sink>,
}

#[derive(Debug, Deserialize)]
struct Sink {
    name: String,
    replay: Option<Value>,
}

/// Progress of a replay.
#[derive(Debug, Deserialize)]
struct Replay {
    state: String,
    reason: Option<String>,
    gone_before: Option<String>,
    events: u64,
    pending: u64,
    delivered: u64,
    dead: u64,
    refused: u64,
    expired: u64,
    lost: u64,
    filtered: u64,
}

/// Error type for requesting the status of a replay.
enum PollError {
    /// There is no response; a later request may succeed.
    Unreachable(anyhow::Error),
    /// The response is an error.
    Response(Failure),
}

impl From<Failure> for PollError {
    fn from(failure: Failure) -> Self {
        Self::Response(failure)
    }
}

/// Replay with the JSON that describes it.
struct Status {
    replay: Replay,
    json: Value,
}

pub(super) async fn run(arguments: ReplayArgs, config: Option<&Path>) -> Result<ExitCode, Failure> {
    let ReplayArgs { sink, since, until, filter, no_wait, follow: _, cancel, remote } = arguments;
    let as_json = remote.json;
    let remote = Remote::new(remote, config)?;
    let url = remote.at(&["v1", "sinks", &sink, "replay"]);
    let (status, wait) = if let Some(since) = since {
        let body = body(&since, until.as_deref(), &filter).map_err(Failure::usage)?;
        let response =
            remote.authorized(Method::POST, url, Some(body), Timeout::None).await?.success()?;
        (Status::new(response.json()?)?, !no_wait)
    } else if cancel {
        let response =
            remote.authorized(Method::DELETE, url, None, Timeout::Default).await?.success()?;
        print_as(as_json, &Status::new(response.json()?)?.text(&sink, as_json))?;
        return Ok(ExitCode::SUCCESS);
    } else {
        (current(&remote, &sink).await?, true)
    };
    let status = if wait { follow(&remote, &sink, status).await? } else { status };
    print_as(as_json, &status.text(&sink, as_json))?;
    let is_success =
        if wait { status.replay.is_complete() } else { !status.replay.is(ReplayState::Stopped) };
    Ok(if is_success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Polls the replay and shows its progress until it ends.
///
/// # Errors
/// If the observer is unreachable for longer than [`MAX_OUTAGE`], or its response is an error.
async fn follow(remote: &Remote, sink: &str, started: Status) -> Result<Status, Failure> {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(started.replay.events)
    } else {
        ProgressBar::hidden()
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} events {msg} ({eta} left)");
    bar.set_style(style.expect("the template above is valid"));
    let mut status = started;
    let mut outage_start = None;
    while status.replay.is(ReplayState::Running) {
        bar.set_position(status.replay.events - status.replay.pending);
        bar.set_message(status.replay.reason.clone().unwrap_or_default());
        sleep(POLL_INTERVAL).await;
        match poll(remote, sink).await {
            Ok(polled) => {
                status = polled;
                outage_start = None;
            }
            Err(PollError::Response(Failure { status, error })) => {
                let error = error.context("the replay continues, but its progress is unavailable");
                return Err(Failure { status, error });
            }
            Err(PollError::Unreachable(error))
                if outage_start.get_or_insert_with(Instant::now).elapsed() >= MAX_OUTAGE =>
            {
                bar.finish_and_clear();
                let hint = format!(
                    "the replay continues once the observer is reachable; to wait for its end: \
                     observer replay --sink {sink} --follow"
                );
                return Err(Failure::usage(error.context(hint)));
            }
            Err(PollError::Unreachable(error)) => bar.set_message(format!("{error:#}")),
        }
    }
    bar.finish_and_clear();
    Ok(status)
}

async fn current(remote: &Remote, sink: &str) -> Result<Status, Failure> {
    poll(remote, sink).await.map_err(|error| match error {
        PollError::Unreachable(error) => Failure::usage(error),
        PollError::Response(failure) => failure,
    })
}

/// Requests the status of the replay of a sink.
async fn poll(remote: &Remote, sink: &str) -> Result<Status, PollError> {
    let url = remote.at(&["v1", "sinks"]);
    let response = remote.send(Method::GET, url, None, Timeout::Default).await;
    let response = response.map_err(PollError::Unreachable)?;
    let Sinks { sinks } = response.authorized()?.success()?.json()?;
    let found = sinks.into_iter().find(|found| found.name == sink);
    let found = found.ok_or_else(|| Failure::from(anyhow!("unknown sink {sink:?}")))?;
    let replay = found.replay.filter(|replay| !replay.is_null()).ok_or_else(|| {
        Failure::from(anyhow!("sink {sink:?} has no replay; start one with --since"))
    })?;
    Ok(Status::new(replay)?)
}

impl Status {
    fn new(json: Value) -> Result<Self, Failure> {
        let replay = Replay::deserialize(&json)
            .context("unexpected response: not the status of a replay")
            .map_err(Failure::usage)?;
        Ok(Self { replay, json })
    }

    fn text(&self, sink: &str, as_json: bool) -> String {
        if as_json { format!("{}\n", self.json) } else { self.replay.text(sink) }
    }
}

impl Replay {
    fn is(&self, state: ReplayState) -> bool {
        self.state == state.as_str()
    }

    fn is_complete(&self) -> bool {
        self.is(ReplayState::Done) && self.dead + self.refused + self.expired + self.lost == 0
    }

    fn text(&self, sink: &str) -> String {
        let Self {
            state,
            reason,
            gone_before,
            events,
            pending,
            delivered,
            dead,
            refused,
            expired,
            lost,
            filtered,
        } = self;
        let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let mut text = format!(
            "replay to {sink} is {state}{reason}\n{}: {delivered} delivered, {dead} dead, \
             {refused} refused, {expired} expired, {lost} lost, {filtered} filtered out, {pending} pending\n",
            count(*events, "event")
        );
        if let Some(time) = gone_before {
            text.push_str(&format!("events received before {time} are no longer in the journal\n"));
        }
        if *expired > 0 {
            text.push_str(
                "expired events were removed to free space in the journal; the log of the \
                 observer lists them\n",
            );
        }
        if *dead > 0 {
            text.push_str(&format!("to list dead letters: observer dead-letters list {sink}\n"));
        }
        if self.is(ReplayState::Running) {
            text.push_str(&format!(
                "to wait for its end: observer replay --sink {sink} --follow\n"
            ));
        }
        text
    }
}
