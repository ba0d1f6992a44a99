//! `GET /v1/signatures`: problems by state.

use axum::response::Response;
use jiff::tz::TimeZone;
use observer_core::query::{
    ProblemPage, ProblemRow, ProblemSort, ProblemState, ProblemsRequest, QueryError,
};

use super::csv::{Csv, row};
use super::parameters::{CURSOR, Declared, Kind, LIMIT, Parameter, ParametersOf};
use super::respond::Table;
use super::{DEFAULT_LIMIT, Query, Route};
use crate::problem::Problem;
use crate::request::headers::accept::Media;
use crate::routes::openapi::AnyQuery;

/// Names of the states.
const STATES: &[&str] = &["new", "failing", "broken", "flaky", "fixed?", "fixed", "regressed"];

/// Route of problems by state.
pub(super) struct Problems;

impl Declared for Problems {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::new("state", Kind::AnyOf(STATES), "State of the problem; any of several"),
        Parameter::new("source", Kind::Text, "Source that made an attempt"),
        Parameter::new("model", Kind::Text, "Model that made an attempt"),
        Parameter::new("since", Kind::Time, "Earliest time of the last attempt"),
        Parameter::new("until", Kind::Time, "Time before which the last attempt was made"),
        Parameter::new(
            "sort",
            Kind::OneOf(&["wasted", "recent"]),
            "Order: highest cost without a solution first, which is the default, or latest attempt \
             first",
        ),
        LIMIT,
        CURSOR,
    ];
}

impl Route for Problems {
    const MEDIA: &'static [Media] = &[Media::Json, Media::Csv];
}

/// Returns problems by state, those with the highest wasted cost first.
///
/// The header `Link` has the address of the next page.
#[utoipa::path(
    get,
    path = "/v1/signatures",
    params(ParametersOf<Problems>),
    responses(
        (status = 200, description = "A page of problems", content(
            (ProblemPage = "application/json"),
            (String = "text/csv"),
        )),
        AnyQuery
    )
)]
pub(super) async fn get_signatures(query: Query<Problems>) -> Result<Response, Problem> {
    let page = query.ask(query.store.problems(query.request()?)).await?;
    Ok(query.link_next(query.respond(&page), page.cursor.as_deref()))
}

impl Query<Problems> {
    fn request(&self) -> Result<ProblemsRequest, QueryError> {
        let values = &self.values;
        let (since, until) = values.window(&TimeZone::UTC)?;
        let sort = |name: &str| match name {
            "wasted" => Some(ProblemSort::Wasted),
            "recent" => Some(ProblemSort::Recent),
            _ => None,
        };
        Ok(ProblemsRequest {
            scope: self.scope.clone(),
            states: values.names("state", ProblemState::from_name)?,
            source: values.string("source")?,
            model: values.string("model")?,
            since,
            until,
            sort: values.name("sort", sort)?.unwrap_or_default(),
            limit: values.count("limit")?.unwrap_or(DEFAULT_LIMIT),
            cursor: values.string("cursor")?,
        })
    }
}

impl Table for ProblemPage {
    fn to_csv(&self) -> Csv {
        let mut csv = Csv::new(&[
            "sig_hash",
            "state",
            "since",
            "first_seen",
            "last_seen",
            "attempts",
            "solved",
            "cost",
            "wasted",
            "unpriced",
            "last_kind",
            "last_model",
        ]);
        for problem in &self.problems {
            let ProblemRow { sig_hash, state, since, first_seen, last_seen, .. } = problem;
            let ProblemRow { attempts, solved, cost, wasted, unpriced, .. } = problem;
            row!(csv;
                sig_hash,
                state.as_str(),
                since,
                first_seen,
                last_seen,
                attempts,
                solved,
                cost,
                wasted,
                unpriced,
                problem.last_kind,
                problem.last_model,
            );
        }
        csv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_has_every_state() {
        assert_eq!(STATES, ProblemState::ALL.map(ProblemState::as_str));
    }
}
