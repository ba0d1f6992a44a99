//! `GET /v1/hints`: attempts with a hint against those without.

use axum::response::Response;
use jiff::tz::TimeZone;
use observer_core::query::{HintFigures, Hints, HintsRequest, QueryError};

use super::csv::{Csv, row};
use super::parameters::{Declared, MODEL, Parameter, ParametersOf, SINCE, SOURCE, UNTIL};
use super::respond::Table;
use super::{Query, Route};
use crate::problem::Problem;
use crate::request::headers::accept::Media;
use crate::routes::openapi::AnyQuery;

/// Route of the effect of hints.
pub(super) struct HintsRoute;

impl Declared for HintsRoute {
    const PARAMETERS: &'static [Parameter] = &[SOURCE, MODEL, SINCE, UNTIL];
}

impl Route for HintsRoute {
    const MEDIA: &'static [Media] = &[Media::Json, Media::Csv];
}

/// Returns figures of attempts that had a hint (`labels.hint_id`), and of those without.
#[utoipa::path(
    get,
    path = "/v1/hints",
    params(ParametersOf<HintsRoute>),
    responses(
        (status = 200, description = "The figures", content(
            (Hints = "application/json"),
            (String = "text/csv"),
        )),
        AnyQuery
    )
)]
pub(super) async fn get_hints(query: Query<HintsRoute>) -> Result<Response, Problem> {
    let hints = query.ask(query.store.hints(query.request()?)).await?;
    Ok(query.respond(&hints))
}

impl Query<HintsRoute> {
    fn request(&self) -> Result<HintsRequest, QueryError> {
        let (since, until) = self.values.window(&TimeZone::UTC)?;
        Ok(HintsRequest {
            scope: self.scope.clone(),
            source: self.values.string("source")?,
            model: self.values.string("model")?,
            since,
            until,
        })
    }
}

impl Table for Hints {
    fn to_csv(&self) -> Csv {
        let mut csv = Csv::new(&[
            "hint",
            "attempts",
            "solved",
            "ci_low",
            "ci_high",
            "cost",
            "unpriced",
            "cost_per_solved",
        ]);
        for (hint, figures) in [(true, &self.with), (false, &self.without)] {
            let HintFigures { attempts, solved, ci, cost, unpriced, cost_per_solved } = figures;
            row!(csv; hint, attempts, solved, ci.low, ci.high, cost, unpriced, cost_per_solved);
        }
        csv
    }
}
