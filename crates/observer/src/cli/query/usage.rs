//! `observer usage`: tokens, cost and time by model, source, day or label.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use jiff::tz::TimeZone;
use observer_core::query::{UsageFigures, UsageReport};
use observer_figures::format;

use super::ask::Store;
use super::figures::{Clock, cost, duration, solved_ratio, tokens};
use super::output::{FormatArgs, View, show};
use super::request::Request;
use super::{Context, QueryCommand};
use crate::cli::failure::Failure;
use crate::cli::grid::{Cell, Column, Grid, Terminal, Tone};
use crate::cli::remote::ObserverArgs;

const EXAMPLES: &str = "\
Examples:
  observer usage --since 30d
  observer usage --by day --tz Europe/Berlin --since 2026-11-01
  observer usage --by label --label branch --source ci
  observer usage --by day --csv > usage.csv

Cost is what producers reported, or else the tokens at the price of their model. The column
`unpriced` counts attempts that have neither.

Exit codes:
  0  there are attempts
  1  no attempt matches
  2  invalid usage, no knowledge base, an unreachable observer, or a token without access";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct UsageArgs {
    /// What a row stands for: `model`, `source`, `day` or `label` [default: model]
    #[arg(long, value_name = "WHAT")]
    by: Option<String>,

    /// Name of the label, with `--by label`
    #[arg(long, value_name = "NAME")]
    label: Option<String>,

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

    /// Time zone of days and dates, such as `Europe/Berlin`; by default that of the system
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,

    /// Largest number of rows, up to 1,000 [default: 100]
    #[arg(long, value_name = "COUNT")]
    limit: Option<u16>,

    #[command(flatten)]
    format: FormatArgs,

    #[command(flatten)]
    observer: ObserverArgs,
}

impl UsageArgs {
    /// Returns the request of the flags.
    pub(super) fn request(&self) -> Request {
        let tz = self.tz.clone().or_else(|| TimeZone::system().iana_name().map(str::to_owned));
        Request::new(["usage"])
            .with("by", &self.by)
            .with("label", &self.label)
            .with("source", &self.source)
            .with("model", &self.model)
            .with("since", &self.since)
            .with("until", &self.until)
            .with("tz", &tz)
            .with("limit", self.limit)
    }
}

impl QueryCommand for UsageArgs {
    async fn run(self, context: Context<'_>) -> Result<ExitCode, Failure> {
        let request = self.request();
        let store = Store::open(self.observer, context)?;
        show::<UsageReport>(&store, &request, self.format.format()).await
    }
}

fn grid(report: &UsageReport) -> Grid {
    let mut grid = Grid::new([
        Column::text(""),
        Column::number("solved"),
        Column::number("ratio").optional(1),
        Column::number("tokens in / out").optional(2),
        Column::number("cost"),
        Column::number("reported").optional(5),
        Column::number("priced").optional(6),
        Column::number("unpriced").optional(3),
        Column::number("turns").optional(7),
        Column::number("time").optional(4),
        Column::number("p50").optional(8),
    ]);
    for figures in &report.rows {
        grid.row(row(figures, Cell::optional(figures.key.as_deref())));
    }
    grid.row(row(&report.total, Cell::own("total")));
    grid
}

fn row(figures: &UsageFigures, key: Cell) -> [Cell; 11] {
    let (solved, attempts) = (figures.solved, figures.attempts);
    let unpriced = Cell::own(format::count(figures.unpriced));
    [
        key,
        Cell::own(format!("{} of {}", format::count(solved), format::count(attempts))),
        Cell::own(solved_ratio(solved, attempts, figures.ci)),
        tokens(&figures.tokens),
        Cell::own(cost(figures.cost, figures.unpriced)),
        Cell::own(format::usd(figures.reported)),
        Cell::own(format::usd(figures.priced)),
        if figures.unpriced > 0 { unpriced.tone(Tone::Unsure) } else { unpriced },
        Cell::own(format::count(figures.turns)),
        duration(Some(figures.duration_ms)),
        duration(figures.p50_ms),
    ]
}

impl View for UsageReport {
    fn is_empty(&self) -> bool {
        self.total.attempts == 0
    }

    fn to_text(&self, terminal: Terminal, _: &Clock) -> String {
        if self.is_empty() {
            return "no attempts match\n".to_owned();
        }
        let mut text = grid(self).to_text(terminal);
        if self.omitted > 0 {
            let omitted = format::counted(self.omitted, "more row");
            let _ = writeln!(text, "\n{omitted}; the total includes them; show them with --limit");
        }
        text
    }

    fn to_markdown(&self, _: &Clock) -> String {
        grid(self).to_markdown()
    }
}
