//! Errors of queries, by what the caller should do next.

use std::borrow::Cow;
use std::error::Error;

/// Error of a query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// A parameter is invalid; the caller should change it.
    #[error("`{parameter}` {detail}")]
    BadRequest {
        /// Name of the parameter, as in the HTTP API.
        parameter: Cow<'static, str>,
        /// Problem, worded to follow the name: `must be from 1 to 1000`.
        detail: String,
    },
    /// The store doesn't hold what was asked for, or the caller may not read it.
    #[error("no {what}")]
    NotFound {
        /// What was asked for, such as `event with the id "7"`.
        what: String,
    },
    /// The store can't be read at the moment; the caller should try again later.
    #[error("the knowledge base can't be read")]
    Unavailable {
        /// Cause, for callers who must not see names of files.
        reason: Cow<'static, str>,
        /// Cause, which may name files.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The query failed for a reason that the caller can't change.
    #[error("the query failed")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

impl QueryError {
    /// Returns an error about a parameter.
    pub fn bad_request(parameter: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::BadRequest { parameter: parameter.into(), detail: detail.into() }
    }

    /// Returns an error of a store that can't be read. `reason` names no files.
    pub fn unavailable(
        reason: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { reason: reason.into(), source: source.into() }
    }

    /// Returns an error about something that the store doesn't hold.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }
}
