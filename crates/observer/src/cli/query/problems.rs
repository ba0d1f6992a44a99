//! `observer problems`: problems by state.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use observer_core::query::ProblemPage;
use observer_figures::{clean, format};

use super::ask::Store;
use super::events::MAX_CURSOR;
use super::figures::{Clock, cost, kind, model, state};
use super::output::{FormatArgs, View, show};
use super::request::Request;
use super::{Context, QueryCommand};
use crate::cli::failure::Failure;
use crate::cli::grid::{Cell, Column, Grid, Terminal};
use crate::cli::remote::ObserverArgs;

const EXAMPLES: &str = "\
Examples:
  observer problems
  observer problems --state broken --state regressed --since 7d
  observer problems --sort recent --limit 10 --json

States: new, failing, broken, flaky, fixed?, fixed, regressed. Wasted is the cost on a problem that
no attempt has solved yet.

Exit codes:
  0  problems match
  1  no problem matches
  2  invalid usage, no knowledge base, an unreachable observer, or a token without access";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ProblemsArgs {
    /// State of the problems; repeatable
    #[arg(long)]
    state: Vec<String>,

    /// Source that made an attempt
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Model that made an attempt
    #[arg(long)]
    model: Option<String>,

    /// Earliest time of the last attempt: a time, a date, or an age such as `24h`
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Time before which the last attempt was made
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Order: `wasted`, the highest cost without a solution first, or `recent` [default: wasted]
    #[arg(long, value_name = "ORDER")]
    sort: Option<String>,

    /// Largest number of problems, up to 1,000 [default: 100]
    #[arg(long, value_name = "COUNT")]
    limit: Option<u16>,

    /// Where the page begins, as the page before said
    #[arg(long)]
    cursor: Option<String>,

    #[command(flatten)]
    format: FormatArgs,

    #[command(flatten)]
    observer: ObserverArgs,
}

impl ProblemsArgs {
    /// Returns the request of the flags.
    pub(super) fn request(&self) -> Request {
        Request::new(["signatures"])
            .with("state", &self.state)
            .with("source", &self.source)
            .with("model", &self.model)
            .with("since", &self.since)
            .with("until", &self.until)
            .with("sort", &self.sort)
            .with("limit", self.limit)
            .with("cursor", &self.cursor)
    }
}

impl QueryCommand for ProblemsArgs {
    async fn run(self, context: Context<'_>) -> Result<ExitCode, Failure> {
        let request = self.request();
        let store = Store::open(self.observer, context)?;
        show::<ProblemPage>(&store, &request, self.format.format()).await
    }
}

fn grid(page: &ProblemPage, clock: &Clock) -> Grid {
    let mut grid = Grid::new([
        Column::name("sig_hash"),
        Column::name("state"),
        Column::name("since").optional(4),
        Column::number("solved"),
        Column::number("cost").optional(3),
        Column::number("wasted"),
        Column::text("last kind").optional(1),
        Column::text("last model").optional(2),
        Column::name("last seen"),
    ]);
    for problem in &page.problems {
        let solved = format::count(problem.solved);
        grid.row([
            Cell::foreign(&problem.sig_hash),
            state(problem.state),
            Cell::own(clock.moment(problem.since)),
            Cell::own(format!("{solved} of {}", format::count(problem.attempts))),
            Cell::own(cost(problem.cost, problem.unpriced)),
            Cell::own(format::usd(problem.wasted)),
            kind(&problem.last_kind, None),
            model(problem.last_model.as_deref()),
            Cell::own(clock.age(problem.last_seen)),
        ]);
    }
    grid
}

impl View for ProblemPage {
    fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    fn to_text(&self, terminal: Terminal, clock: &Clock) -> String {
        if self.problems.is_empty() {
            return "no problems match\n".to_owned();
        }
        let mut text = grid(self, clock).to_text(terminal);
        if let Some(cursor) = &self.cursor {
            let _ = writeln!(text, "\nnext page: --cursor {}", clean::line(cursor, MAX_CURSOR));
        }
        text
    }

    fn to_markdown(&self, clock: &Clock) -> String {
        grid(self, clock).to_markdown()
    }
}
