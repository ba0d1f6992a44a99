//! `problems`: problems by state.

use jiff::tz::TimeZone;
use observer_core::query::{ProblemPage, ProblemSort, ProblemState, ProblemsRequest, QueryError};

use super::Call;
use crate::answer::{Budget, DATA, lines, more, row};
use crate::cells::{age, name, usd};
use crate::definition::{CURSOR, Definition, Kind, MAX_CHARS, MODEL, Parameter, SOURCE};

/// Names of the states.
const STATES: &[&str] = &["new", "failing", "broken", "flaky", "fixed?", "fixed", "regressed"];

pub(super) const DEFINITION: Definition = Definition {
    name: "problems",
    description: "Problems with attempts since a time, the most wasted US dollars first: \
                  sig,state,attempts,solved,wasted,last_kind,last_seen (age).",
    parameters: &[
        Parameter::new("state", Kind::OneOf(STATES), ""),
        Parameter::new("since", Kind::Text, "Time, date or age; default 24h"),
        SOURCE,
        MODEL,
        Parameter::new("sort", Kind::OneOf(&["wasted", "recent"]), ""),
        Parameter::new("limit", Kind::Count { min: 1, max: 50 }, "Default 10"),
        CURSOR,
        MAX_CHARS,
    ],
};

/// Largest number of rows, if the call has none.
const DEFAULT_LIMIT: usize = 10;
/// Largest age of the last attempt, if the call has none.
const DEFAULT_SINCE: &str = "24h";

pub(super) async fn answer(call: &Call<'_>) -> Result<String, QueryError> {
    let budget = Budget::of(&call.arguments)?;
    let mut request = request(call)?;
    loop {
        let page = call.store.problems(request.clone()).await?;
        let count = budget.largest(page.problems.len(), 1, |count| render(call, &page, count));
        if count >= page.problems.len() {
            return Ok(render(call, &page, count));
        }
        // A shorter page has the cursor of the rest.
        request.limit = count;
    }
}

fn request(call: &Call<'_>) -> Result<ProblemsRequest, QueryError> {
    let arguments = &call.arguments;
    let (since, until) = arguments.window(Some(DEFAULT_SINCE), &TimeZone::UTC)?;
    let sort = arguments.name("sort", |name| match name {
        "wasted" => Some(ProblemSort::Wasted),
        "recent" => Some(ProblemSort::Recent),
        _ => None,
    })?;
    Ok(ProblemsRequest {
        scope: call.scope.clone(),
        states: arguments.name("state", ProblemState::from_name)?.into_iter().collect(),
        source: arguments.text("source")?,
        model: arguments.text("model")?,
        since,
        until,
        sort: sort.unwrap_or_default(),
        limit: arguments.count("limit")?.unwrap_or(DEFAULT_LIMIT),
        cursor: arguments.text("cursor")?,
    })
}

fn render(call: &Call<'_>, page: &ProblemPage, count: usize) -> String {
    if page.problems.is_empty() {
        return "No problem matches; widen `since` (default 24h) or leave out a condition."
            .to_owned();
    }
    let rows = page.problems.iter().take(count).map(|of| {
        row([
            name(&of.sig_hash),
            of.state.to_string(),
            of.attempts.to_string(),
            of.solved.to_string(),
            usd(of.wasted, of.unpriced),
            name(&of.last_kind),
            age(of.last_seen, call.arguments.now),
        ])
    });
    let head = [DATA.to_owned(), "sig,state,attempts,solved,wasted,last_kind,last_seen".to_owned()];
    lines(head.into_iter().chain(rows).chain(more(page.cursor.as_deref())))
}
