//! `observer hints`: attempts with a hint against those without.

use std::process::ExitCode;

use clap::Args;
use observer_core::query::{HintFigures, Hints};
use observer_figures::format;

use super::ask::Store;
use super::figures::{Clock, cost, cost_per_solved, solved_ratio};
use super::output::{FormatArgs, View, show};
use super::request::Request;
use super::{Context, QueryCommand};
use crate::cli::failure::Failure;
use crate::cli::grid::{Cell, Column, Grid, Terminal, Tone};
use crate::cli::remote::ObserverArgs;

const EXAMPLES: &str = "\
Examples:
  observer hints
  observer hints --since 30d --model gpt-5
  observer hints --source bot --json

The summary of a problem (`observer history SIG_HASH --md`) ends in a `hint_id`. An attempt whose
producer sends it back in `labels.hint_id` counts as one with a hint.

Exit codes:
  0  there are attempts
  1  no attempt matches
  2  invalid usage, no knowledge base, an unreachable observer, or a token without access";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct HintsArgs {
    /// Source whose attempts alone are considered
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Model whose attempts alone are considered
    #[arg(long)]
    model: Option<String>,

    /// Earliest time of an attempt: a time, a date, or an age such as `30d`
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Time before which attempts were made
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    #[command(flatten)]
    format: FormatArgs,

    #[command(flatten)]
    observer: ObserverArgs,
}

impl HintsArgs {
    /// Returns the request of the flags.
    pub(super) fn request(&self) -> Request {
        Request::new(["hints"])
            .with("source", &self.source)
            .with("model", &self.model)
            .with("since", &self.since)
            .with("until", &self.until)
    }
}

impl QueryCommand for HintsArgs {
    async fn run(self, context: Context<'_>) -> Result<ExitCode, Failure> {
        let request = self.request();
        let store = Store::open(self.observer, context)?;
        show::<Hints>(&store, &request, self.format.format()).await
    }
}

fn grid(hints: &Hints) -> Grid {
    let mut grid = Grid::new([
        Column::text(""),
        Column::number("solved"),
        Column::number("ratio"),
        Column::number("cost"),
        Column::number("per solved"),
        Column::number("unpriced").optional(1),
    ]);
    for (name, figures) in [("with a hint", &hints.with), ("without", &hints.without)] {
        let HintFigures { attempts, solved, ci, unpriced, .. } = figures;
        let per_solved = match attempts {
            0 => Cell::none(),
            _ => Cell::own(cost_per_solved(figures.cost_per_solved, figures.cost, *unpriced)),
        };
        let unpriced_cell = Cell::own(format::count(*unpriced));
        grid.row([
            Cell::own(name),
            Cell::own(format!("{} of {}", format::count(*solved), format::count(*attempts))),
            Cell::own(solved_ratio(*solved, *attempts, *ci)),
            Cell::own(cost(figures.cost, *unpriced)),
            per_solved,
            if *unpriced > 0 { unpriced_cell.tone(Tone::Unsure) } else { unpriced_cell },
        ]);
    }
    grid
}

/// Returns what the solved ratios show. Disjoint intervals are a stricter test than one of the
/// difference would be.
fn verdict(Hints { with, without }: &Hints) -> &'static str {
    match (with.attempts, without.attempts) {
        (0, _) => "no attempt had a hint yet; producers send `hint_id` back in `labels.hint_id`",
        (_, 0) => "every attempt had a hint; there is nothing to compare with",
        _ if with.ci.low > without.ci.high => "more is solved with a hint, beyond chance",
        _ if with.ci.high < without.ci.low => "less is solved with a hint, beyond chance",
        _ => "the intervals overlap: no difference is shown",
    }
}

impl View for Hints {
    fn is_empty(&self) -> bool {
        self.with.attempts + self.without.attempts == 0
    }

    fn to_text(&self, terminal: Terminal, _: &Clock) -> String {
        if self.is_empty() {
            return "no attempts match\n".to_owned();
        }
        format!("{}\n{}\n", grid(self).to_text(terminal), verdict(self))
    }

    fn to_markdown(&self, _: &Clock) -> String {
        format!("{}\n{}\n", grid(self).to_markdown(), verdict(self))
    }
}
