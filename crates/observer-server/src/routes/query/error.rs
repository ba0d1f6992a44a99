//! Errors of a store as problem details.

use std::borrow::Cow;

use axum::http::StatusCode;
use observer_core::query::QueryError;

use crate::problem::Problem;

impl From<QueryError> for Problem {
    /// Returns the problem details for callers who don't operate the observer.
    fn from(error: QueryError) -> Self {
        of_query(error, false)
    }
}

/// Returns the problem details of an error. Only those for an operator name files.
pub(super) fn of_query(error: QueryError, is_operator: bool) -> Problem {
    let detail = error.to_string();
    match error {
        QueryError::BadRequest { parameter, .. } => {
            Problem::new(StatusCode::BAD_REQUEST, detail).field(Some(parameter))
        }
        QueryError::NotFound { .. } => Problem::new(StatusCode::NOT_FOUND, detail),
        QueryError::Unavailable { reason, source } => {
            let cause = observer_core::report(source.as_ref());
            tracing::warn!(error = cause, "the knowledge base could not be read");
            let shown = if is_operator { &*cause } else { &*reason };
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{detail}: {shown}"))
        }
        error => {
            let cause = observer_core::report(&error);
            tracing::error!(error = cause, "a query failed");
            let detail: Cow<'static, str> = match is_operator {
                true => cause.into(),
                false => "the query failed; the log has the reason".into(),
            };
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_says_who_should_act() {
        let cause = || Box::from("disk I/O error at /var/kb");
        let unavailable = || QueryError::unavailable("disk I/O error", "disk I/O error at /var/kb");
        let failed = r#""detail":"the query failed; the log has the reason""#;
        for (error, is_operator, status, text) in [
            (
                QueryError::bad_request("limit", "must be from 1 to 1000"),
                false,
                400,
                r#""detail":"`limit` must be from 1 to 1000","field":"limit""#,
            ),
            (QueryError::not_found("event"), false, 404, r#""detail":"no event""#),
            (unavailable(), false, 503, r#"the knowledge base can't be read: disk I/O error""#),
            (unavailable(), true, 503, r#"can't be read: disk I/O error at /var/kb""#),
            (QueryError::Internal(cause()), false, 500, failed),
            (QueryError::Internal(cause()), true, 500, "failed: disk I/O error at /var/kb"),
        ] {
            let problem = of_query(error, is_operator);
            let body = String::from_utf8(problem.to_json()).unwrap();
            assert_eq!(problem.status().as_u16(), status);
            assert!(body.contains(text), "{body}");
            assert!(is_operator || !body.contains("/var"), "{body}");
        }
    }
}
