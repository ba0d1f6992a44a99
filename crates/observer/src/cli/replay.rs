//! `observer replay`: bringing a sink of a running observer the past.

mod wanted;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use self::wanted::{Condition, body, moment};
use super::journal::shown::count;
use super::remote::{Patience, Remote, RemoteArgs};
use super::{Failed, print};

const EXAMPLES: &str = "\
Examples:
  observer replay --sink failures --since 2h
  observer replay --sink failures --since 2026-11-22T17:00:00Z --until 2026-11-22T18:00:00Z
  observer replay --sink failures --since 24h --filter ok=false --filter source=bot
  observer replay --sink failures --follow
  observer replay --sink failures --cancel

The past is what the journal still has (`journal.retain`), up to where the sink stands. It goes in
order, and takes turns with what is new, batch by batch. It goes on when this command is ended, and
when the observer is started again; what was delivered in the last second or two before a crash is
delivered again, under the same ids. A sink that keeps its position with its data (file,
prometheus) takes none.

Exit codes:
  0  it has come to its end, and the sink took all
  1  the observer said no, or the sink did not get all
  2  wrong usage, or no observer to ask, or a token that it doesn't let in";

/// How often it is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the observer may be away, which it is while it is started again.
const AWAY: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("what").args(["since", "follow", "cancel"]).required(true))]
pub(super) struct ReplayArgs {
    /// The sink
    #[arg(long, value_name = "NAME")]
    sink: String,

    /// Events that were received at this time or later: a time such as `2026-11-22T17:00:00Z`, or
    /// how long ago, such as `2h`
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,

    /// Of these, the ones that were received before this time
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "since")]
    until: Option<String>,

    /// Of these, the ones with this in a field: `ok`, `source`, `event_kind`, `sig_hash`,
    /// `cycle_id` or `staffer_id`. Of several for one field, any will do
    #[arg(long, value_name = "FIELD=VALUE", requires = "since")]
    filter: Vec<Condition>,

    /// Don't wait for its end
    #[arg(long, requires = "since")]
    no_wait: bool,

    /// Wait for the end of the one that is there
    #[arg(long)]
    follow: bool,

    /// End the one that is there
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

/// How far it is.
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
    filtered: u64,
}

/// A replay, and as the observer told it.
struct Told {
    replay: Replay,
    json: Value,
}

pub(super) async fn run(arguments: ReplayArgs) -> Result<ExitCode, Failed> {
    let ReplayArgs { sink, since, until, filter, no_wait, follow: _, cancel, remote } = arguments;
    let as_json = remote.json;
    let remote = Remote::new(remote)?;
    let url = remote.at(&["v1", "sinks", &sink, "replay"]);
    let (told, waits) = if let Some(since) = since {
        let body = body(&since, until.as_deref(), &filter).map_err(Failed::usage)?;
        let answer =
            remote.ask(Method::POST, url, Some(body), Patience::Unbounded).await?.good()?;
        (Told::new(answer.read()?)?, !no_wait)
    } else if cancel {
        let answer = remote.ask(Method::DELETE, url, None, Patience::Question).await?.good()?;
        print(&Told::new(answer.read()?)?.text(&sink, as_json))?;
        return Ok(ExitCode::SUCCESS);
    } else {
        (look(&remote, &sink).await?, true)
    };
    let told = if waits { follow(&remote, &sink, told).await? } else { told };
    print(&told.text(&sink, as_json))?;
    let is_fine = if waits { told.replay.is_fine() } else { told.replay.state != "stopped" };
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Until it ends.
async fn follow(remote: &Remote, sink: &str, begun: Told) -> Result<Told, Failed> {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(begun.replay.events)
    } else {
        ProgressBar::hidden()
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} events {msg} ({eta} left)");
    bar.set_style(style.expect("the template is the one above"));
    let mut told = begun;
    let mut away_since = None;
    while told.replay.state == "running" {
        bar.set_position(told.replay.events - told.replay.pending);
        bar.set_message(told.replay.reason.clone().unwrap_or_default());
        sleep(LOOK_EVERY).await;
        match look_again(remote, sink).await {
            Ok(found) => {
                told = found.map_err(|Failed { status, error }| Failed {
                    status,
                    error: error.context("the replay goes on, but how far it is can't be told"),
                })?;
                away_since = None;
            }
            Err(error) if away_since.get_or_insert_with(Instant::now).elapsed() >= AWAY => {
                bar.finish_and_clear();
                let hint = format!(
                    "the replay goes on once it is there again; to wait for it: observer replay --sink {sink} --follow"
                );
                return Err(Failed::usage(error.context(hint)));
            }
            Err(error) => bar.set_message(format!("{error:#}")),
        }
    }
    bar.finish_and_clear();
    Ok(told)
}

async fn look(remote: &Remote, sink: &str) -> Result<Told, Failed> {
    look_again(remote, sink).await.map_err(Failed::usage)?
}

/// An error is that there is no answer; inside of it, that the answer is no good.
async fn look_again(remote: &Remote, sink: &str) -> anyhow::Result<Result<Told, Failed>> {
    let answer =
        remote.request(Method::GET, remote.at(&["v1", "sinks"]), None, Patience::Question).await?;
    let found = || {
        let sinks: Sinks = answer.allowed()?.good()?.read()?;
        let found = sinks.sinks.into_iter().find(|found| found.name == sink);
        let found = found.ok_or_else(|| anyhow!("there is no sink named {sink:?}"))?;
        Told::new(
            found
                .replay
                .filter(|replay| !replay.is_null())
                .ok_or_else(|| anyhow!("{sink} had no replay"))?,
        )
    };
    Ok(found())
}

impl Told {
    fn new(json: Value) -> Result<Self, Failed> {
        let replay = Replay::deserialize(&json)
            .context("this is no answer of an observer")
            .map_err(Failed::usage)?;
        Ok(Self { replay, json })
    }

    fn text(&self, sink: &str, as_json: bool) -> String {
        if as_json { format!("{}\n", self.json) } else { self.replay.text(sink) }
    }
}

impl Replay {
    fn is_fine(&self) -> bool {
        self.state == "done" && self.dead + self.refused + self.expired == 0
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
            filtered,
        } = self;
        let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let mut text = format!(
            "the replay to {sink} is {state}{reason}\n{}: {delivered} delivered, {dead} dead, {refused} refused, \
             {expired} expired, {filtered} not asked for, {pending} pending\n",
            count(*events, "event")
        );
        if let Some(time) = gone_before {
            text.push_str(&format!(
                "what was received before {time} is not in the journal any more\n"
            ));
        }
        if *expired > 0 {
            text.push_str(
                "what is expired had to make room in the journal; the observer's log says which\n",
            );
        }
        if *dead > 0 {
            text.push_str(&format!("what it refused: observer dead-letters list {sink}\n"));
        }
        if state == "running" {
            text.push_str(&format!(
                "to wait for its end: observer replay --sink {sink} --follow\n"
            ));
        }
        text
    }
}
