//! `models`: figures of models, and a verdict on two of them.

use jiff::tz::TimeZone;
use observer_core::query::{Comparison, Models, ModelsRequest, QueryError};
use observer_figures::clean;

use super::Call;
use crate::answer::{Budget, DATA, lines, row};
use crate::cells::{name, optional, ratio, usd_per_solved};
use crate::definition::{Definition, Kind, MAX_CHARS, Parameter, SOURCE};

pub(super) const DEFINITION: Definition = Definition {
    name: "models",
    description: "Models by solved attempts, 95 % interval of the solved ratio, US dollars per \
                  solved attempt, and problems they share with others (comparable_on). Verdict on \
                  a against b on shared problems, by default the two with the most attempts.",
    parameters: &[
        Parameter::new("sig_hash", Kind::Text, "Only this problem"),
        SOURCE,
        Parameter::new("a", Kind::Text, ""),
        Parameter::new("b", Kind::Text, ""),
        Parameter::new("since", Kind::Text, "Time, date or age; default 30d"),
        MAX_CHARS,
    ],
};

/// Largest age of an attempt, if the call has none.
const DEFAULT_SINCE: &str = "30d";
/// Longest verdict in characters.
const MAX_VERDICT: usize = 300;

pub(super) async fn answer(call: &Call<'_>) -> Result<String, QueryError> {
    let budget = Budget::of(&call.arguments)?;
    let mut request = request(call)?;
    let mut models = call.store.models(request.clone()).await?;
    if request.compare.is_none()
        && let Some(pair) = most_tried(&models)
    {
        request.compare = Some(pair);
        models = call.store.models(request).await?;
    }
    if models.models.is_empty() {
        return Ok(
            "No attempt matches; widen `since` (default 30d) or leave out a condition.".to_owned()
        );
    }
    let verdict = models
        .comparison
        .as_ref()
        .map_or_else(|| "Verdict: not comparable: there is one model.".to_owned(), verdict);
    Ok(budget.fill(models.models.len(), |count| render(&models, &verdict, count)))
}

fn request(call: &Call<'_>) -> Result<ModelsRequest, QueryError> {
    let arguments = &call.arguments;
    let (since, until) = arguments.window(Some(DEFAULT_SINCE), &TimeZone::UTC)?;
    Ok(ModelsRequest {
        scope: call.scope.clone(),
        source: arguments.text("source")?,
        sig_hash: arguments.text("sig_hash")?,
        since,
        until,
        by_source: false,
        compare: ModelsRequest::pair(arguments.text("a")?, arguments.text("b")?)?,
    })
}

/// Returns the two named models with the most attempts.
fn most_tried(models: &Models) -> Option<(String, String)> {
    let mut named = models.models.iter().filter_map(|of| of.model.clone());
    Some((named.next()?, named.next()?))
}

fn render(models: &Models, verdict: &str, count: usize) -> String {
    let rows = models.models.iter().take(count).map(|of| {
        row([
            optional(of.model.as_deref()),
            of.attempts.to_string(),
            of.solved.to_string(),
            ratio(of.ci.low),
            ratio(of.ci.high),
            usd_per_solved(of.cost_per_solved, of.cost, of.unpriced),
            of.comparable_on.to_string(),
        ])
    });
    let head = [DATA, "model,attempts,solved,ci_low,ci_high,usd_per_solved,comparable_on"];
    let omitted = models.models.len() - count;
    let more = (omitted > 0).then(|| {
        format!("{omitted} more models are left out; give `sig_hash` or `source`, or `max_chars`.")
    });
    let tail = more.into_iter().chain([verdict.to_owned()]);
    lines(head.map(str::to_owned).into_iter().chain(rows).chain(tail))
}

/// Returns the result of a comparison in a sentence. It may name models as they are; it is quoted
/// if one of these is no plain name.
fn verdict(comparison: &Comparison) -> String {
    let Comparison { a, b, text, .. } = comparison;
    let (shown_a, shown_b) = (name(a), name(b));
    let is_plain = |name: &str, shown: &str| name == shown || !text.contains(name);
    let text = match is_plain(a, &shown_a) && is_plain(b, &shown_b) {
        true => clean::line(text, MAX_VERDICT),
        false => clean::quoted(text, MAX_VERDICT),
    };
    format!("Verdict, {shown_a} against {shown_b}: {text}.")
}
