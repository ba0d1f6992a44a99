//! `observer query`: events by filter, or one event.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use observer_core::{Event, Uuid};
use observer_figures::{clean, format};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::ask::Store;
use super::figures::{Clock, duration, kind, model, usd};
use super::filter::FilterArgs;
use super::output::{FormatArgs, View, exit_code, print_bytes, show};
use super::request::{Media, Request};
use super::{Context, QueryCommand};
use crate::cli::args::not_empty;
use crate::cli::failure::Failure;
use crate::cli::grid::{Cell, Column, Grid, Terminal};
use crate::cli::remote::ObserverArgs;

const EXAMPLES: &str = "\
Examples:
  observer query --sig-hash 03f203cc93b17365
  observer query --source bot --failed --label branch=main --since 24h
  observer query 0f8e4c1a-7f1e-5f0c-9a52-3f6f2b1f7a10
  observer query --since 2026-11-01 --limit 1000 --ndjson | jq .event.extra

Events are listed in the order of their receipt, newest first. One that is given by its id is shown
with its bytes and with where each sink stands with it. Flags that are repeated match any of their
values.

Exit codes:
  0  events match
  1  no event matches
  2  invalid usage, no knowledge base, an unreachable observer, or a token without access";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct QueryArgs {
    /// Id of one event: that of the observer, or the producer's own
    #[arg(value_parser = not_empty, conflicts_with_all = ["event_kind", "ok", "failed", "sig_hash", "cycle_id", "model",
        "label", "since", "until", "limit", "cursor", "csv", "ndjson"])]
    id: Option<String>,

    #[command(flatten)]
    filter: FilterArgs,

    /// Earliest time of receipt: a time, a date, or an age such as `24h`
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Time of receipt before which the events were received
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Largest number of events, up to 1,000 [default: 100]
    #[arg(long, value_name = "COUNT")]
    limit: Option<u16>,

    /// Where the page begins, as the page before said
    #[arg(long)]
    cursor: Option<String>,

    #[command(flatten)]
    format: FormatArgs,

    /// Print one envelope per line, which `observer emit` accepts
    #[arg(long, group = "format")]
    ndjson: bool,

    #[command(flatten)]
    observer: ObserverArgs,
}

/// Page of events.
#[derive(Deserialize)]
pub(super) struct Page {
    events: Vec<Stored>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Stored {
    id: Uuid,
    received_at: Timestamp,
    event: Box<RawValue>,
}

/// One event with its standing at each sink.
#[derive(Deserialize)]
pub(super) struct Details {
    id: Uuid,
    received_at: Timestamp,
    position: Option<String>,
    event: Box<RawValue>,
    replaced_by: Option<Uuid>,
    #[serde(default)]
    sinks: Vec<SinkStanding>,
}

#[derive(Deserialize)]
struct SinkStanding {
    name: String,
    state: String,
    #[serde(default)]
    possible: Vec<String>,
}

impl QueryArgs {
    /// Returns the request of the flags.
    pub(super) fn request(&self) -> Request {
        if let Some(id) = &self.id {
            return Request::of_one("events", "id", id).with("source", self.filter.sources());
        }
        let request = self.filter.add_to(Request::new(["events"]));
        request
            .with("since", &self.since)
            .with("until", &self.until)
            .with("limit", self.limit)
            .with("cursor", &self.cursor)
    }
}

impl QueryCommand for QueryArgs {
    async fn run(self, context: Context<'_>) -> Result<ExitCode, Failure> {
        let (request, format) = (self.request(), self.format.format());
        let store = Store::open(self.observer, context)?;
        if self.id.is_some() {
            return show::<Details>(&store, &request, format).await;
        }
        if self.ndjson {
            let lines = store.get(&request, Media::JsonLines).await?;
            print_bytes(&lines)?;
            return Ok(exit_code(lines.is_empty()));
        }
        show::<Page>(&store, &request, format).await
    }
}

impl Page {
    fn grid(&self, clock: &Clock) -> Grid {
        let mut grid = Grid::new([
            Column::name("received"),
            Column::text("source").optional(2),
            Column::text("kind"),
            Column::text("model").optional(1),
            Column::name("sig_hash"),
            Column::number("turns").optional(5),
            Column::number("time").optional(4),
            Column::number("cost").optional(3),
            Column::name("id"),
        ]);
        for Stored { id, received_at, event } in &self.events {
            // What the observer has stored is an event.
            let event = Event::parse(event.get().to_owned()).ok();
            let event = event.as_ref();
            let kind = event.map(|event| kind(event.event_kind(), event.ok()));
            let cost = event.and_then(Event::usage).and_then(|usage| usage.cost_usd);
            let turns = event.and_then(Event::turns);
            grid.row([
                Cell::own(clock.moment(*received_at)),
                Cell::optional(event.map(Event::source)),
                kind.unwrap_or_else(Cell::none),
                model(event.and_then(Event::staffer_id)),
                Cell::optional(event.and_then(Event::sig_hash)),
                turns.map_or_else(Cell::none, |turns| Cell::own(format::count(turns))),
                duration(event.and_then(Event::duration_ms)),
                usd(cost),
                Cell::own(id.to_string()),
            ]);
        }
        grid
    }
}

impl View for Page {
    fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn to_text(&self, terminal: Terminal, clock: &Clock) -> String {
        if self.events.is_empty() {
            return "no events match\n".to_owned();
        }
        let mut text = self.grid(clock).to_text(terminal);
        if let Some(cursor) = &self.cursor {
            let _ = writeln!(text, "\nnext page: --cursor {}", clean::line(cursor, MAX_CURSOR));
        }
        text
    }

    fn to_markdown(&self, clock: &Clock) -> String {
        self.grid(clock).to_markdown()
    }
}

/// Limit of a cursor that is shown, in characters.
pub(super) const MAX_CURSOR: usize = 200;

impl Details {
    fn sinks(&self) -> Grid {
        let mut grid = Grid::new([Column::name("sink"), Column::text("state")]);
        for SinkStanding { name, state, possible } in &self.sinks {
            let possible = match possible.as_slice() {
                [] => String::new(),
                possible => format!(": {}", possible.join(" or ")),
            };
            grid.row([Cell::foreign(name), Cell::own(format!("{state}{possible}"))]);
        }
        grid
    }
}

impl View for Details {
    fn is_empty(&self) -> bool {
        false
    }

    fn to_text(&self, terminal: Terminal, _: &Clock) -> String {
        let Self { id, received_at, position, event, replaced_by, sinks } = self;
        let position = position.as_ref().map(|position| format!(", position {position}"));
        let position = position.unwrap_or_default();
        let mut text = format!("id        {id}\nreceived  {received_at}{position}\n");
        if let Some(by) = replaced_by {
            let _ = writeln!(text, "corrected by {by}");
        }
        if !sinks.is_empty() {
            let _ = write!(text, "\n{}", self.sinks().to_text(terminal));
        }
        let _ = writeln!(text, "\n{}", clean::json(event.get()));
        text
    }

    fn to_markdown(&self, _: &Clock) -> String {
        self.sinks().to_markdown()
    }
}
