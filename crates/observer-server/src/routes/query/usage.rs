//! `GET /v1/usage`: tokens, cost and time by model, source, day or label.

use axum::response::Response;
use observer_core::query::{QueryError, UsageBy, UsageFigures, UsageReport, UsageRequest};

use super::csv::{Csv, row};
use super::parameters::{
    Declared, Kind, LIMIT, MODEL, Parameter, ParametersOf, SINCE, SOURCE, UNTIL,
};
use super::respond::Table;
use super::{DEFAULT_LIMIT, Query, Route};
use crate::problem::Problem;
use crate::request::headers::accept::Media;
use crate::routes::openapi::AnyQuery;

/// Route of usage.
pub(super) struct Usage;

impl Declared for Usage {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::new(
            "by",
            Kind::OneOf(&["model", "source", "day", "label"]),
            "What a row stands for; `model` by default",
        ),
        Parameter::new("label", Kind::Text, "Name of the label, with `by=label`"),
        SOURCE,
        MODEL,
        SINCE,
        UNTIL,
        Parameter::new(
            "tz",
            Kind::Zone,
            "Time zone of days, and of dates in `since` and `until`; UTC by default",
        ),
        LIMIT,
    ];
}

impl Route for Usage {
    const MEDIA: &'static [Media] = &[Media::Json, Media::Csv];
}

/// Returns tokens, cost and time by model, source, day or label.
///
/// Cost is reported by the producer, or else priced; attempts with tokens and without a price are
/// counted as unpriced. As CSV, the report has no total.
#[utoipa::path(
    get,
    path = "/v1/usage",
    params(ParametersOf<Usage>),
    responses(
        (status = 200, description = "The usage", content(
            (UsageReport = "application/json"),
            (String = "text/csv"),
        )),
        AnyQuery
    )
)]
pub(super) async fn get_usage(query: Query<Usage>) -> Result<Response, Problem> {
    let report = query.ask(query.store.usage(query.request()?)).await?;
    Ok(query.respond(&report))
}

impl Query<Usage> {
    fn request(&self) -> Result<UsageRequest, QueryError> {
        let values = &self.values;
        let tz = values.zone("tz")?;
        let (since, until) = values.window(&tz)?;
        let label = values.string("label")?;
        let by = match (values.text("by")?, label) {
            (Some("label"), Some(name)) => UsageBy::Label(name),
            (Some("label"), None) => {
                return Err(QueryError::bad_request("label", "is missing beside `by=label`"));
            }
            (_, Some(_)) => {
                return Err(QueryError::bad_request("label", "needs `by=label`"));
            }
            (_, None) => values.name("by", by_name)?.unwrap_or(UsageBy::Model),
        };
        Ok(UsageRequest {
            scope: self.scope.clone(),
            by,
            source: values.string("source")?,
            model: values.string("model")?,
            since,
            until,
            tz,
            limit: values.count("limit")?.unwrap_or(DEFAULT_LIMIT),
        })
    }
}

fn by_name(name: &str) -> Option<UsageBy> {
    match name {
        "model" => Some(UsageBy::Model),
        "source" => Some(UsageBy::Source),
        "day" => Some(UsageBy::Day),
        _ => None,
    }
}

impl Table for UsageReport {
    fn to_csv(&self) -> Csv {
        let mut csv = Csv::new(&[
            "key",
            "attempts",
            "solved",
            "ci_low",
            "ci_high",
            "input",
            "cached_input",
            "cache_creation_input",
            "output",
            "reasoning",
            "cost",
            "reported",
            "priced",
            "unpriced",
            "unpriced_tokens",
            "turns",
            "duration_ms",
            "p50_ms",
            "p95_ms",
        ]);
        for figures in &self.rows {
            let UsageFigures { key, attempts, solved, ci, tokens, cost, .. } = figures;
            let UsageFigures { reported, priced, unpriced, unpriced_tokens, .. } = figures;
            let UsageFigures { turns, duration_ms, p50_ms, p95_ms, .. } = figures;
            row!(csv;
                key,
                attempts,
                solved,
                ci.low,
                ci.high,
                tokens.input,
                tokens.cached_input,
                tokens.cache_creation_input,
                tokens.output,
                tokens.reasoning,
                cost,
                reported,
                priced,
                unpriced,
                unpriced_tokens,
                turns,
                duration_ms,
                p50_ms,
                p95_ms,
            );
        }
        csv
    }
}
