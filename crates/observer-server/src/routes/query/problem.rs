//! `GET /v1/signatures/{sig_hash}`: what happened before on one problem.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::response::Response;
use observer_core::query::{
    Attempt, MAX_LIMIT, Problem as History, ProblemRequest, QueryError, SummaryRequest,
    SummaryStyle,
};

use super::csv::{Csv, row};
use super::parameters::{Declared, Kind, Parameter, ParametersOf};
use super::respond::{Table, respond};
use super::{DEFAULT_LIMIT, Query, Route};
use crate::problem::Problem;
use crate::request::headers::accept::Media;
use crate::routes::openapi::AnyQuery;

/// Largest number of characters of a summary, if the request has none.
const DEFAULT_MAX_CHARS: usize = 1_000;
/// Number of known signatures that the error about an unknown one names.
const MAX_SIMILAR: usize = 3;

/// Route of one problem.
pub(super) struct OneProblem;

impl Declared for OneProblem {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::new("model", Kind::Text, "Model whose attempts alone are considered"),
        Parameter::new(
            "history",
            Kind::Count { min: 0, max: MAX_LIMIT },
            "Largest number of attempts to list, newest first; 0 by default in JSON, and 100 in CSV",
        ),
        Parameter::new(
            "transitions",
            Kind::Count { min: 0, max: MAX_LIMIT },
            "Largest number of changes of the state to list, newest first; 0 by default",
        ),
        Parameter::new(
            "max_chars",
            Kind::Count { min: 100, max: 10_000 },
            "Largest number of characters of the summary; 1,000 by default",
        ),
        Parameter::new(
            "sig_hash",
            Kind::Text,
            "Signature of the problem, instead of the one in the path; for `.` and `..`",
        ),
    ];
}

impl Route for OneProblem {
    const MEDIA: &'static [Media] = &[Media::Json, Media::Markdown, Media::Text, Media::Csv];
}

/// Returns what happened before on one problem: by model, at what cost, why it failed, what solved
/// it, and what to try next.
///
/// As Markdown or text, it is a summary for the prompt of an agent. As CSV, it is the list of
/// attempts.
#[utoipa::path(
    get,
    path = "/v1/signatures/{sig_hash}",
    params(
        ("sig_hash" = String, Path, description = "Signature of the problem"),
        ParametersOf<OneProblem>
    ),
    responses(
        (status = 200, description = "What is known of the problem", content(
            (History = "application/json"),
            (String = "text/markdown"),
            (String = "text/plain"),
            (String = "text/csv"),
        )),
        AnyQuery
    )
)]
pub(super) async fn get_signature(
    sig_hash: Result<Path<String>, PathRejection>,
    query: Query<OneProblem>,
) -> Result<Response, Problem> {
    let Path(sig_hash) =
        sig_hash.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let sig_hash = query.values.segment(sig_hash, "sig_hash")?;
    let style = match query.media {
        Media::Markdown => SummaryStyle::Markdown,
        Media::Text => SummaryStyle::Prompt,
        _ => return query.history(sig_hash).await,
    };
    query.reject_for_media("history", "application/json or text/csv")?;
    query.reject_for_media("transitions", "application/json")?;
    let request = query.summary_request(sig_hash, style)?;
    let summary = query.ask(query.store.summary(request)).await?;
    Ok(respond(query.media, summary.text + "\n"))
}

impl Query<OneProblem> {
    async fn history(&self, sig_hash: String) -> Result<Response, Problem> {
        self.reject_for_media("max_chars", "text/markdown or text/plain")?;
        if self.media == Media::Csv {
            self.reject_for_media("transitions", "application/json")?;
        }
        let request = self.history_request(sig_hash.clone())?;
        let found = async {
            match self.store.problem(request).await {
                Err(QueryError::NotFound { .. }) => self.unknown(sig_hash).await.map(Err),
                found => found.map(Ok),
            }
        };
        let problem = self.ask(found).await??;
        Ok(self.respond(&problem))
    }

    fn history_request(&self, sig_hash: String) -> Result<ProblemRequest, QueryError> {
        let default = if self.media == Media::Csv { DEFAULT_LIMIT } else { 0 };
        Ok(ProblemRequest {
            scope: self.scope.clone(),
            sig_hash,
            model: self.values.string("model")?,
            history: self.values.count("history")?.unwrap_or(default),
            transitions: self.values.count("transitions")?.unwrap_or(0),
        })
    }

    fn summary_request(
        &self,
        sig_hash: String,
        style: SummaryStyle,
    ) -> Result<SummaryRequest, QueryError> {
        Ok(SummaryRequest {
            scope: self.scope.clone(),
            sig_hash,
            model: self.values.string("model")?,
            style,
            max_chars: self.values.count("max_chars")?.unwrap_or(DEFAULT_MAX_CHARS),
        })
    }

    /// Returns the problem details about an unknown signature, with known ones that resemble it.
    async fn unknown(&self, sig_hash: String) -> Result<Problem, QueryError> {
        let mut detail = format!("no attempts at the problem {sig_hash:?}");
        if let Some(model) = self.values.text("model")? {
            detail.push_str(&format!(" by the model {model:?}"));
        }
        let similar = self
            .store
            .similar_signatures(self.scope.clone(), sig_hash.clone(), MAX_SIMILAR)
            .await?;
        let similar: Vec<_> = similar
            .iter()
            .filter(|similar| **similar != sig_hash)
            .map(|similar| format!("{similar:?}"))
            .collect();
        if !similar.is_empty() {
            detail.push_str(&format!("; similar signatures are {}", similar.join(", ")));
        }
        Ok(Problem::new(StatusCode::NOT_FOUND, detail))
    }
}

impl Table for History {
    fn to_csv(&self) -> Csv {
        let mut csv = Csv::new(&[
            "at",
            "source",
            "kind",
            "ok",
            "model",
            "version",
            "cost",
            "duration_ms",
            "text",
            "event",
            "corrects",
        ]);
        for attempt in self.history.iter().flatten() {
            let Attempt { at, source, kind, ok, model, version, cost, .. } = attempt;
            let Attempt { duration_ms, text, event, corrects, .. } = attempt;
            row!(csv;
                at, source, kind, ok, model, version, cost, duration_ms, text, event, corrects,
            );
        }
        csv
    }
}
