//! `GET /v1/diff`: what changed since a moment.

use axum::response::Response;
use jiff::tz::TimeZone;
use observer_core::query::{Change, Diff, DiffEntry, DiffRequest, DiffSide, QueryError};

use super::csv::Csv;
use super::parameters::{Declared, Kind, LIMIT, MODEL, Parameter, ParametersOf, SOURCE};
use super::respond::Table;
use super::{DEFAULT_LIMIT, Query, Route};
use crate::problem::Problem;
use crate::request::headers::accept::Media;
use crate::routes::openapi::AnyQuery;

/// Names of the changes.
const CHANGES: &[&str] = &["failed", "fixed", "dearer", "slower", "no_longer_run"];

/// Route of changes.
pub(super) struct DiffRoute;

impl Declared for DiffRoute {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::new("since", Kind::RequiredTime, "Moment that separates before from after"),
        Parameter::new("change", Kind::AnyOf(CHANGES), "Change to report; any of several"),
        SOURCE,
        MODEL,
        LIMIT,
    ];
}

impl Route for DiffRoute {
    const MEDIA: &'static [Media] = &[Media::Json, Media::Csv];
}

/// Returns what changed since a moment, by problem: what failed, was fixed, became dearer or
/// slower, or is no longer run.
#[utoipa::path(
    get,
    path = "/v1/diff",
    params(ParametersOf<DiffRoute>),
    responses(
        (status = 200, description = "The changes", content(
            (Diff = "application/json"),
            (String = "text/csv"),
        )),
        AnyQuery
    )
)]
pub(super) async fn get_diff(query: Query<DiffRoute>) -> Result<Response, Problem> {
    let diff = query.ask(query.store.diff(query.request()?)).await?;
    Ok(query.respond(&diff))
}

impl Query<DiffRoute> {
    fn request(&self) -> Result<DiffRequest, QueryError> {
        let values = &self.values;
        let since = values.time("since", &TimeZone::UTC)?.ok_or_else(|| {
            QueryError::bad_request("since", "is missing; give a moment such as 24h or 2026-11-22")
        })?;
        let change = |name: &str| Change::ALL.into_iter().find(|change| change.as_str() == name);
        Ok(DiffRequest {
            scope: self.scope.clone(),
            since,
            source: values.string("source")?,
            model: values.string("model")?,
            changes: values.names("change", change)?,
            limit: values.count("limit")?.unwrap_or(DEFAULT_LIMIT),
        })
    }
}

impl Table for Diff {
    fn to_csv(&self) -> Csv {
        let mut csv = Csv::new(&[
            "sig_hash",
            "change",
            "before_attempts",
            "before_solved",
            "before_last_kind",
            "before_last_model",
            "before_last",
            "before_mean_cost",
            "before_mean_ms",
            "after_attempts",
            "after_solved",
            "after_last_kind",
            "after_last_model",
            "after_last",
            "after_mean_cost",
            "after_mean_ms",
        ]);
        for DiffEntry { sig_hash, change, before, after } in &self.entries {
            csv.cell(sig_hash);
            csv.cell(change.as_str());
            write_side(&mut csv, Some(before));
            write_side(&mut csv, after.as_ref());
            csv.end_row();
        }
        csv
    }
}

fn write_side(csv: &mut Csv, side: Option<&DiffSide>) {
    csv.cell(&side.map(|side| side.attempts));
    csv.cell(&side.map(|side| side.solved));
    csv.cell(&side.map(|side| &*side.last_kind));
    csv.cell(&side.and_then(|side| side.last_model.as_deref()));
    csv.cell(&side.map(|side| side.last));
    csv.cell(&side.and_then(|side| side.mean_cost));
    csv.cell(&side.and_then(|side| side.mean_ms));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_has_every_change() {
        assert_eq!(CHANGES, Change::ALL.map(Change::as_str));
    }
}
