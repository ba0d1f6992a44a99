//! `history`: what happened before on one problem.

use observer_core::Timestamp;
use observer_core::query::{Problem, ProblemRequest, QueryError, SummaryRequest, SummaryStyle};
use observer_figures::clean::QUOTE_START;

use super::Call;
use crate::answer::{Budget, DATA, lines, row};
use crate::cells::{age, name, optional, text, usd};
use crate::definition::{Definition, Kind, MAX_CHARS, MODEL, Parameter};
use crate::tokens::estimate;

pub(super) const DEFINITION: Definition = Definition {
    name: "history",
    description: "What happened before on one problem: verdict, failures to avoid, what worked, \
                  model to try next. Ask before starting on a problem. Send the hint_id back as \
                  labels.hint_id of the outcome.",
    parameters: &[
        Parameter::new("sig_hash", Kind::Required, "Hash of the problem"),
        MODEL,
        Parameter::new("detail", Kind::OneOf(&["concise", "full"]), "full adds tables"),
        MAX_CHARS,
    ],
};

/// Largest number of characters of a summary.
const MAX_SUMMARY: usize = 1_000;
/// Smallest number of characters of a summary.
const MIN_SUMMARY: usize = 40;
/// Largest number of attempts in the full answer.
const MAX_ATTEMPTS: usize = 20;

pub(super) async fn answer(call: &Call<'_>) -> Result<String, QueryError> {
    let is_full = call.arguments.name("detail", |name| match name {
        "concise" => Some(false),
        "full" => Some(true),
        _ => None,
    })?;
    let is_full = is_full.unwrap_or(false);
    let arguments = &call.arguments;
    let budget = if is_full { Budget::long(arguments)? } else { Budget::of(arguments)? };
    let summary = summary(call, budget).await?;
    if !is_full {
        return Ok(summary);
    }
    let request = ProblemRequest {
        scope: call.scope.clone(),
        sig_hash: arguments.required("sig_hash")?,
        model: arguments.text("model")?,
        history: MAX_ATTEMPTS,
        transitions: 0,
    };
    match call.store.problem(request).await {
        Ok(problem) => Ok(full(&summary, &problem, arguments.now, budget)),
        Err(QueryError::NotFound { .. }) => Ok(summary),
        Err(error) => Err(error),
    }
}

/// Returns the summary, as long as the budget allows. If the model has no attempt, it is that of all
/// models.
async fn summary(call: &Call<'_>, budget: Budget) -> Result<String, QueryError> {
    let sig_hash = call.arguments.required("sig_hash")?;
    let mut model = call.arguments.text("model")?;
    let mut first = None;
    let mut max_chars = MAX_SUMMARY.min(budget.chars);
    loop {
        let request = SummaryRequest {
            scope: call.scope.clone(),
            sig_hash: sig_hash.clone(),
            model: model.clone(),
            style: SummaryStyle::Prompt,
            max_chars,
        };
        let summary = call.store.summary(request).await?;
        if summary.hint_id.is_none() {
            if let Some(model) = model.take() {
                first = Some(format!("No attempts by {}. All models:", name(&model)));
                continue;
            }
            return Ok(unknown(&summary.text, &summary.similar, budget));
        }
        let legend = (!summary.text.contains(QUOTE_START)).then(|| DATA.to_owned());
        let text = lines(first.iter().cloned().chain([summary.text]).chain(legend));
        if budget.holds(&text) || max_chars <= MIN_SUMMARY {
            return Ok(text);
        }
        let scaled = max_chars * budget.tokens / estimate(&text).max(1);
        max_chars = scaled.min(max_chars - MIN_SUMMARY / 2).max(MIN_SUMMARY);
    }
}

/// Returns the answer about a problem without attempts.
fn unknown(text: &str, similar: &[String], budget: Budget) -> String {
    let names: Vec<_> = similar.iter().map(|sig_hash| name(sig_hash)).collect();
    budget.fill(names.len(), |count| match count {
        0 => text.to_owned(),
        _ => lines([text, &format!("Similar signatures: {}", names[..count].join(", ")), DATA]),
    })
}

/// Returns the summary with tables of models, failures and attempts below it.
fn full(summary: &str, problem: &Problem, now: Timestamp, budget: Budget) -> String {
    let mut rows = vec!["model,attempts,solved,usd,last".to_owned()];
    rows.extend(problem.models.iter().map(|of| {
        let (attempts, solved) = (of.attempts.to_string(), of.solved.to_string());
        let cost = usd(of.cost, problem.unpriced);
        row([optional(of.model.as_deref()), attempts, solved, cost, age(of.last, now)])
    }));
    if !problem.failures.is_empty() {
        rows.push("failure,count,last,text".to_owned());
    }
    rows.extend(problem.failures.iter().map(|of| {
        let error = text(of.text.as_deref());
        row([name(&of.kind), of.count.to_string(), age(of.last, now), error])
    }));
    rows.push("attempt,age,source,kind,ok,model,usd".to_owned());
    rows.extend(problem.history.iter().flatten().map(|of| {
        row([
            of.event.to_string(),
            age(of.at, now),
            name(&of.source),
            name(&of.kind),
            of.ok.to_string(),
            optional(of.model.as_deref()),
            of.cost.map_or_else(String::new, |cost| usd(cost, 0)),
        ])
    }));
    budget.fill(rows.len(), |count| {
        let mut shown = vec![summary.to_owned()];
        shown.extend_from_slice(&rows[..count]);
        if count < rows.len() {
            let omitted = rows.len() - count;
            shown.push(format!("{omitted} lines left out; use `search`."));
        }
        lines(shown)
    })
}
