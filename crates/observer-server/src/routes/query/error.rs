//! Errors of a store as problem details.

use std::borrow::Cow;

use axum::http::StatusCode;
use observer_core::query::QueryError;

use crate::problem::Problem;

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let detail = error.to_string();
        match error {
            QueryError::BadRequest { parameter, .. } => {
                Self::new(StatusCode::BAD_REQUEST, detail).field(Some(parameter))
            }
            QueryError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, detail),
            QueryError::Unavailable(source) => {
                tracing::warn!(
                    error = observer_core::report(source.as_ref()),
                    "the knowledge base could not be read"
                );
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            }
            // The causes may name files, which concern the operator alone.
            error => {
                tracing::error!(error = observer_core::report(&error), "a query failed");
                let detail: Cow<'static, str> = "the query failed; the log has the reason".into();
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_says_who_should_act() {
        let cause = || Box::from("disk I/O error at /var/kb");
        for (error, status, text) in [
            (
                QueryError::bad_request("limit", "must be from 1 to 1000"),
                400,
                r#""detail":"`limit` must be from 1 to 1000","field":"limit""#,
            ),
            (QueryError::not_found("event"), 404, r#""detail":"no event""#),
            (QueryError::Unavailable(cause()), 503, "the knowledge base can't be read"),
            (QueryError::Internal(cause()), 500, "the query failed; the log has the reason"),
        ] {
            let problem = Problem::from(error);
            let body = String::from_utf8(problem.to_json()).unwrap();
            assert_eq!(problem.status().as_u16(), status);
            assert!(body.contains(text) && !body.contains("/var"), "{body}");
        }
    }
}
