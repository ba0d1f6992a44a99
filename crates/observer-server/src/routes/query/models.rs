//! `GET /v1/models`: figures of models, and two of them head to head.

use axum::response::Response;
use jiff::tz::TimeZone;
use observer_core::query::{ModelFigures, Models, ModelsRequest, QueryError};

use super::csv::{Csv, row};
use super::parameters::{Declared, Kind, Parameter, ParametersOf, SINCE, SOURCE, UNTIL};
use super::respond::Table;
use super::{Query, Route};
use crate::problem::Problem;
use crate::request::headers::accept::Media;
use crate::routes::openapi::AnyQuery;

/// Route of models.
pub(super) struct ModelsRoute;

impl Declared for ModelsRoute {
    const PARAMETERS: &'static [Parameter] = &[
        SOURCE,
        Parameter::new("sig_hash", Kind::Text, "Problem whose attempts alone are considered"),
        SINCE,
        UNTIL,
        Parameter::new("by_source", Kind::Flag, "True for a row by model and source"),
        Parameter::new("a", Kind::Text, "First of two models to compare; needs `b`"),
        Parameter::new("b", Kind::Text, "Second of two models to compare; needs `a`"),
    ];
}

impl Route for ModelsRoute {
    const MEDIA: &'static [Media] = &[Media::Json, Media::Csv];
}

/// Returns figures of models: solved attempts with an interval, cost per solved attempt, tokens and
/// durations.
///
/// With `a` and `b`, two models are compared on the problems that both tried.
#[utoipa::path(
    get,
    path = "/v1/models",
    params(ParametersOf<ModelsRoute>),
    responses(
        (status = 200, description = "Figures by model", content(
            (Models = "application/json"),
            (String = "text/csv"),
        )),
        AnyQuery
    )
)]
pub(super) async fn get_models(query: Query<ModelsRoute>) -> Result<Response, Problem> {
    if query.media == Media::Csv {
        query.reject_for_media("a", "application/json")?;
        query.reject_for_media("b", "application/json")?;
    }
    let models = query.ask(query.store.models(query.request()?)).await?;
    Ok(query.respond(&models))
}

impl Query<ModelsRoute> {
    fn request(&self) -> Result<ModelsRequest, QueryError> {
        let values = &self.values;
        let (since, until) = values.window(&TimeZone::UTC)?;
        Ok(ModelsRequest {
            scope: self.scope.clone(),
            source: values.string("source")?,
            sig_hash: values.string("sig_hash")?,
            since,
            until,
            by_source: values.flag("by_source")?.unwrap_or(false),
            compare: ModelsRequest::pair(values.string("a")?, values.string("b")?)?,
        })
    }
}

impl Table for Models {
    fn to_csv(&self) -> Csv {
        let mut csv = Csv::new(&[
            "model",
            "source",
            "attempts",
            "solved",
            "ci_low",
            "ci_high",
            "cost",
            "reported",
            "priced",
            "unpriced",
            "cost_per_solved",
            "input",
            "cached_input",
            "cache_creation_input",
            "output",
            "reasoning",
            "turns",
            "p50_ms",
            "p95_ms",
            "problems",
            "comparable_on",
        ]);
        for figures in &self.models {
            let ModelFigures { model, source, attempts, solved, ci, cost, .. } = figures;
            let ModelFigures { reported, priced, unpriced, cost_per_solved, .. } = figures;
            let ModelFigures { tokens, turns, p50_ms, p95_ms, .. } = figures;
            let ModelFigures { problems, comparable_on, .. } = figures;
            row!(csv;
                model,
                source,
                attempts,
                solved,
                ci.low,
                ci.high,
                cost,
                reported,
                priced,
                unpriced,
                cost_per_solved,
                tokens.input,
                tokens.cached_input,
                tokens.cache_creation_input,
                tokens.output,
                tokens.reasoning,
                turns,
                p50_ms,
                p95_ms,
                problems,
                comparable_on,
            );
        }
        csv
    }
}
