//! `observer models`: figures of models, and two of them head to head.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use observer_core::query::{Comparison, Models};
use observer_figures::{clean, format};

use super::ask::Store;
use super::figures::{Clock, cost, cost_per_solved, duration, model, solved_ratio, tokens};
use super::output::{FormatArgs, View, show};
use super::request::Request;
use super::{Context, QueryCommand};
use crate::cli::failure::Failure;
use crate::cli::grid::{Cell, Column, Grid, Terminal};
use crate::cli::remote::ObserverArgs;

const EXAMPLES: &str = "\
Examples:
  observer models --since 30d
  observer models --compare gpt-5 claude-sonnet-4-5
  observer models --by-source --csv > models.csv

The ratio of solved attempts has its 95 % interval. Cost per solved is the cost of all attempts by
the solved ones. Two models are compared on the problems that both tried.

Exit codes:
  0  there are attempts
  1  no attempt matches
  2  invalid usage, no knowledge base, an unreachable observer, or a token without access";

/// Limit of the text of a comparison in characters.
const MAX_TEXT: usize = 500;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ModelsArgs {
    /// Two models to compare
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "csv")]
    compare: Vec<String>,

    /// Source whose attempts alone are considered
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Problem whose attempts alone are considered
    #[arg(long, value_name = "HASH")]
    sig_hash: Option<String>,

    /// Earliest time of an attempt: a time, a date, or an age such as `30d`
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Time before which attempts were made
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// One row by model and source
    #[arg(long)]
    by_source: bool,

    #[command(flatten)]
    format: FormatArgs,

    #[command(flatten)]
    observer: ObserverArgs,
}

impl ModelsArgs {
    /// Returns the request of the flags.
    pub(super) fn request(&self) -> Request {
        Request::new(["models"])
            .with("source", &self.source)
            .with("sig_hash", &self.sig_hash)
            .with("since", &self.since)
            .with("until", &self.until)
            .with("by_source", self.by_source.then_some(true))
            .with("a", self.compare.first())
            .with("b", self.compare.get(1))
    }
}

impl QueryCommand for ModelsArgs {
    async fn run(self, context: Context<'_>) -> Result<ExitCode, Failure> {
        let request = self.request();
        let store = Store::open(self.observer, context)?;
        show::<Models>(&store, &request, self.format.format()).await
    }
}

fn grid(models: &Models) -> Grid {
    let by_source = models.models.iter().any(|figures| figures.source.is_some());
    let source = by_source.then(|| Column::text("source"));
    let columns = [
        Column::number("solved"),
        Column::number("ratio"),
        Column::number("cost").optional(2),
        Column::number("per solved"),
        Column::number("tokens in / out").optional(4),
        Column::number("p50").optional(5),
        Column::number("p95").optional(6),
        Column::number("problems").optional(3),
    ];
    let mut grid = Grid::new([Column::text("model")].into_iter().chain(source).chain(columns));
    for figures in &models.models {
        let (solved, attempts) = (figures.solved, figures.attempts);
        let source = by_source.then(|| Cell::optional(figures.source.as_deref()));
        let cells = [
            Cell::own(format!("{} of {}", format::count(solved), format::count(attempts))),
            Cell::own(solved_ratio(solved, attempts, figures.ci)),
            Cell::own(cost(figures.cost, figures.unpriced)),
            Cell::own(cost_per_solved(figures.cost_per_solved, figures.cost, figures.unpriced)),
            tokens(&figures.tokens),
            duration(figures.p50_ms),
            duration(figures.p95_ms),
            Cell::own(format::count(figures.problems)),
        ];
        grid.row([model(figures.model.as_deref())].into_iter().chain(source).chain(cells));
    }
    grid
}

/// Returns the comparison in a sentence with its numbers.
fn comparison(
    Comparison { common, both, only_a, only_b, neither, text, .. }: &Comparison,
) -> String {
    let mut line = clean::line(text, MAX_TEXT);
    if *common > 0 {
        let _ = write!(
            line,
            "\ncommon problems {}: both solved {both}, only the first {only_a}, only the second \
             {only_b}, neither {neither}",
            format::count(*common)
        );
    }
    line.push('\n');
    line
}

impl View for Models {
    fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    fn to_text(&self, terminal: Terminal, _: &Clock) -> String {
        if self.models.is_empty() {
            return "no attempts match\n".to_owned();
        }
        let mut text = grid(self).to_text(terminal);
        if let Some(compared) = &self.comparison {
            let _ = write!(text, "\n{}", comparison(compared));
        }
        text
    }

    fn to_markdown(&self, _: &Clock) -> String {
        let mut text = grid(self).to_markdown();
        if let Some(Comparison { text: verdict, .. }) = &self.comparison {
            let _ = writeln!(text, "\n{}", clean::code(verdict, MAX_TEXT));
        }
        text
    }
}
