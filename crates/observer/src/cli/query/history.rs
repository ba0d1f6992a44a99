//! `observer history`: what happened before on one problem.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use observer_core::query::{Attempt, NextModel, Problem, SolvedBy};
use observer_figures::{clean, format};

use super::ask::Store;
use super::figures::{
    Clock, cost, cost_per_solved, duration, kind, model, solved_ratio, state, usd,
};
use super::output::{Format, FormatArgs, View, print_bytes, show};
use super::request::{Media, Request};
use super::{Context, QueryCommand};
use crate::cli::args::not_empty;
use crate::cli::failure::{Failure, USAGE};
use crate::cli::grid::{Cell, Column, Grid, Terminal};
use crate::cli::remote::ObserverArgs;

const EXAMPLES: &str = "\
Examples:
  observer history 03f203cc93b17365
  observer history 03f203cc93b17365 --history 20 --transitions 10
  observer history 03f203cc93b17365 --md --max-chars 600
  observer history 03f203cc93b17365 --csv > attempts.csv

With --md, the summary for the prompt of an agent is printed: what failed, what worked, and what to
try next. With --csv, the attempts are.

Exit codes:
  0  there are attempts at the problem
  1  there are none
  2  invalid usage, no knowledge base, an unreachable observer, or a token without access";

/// Number of groups of failures that are shown.
const MAX_FAILURES: usize = 10;
/// Limit of a name within a sentence, in characters.
const MAX_NAME: usize = 80;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct HistoryArgs {
    /// Signature of the problem
    #[arg(value_name = "SIG_HASH", value_parser = not_empty)]
    sig_hash: String,

    /// Model whose attempts alone are considered
    #[arg(long)]
    model: Option<String>,

    /// Number of attempts to list, newest first
    #[arg(long, value_name = "COUNT", conflicts_with = "md")]
    history: Option<u16>,

    /// Number of changes of the state to list, newest first
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["md", "csv"])]
    transitions: Option<u16>,

    /// Largest number of characters of the summary [default: 1000]
    #[arg(long, value_name = "COUNT", requires = "md")]
    max_chars: Option<u16>,

    #[command(flatten)]
    format: FormatArgs,

    #[command(flatten)]
    observer: ObserverArgs,
}

impl HistoryArgs {
    /// Returns the request of the flags.
    pub(super) fn request(&self) -> Request {
        Request::of_one("signatures", "sig_hash", &self.sig_hash)
            .with("model", &self.model)
            .with("history", self.history)
            .with("transitions", self.transitions)
    }
}

impl QueryCommand for HistoryArgs {
    async fn run(self, context: Context<'_>) -> Result<ExitCode, Failure> {
        let request = self.request();
        let format = self.format.format();
        let store = Store::open(self.observer, context)?;
        if format != Format::Markdown {
            return show::<Problem>(&store, &request, format).await;
        }
        // There is a summary of an unknown problem, too, and the exit code should tell.
        let known = store.ask::<Problem>(&request).await;
        if known.as_ref().is_err_and(|failure| failure.status == USAGE) {
            return known.map(|_| ExitCode::SUCCESS);
        }
        let request = request.with("max_chars", self.max_chars);
        print_bytes(&store.get(&request, Media::Markdown).await?)?;
        known.map(|_| ExitCode::SUCCESS)
    }
}

impl View for Problem {
    fn is_empty(&self) -> bool {
        self.attempts == 0
    }

    fn to_text(&self, terminal: Terminal, clock: &Clock) -> String {
        let mut text = head(self, clock);
        let mut section = |title: &str, grid: Grid| {
            let _ = write!(text, "\n{title}\n{}", grid.to_text(terminal));
        };
        section("Models", models(self, clock));
        if !self.failures.is_empty() {
            section("Failures", failures(self, clock));
        }
        if let Some(attempts) = &self.history {
            section("Attempts", history(attempts, clock));
        }
        if let Some(transitions) = &self.transitions {
            let mut grid =
                Grid::new([Column::name("since"), Column::name("state"), Column::name("event")]);
            for transition in transitions {
                let event = transition.event.map(|event| event.to_string());
                grid.row([
                    Cell::own(clock.moment(transition.at)),
                    state(transition.state),
                    event.map_or_else(Cell::none, Cell::own),
                ]);
            }
            section("States", grid);
        }
        text.push('\n');
        text.push_str(&foot(self, clock));
        text
    }

    fn to_markdown(&self, clock: &Clock) -> String {
        models(self, clock).to_markdown()
    }
}

fn head(problem: &Problem, clock: &Clock) -> String {
    let Problem { sig_hash, state, since, attempts, solved, flip_rate, .. } = problem;
    let (first, last) = (clock.moment(problem.first_seen), clock.moment(problem.last_seen));
    let mut text = format!(
        "{}  {state} since {}\n{}, {} solved, cost {}, per solved {}\nfirst {first}, last {last}",
        clean::line(sig_hash, MAX_NAME),
        clock.moment(*since),
        format::counted(*attempts, "attempt"),
        format::count(*solved),
        cost(problem.cost, problem.unpriced),
        cost_per_solved(problem.cost_per_solved, problem.cost, problem.unpriced),
    );
    if problem.wasted > 0.0 {
        let _ = write!(text, ", wasted {}", format::usd(problem.wasted));
    }
    if let Some(rate) = flip_rate {
        let _ = write!(text, ", flip rate {}", format::percent(*rate));
    }
    text.push('\n');
    text
}

fn models(problem: &Problem, clock: &Clock) -> Grid {
    let mut grid = Grid::new([
        Column::text("model"),
        Column::number("solved"),
        Column::number("ratio"),
        Column::number("cost"),
        Column::number("p50").optional(2),
        Column::number("p95").optional(3),
        Column::name("last"),
    ]);
    for figures in &problem.models {
        let (solved, attempts) = (figures.solved, figures.attempts);
        grid.row([
            model(figures.model.as_deref()),
            Cell::own(format!("{} of {}", format::count(solved), format::count(attempts))),
            Cell::own(solved_ratio(solved, attempts, figures.ci)),
            Cell::own(format::usd(figures.cost)),
            duration(figures.p50_ms),
            duration(figures.p95_ms),
            Cell::own(clock.moment(figures.last)),
        ]);
    }
    grid
}

fn failures(problem: &Problem, clock: &Clock) -> Grid {
    let mut grid = Grid::new([
        Column::number("count"),
        Column::text("kind"),
        Column::name("last"),
        Column::text("first line of the error"),
    ]);
    for group in problem.failures.iter().take(MAX_FAILURES) {
        grid.row([
            Cell::own(format::count(group.count)),
            kind(&group.kind, Some(false)),
            Cell::own(clock.moment(group.last)),
            Cell::optional(group.text.as_deref()),
        ]);
    }
    grid
}

fn history(attempts: &[Attempt], clock: &Clock) -> Grid {
    let mut grid = Grid::new([
        Column::name("at"),
        Column::text("source"),
        Column::text("kind"),
        Column::text("model"),
        Column::number("time"),
        Column::number("cost"),
        Column::name("event"),
    ]);
    for attempt in attempts {
        grid.row([
            Cell::own(clock.moment(attempt.at)),
            Cell::foreign(&attempt.source),
            kind(&attempt.kind, Some(attempt.ok)),
            model(attempt.model.as_deref()),
            duration(attempt.duration_ms),
            usd(attempt.cost),
            Cell::own(attempt.event.to_string()),
        ]);
    }
    grid
}

fn foot(problem: &Problem, clock: &Clock) -> String {
    let name = |model: &Option<String>| {
        model.as_deref().map_or_else(|| "–".to_owned(), |model| clean::line(model, MAX_NAME))
    };
    let mut text = String::new();
    if let Some(SolvedBy { model, event, at, cost }) = &problem.solved_by {
        let cost = cost.map(|usd| format!(" for {}", format::usd(usd))).unwrap_or_default();
        let _ = writeln!(
            text,
            "solved by {} on {}{cost}, event {event}",
            name(model),
            clock.moment(*at)
        );
    }
    if let Some(NextModel { model, why, .. }) = &problem.next {
        let why = clean::line(why, 200);
        let _ = match model {
            Some(_) => writeln!(text, "next      {}: {why}", name(model)),
            None => writeln!(text, "next      {why}"),
        };
    }
    let _ = writeln!(text, "hint      {}", clean::line(&problem.hint_id, MAX_NAME));
    text
}
