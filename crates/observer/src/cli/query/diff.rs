//! `observer diff`: what changed since a moment.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use observer_core::query::{Change, Diff, DiffEntry, DiffSide};
use observer_figures::format;

use super::ask::Store;
use super::figures::{Clock, duration, kind, model, usd};
use super::output::{FormatArgs, View, show};
use super::request::Request;
use super::{Context, QueryCommand};
use crate::cli::failure::Failure;
use crate::cli::grid::{Cell, Column, Grid, Terminal, Tone};
use crate::cli::remote::ObserverArgs;

const EXAMPLES: &str = "\
Examples:
  observer diff
  observer diff --since 7d --change failed --change dearer
  observer diff --since 2026-11-22T17:00:00Z --source ci --json

Changes: failed, fixed, dearer, slower, no_longer_run. Each problem is compared before and after the
moment; dearer and slower mean by a quarter or more.

Exit codes:
  0  something changed
  1  nothing changed
  2  invalid usage, no knowledge base, an unreachable observer, or a token without access";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct DiffArgs {
    /// Moment that separates before from after: a time, a date, or an age
    #[arg(long, value_name = "TIME", default_value = "24h")]
    since: String,

    /// Change to report; repeatable
    #[arg(long)]
    change: Vec<String>,

    /// Source whose attempts alone are considered
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Model whose attempts alone are considered
    #[arg(long)]
    model: Option<String>,

    /// Largest number of changes, up to 1,000 [default: 100]
    #[arg(long, value_name = "COUNT")]
    limit: Option<u16>,

    #[command(flatten)]
    format: FormatArgs,

    #[command(flatten)]
    observer: ObserverArgs,
}

impl DiffArgs {
    /// Returns the request of the flags.
    pub(super) fn request(&self) -> Request {
        Request::new(["diff"])
            .with("since", [&self.since])
            .with("change", &self.change)
            .with("source", &self.source)
            .with("model", &self.model)
            .with("limit", self.limit)
    }
}

impl QueryCommand for DiffArgs {
    async fn run(self, context: Context<'_>) -> Result<ExitCode, Failure> {
        let request = self.request();
        let store = Store::open(self.observer, context)?;
        show::<Diff>(&store, &request, self.format.format()).await
    }
}

fn grid(diff: &Diff, clock: &Clock) -> Grid {
    let mut grid = Grid::new([
        Column::name("change"),
        Column::name("sig_hash"),
        Column::text("kind before"),
        Column::text("kind after"),
        Column::text("model").optional(1),
        Column::number("cost before").optional(2),
        Column::number("after").optional(2),
        Column::number("time before").optional(3),
        Column::number("after").optional(3),
        Column::name("last seen"),
    ]);
    for DiffEntry { sig_hash, change, before, after } in &diff.entries {
        let last = after.as_ref().unwrap_or(before);
        let side = |side: &DiffSide| kind(&side.last_kind, None);
        grid.row([
            Cell::own(change.as_str().replace('_', " ")).tone(tone(*change)),
            Cell::foreign(sig_hash),
            side(before),
            after.as_ref().map_or_else(Cell::none, side),
            model(last.last_model.as_deref()),
            usd(before.mean_cost),
            usd(after.as_ref().and_then(|after| after.mean_cost)),
            duration(before.mean_ms),
            duration(after.as_ref().and_then(|after| after.mean_ms)),
            Cell::own(clock.age(last.last)),
        ]);
    }
    grid
}

fn tone(change: Change) -> Tone {
    match change {
        Change::Failed => Tone::Bad,
        Change::Fixed => Tone::Good,
        Change::Dearer | Change::Slower => Tone::Unsure,
        _ => Tone::Dim,
    }
}

impl View for Diff {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn to_text(&self, terminal: Terminal, clock: &Clock) -> String {
        if self.entries.is_empty() {
            return format!("nothing changed since {}\n", clock.moment(self.since));
        }
        let mut text = grid(self, clock).to_text(terminal);
        if self.omitted > 0 {
            let omitted = format::counted(self.omitted, "more change");
            let _ = writeln!(text, "\n{omitted}; show them with --limit");
        }
        text
    }

    fn to_markdown(&self, clock: &Clock) -> String {
        grid(self, clock).to_markdown()
    }
}
