//! `usage`: tokens and cost by model, source, day or label.

use observer_core::query::{QueryError, UsageBy, UsageFigures, UsageReport, UsageRequest};

use super::Call;
use crate::answer::{Budget, DATA, lines, row};
use crate::cells::{optional, usd};
use crate::definition::{Definition, Kind, MAX_CHARS, MODEL, Parameter, SOURCE, UNTIL};

pub(super) const DEFINITION: Definition = Definition {
    name: "usage",
    description: "Tokens and US dollars by model (default), source, day or label: \
                  key,attempts,solved,input,output,reported,priced,unpriced, and a total. Unpriced \
                  attempts have no known price.",
    parameters: &[
        Parameter::new("by", Kind::OneOf(&["model", "source", "day", "label"]), ""),
        Parameter::new("label", Kind::Text, "Name of the label"),
        SOURCE,
        MODEL,
        Parameter::new("since", Kind::Text, "Time, date or age"),
        UNTIL,
        Parameter::new("tz", Kind::Text, "IANA zone of days; default UTC"),
        Parameter::new("limit", Kind::Count { min: 1, max: 100 }, "Default 20"),
        MAX_CHARS,
    ],
};

/// Largest number of rows, if the call has none.
const DEFAULT_LIMIT: usize = 20;

pub(super) async fn answer(call: &Call<'_>) -> Result<String, QueryError> {
    let budget = Budget::of(&call.arguments)?;
    let request = request(call)?;
    let by_day = request.by == UsageBy::Day;
    let report = call.store.usage(request).await?;
    if report.total.attempts == 0 {
        return Ok("No attempt matches; widen the time or leave out a condition.".to_owned());
    }
    Ok(budget.fill(report.rows.len(), |count| render(&report, by_day, count)))
}

fn request(call: &Call<'_>) -> Result<UsageRequest, QueryError> {
    let arguments = &call.arguments;
    let tz = arguments.zone("tz")?;
    let (since, until) = arguments.window(None, &tz)?;
    let by = arguments.name("by", |name| match name {
        "model" => Some(Some(UsageBy::Model)),
        "source" => Some(Some(UsageBy::Source)),
        "day" => Some(Some(UsageBy::Day)),
        "label" => Some(None),
        _ => None,
    })?;
    let by = match (by, arguments.text("label")?) {
        (Some(None) | None, Some(label)) => UsageBy::Label(label),
        (Some(None), None) => {
            return Err(QueryError::bad_request("label", "is missing beside `by` = `label`"));
        }
        (Some(Some(_)), Some(_)) => {
            return Err(QueryError::bad_request("label", "needs `by` = `label`"));
        }
        (by, None) => by.flatten().unwrap_or(UsageBy::Model),
    };
    Ok(UsageRequest {
        scope: call.scope.clone(),
        by,
        source: arguments.text("source")?,
        model: arguments.text("model")?,
        since,
        until,
        tz,
        limit: arguments.count("limit")?.unwrap_or(DEFAULT_LIMIT),
    })
}

/// Returns the table with so many rows. Of days, the latest ones are kept.
fn render(report: &UsageReport, by_day: bool, count: usize) -> String {
    let skipped = if by_day { report.rows.len() - count } else { 0 };
    let rows = report.rows.iter().skip(skipped).take(count);
    let rows = rows.map(|of| figures(optional(of.key.as_deref()), of));
    let omitted = report.omitted + (report.rows.len() - count) as u64;
    let more = (omitted > 0).then(|| {
        format!("{omitted} more rows count in the total alone; raise `limit` or `max_chars`.")
    });
    let head = [DATA, "key,attempts,solved,input,output,reported,priced,unpriced"];
    let total = figures("total".to_owned(), &report.total);
    lines(head.map(str::to_owned).into_iter().chain(rows).chain([total]).chain(more))
}

fn figures(key: String, of: &UsageFigures) -> String {
    row([
        key,
        of.attempts.to_string(),
        of.solved.to_string(),
        of.tokens.input.to_string(),
        of.tokens.output.to_string(),
        usd(of.reported, 0),
        usd(of.priced, 0),
        of.unpriced.to_string(),
    ])
}
