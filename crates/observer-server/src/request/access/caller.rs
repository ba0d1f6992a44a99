//! Caller of a request, as routes see it.

use std::sync::Arc;

use axum::http::StatusCode;
use observer_pipeline::{Principal, RejectReason};

use super::rate::Charge;
use super::scope::{Scope, Scopes};
use crate::problem::Problem;
use crate::request::limits::budget::Holder;
use crate::request::limits::peer::Peer;

/// Limit of a source in an error, in characters.
const MAX_SHOWN: usize = 60;

/// Principal of a request with its permissions: a token, or the anonymous principal.
///
/// The guard adds it to the extensions of each request. The default is an anonymous caller without
/// any scope.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    principal: Principal,
    scopes: Scopes,
    sources: Option<Arc<[String]>>,
    charge: Charge,
    holder: Holder,
}

impl Caller {
    /// Creates a caller without a token.
    pub(crate) fn anonymous(scopes: Scopes) -> Self {
        let principal = Principal::anonymous().with_relay(scopes.contains(Scope::Relay));
        let (charge, holder) = (Charge::default(), Holder::default());
        Self { principal, scopes, sources: None, charge, holder }
    }

    /// Creates a caller with a token.
    pub(crate) fn of_token(
        name: &str,
        scopes: Scopes,
        sources: Option<&[String]>,
        charge: Charge,
    ) -> Self {
        let token = Arc::<str>::from(name);
        let holder = Holder { token: Some(token.clone()), ..Holder::default() };
        let principal = Principal::token(token).with_relay(scopes.contains(Scope::Relay));
        Self { principal, scopes, sources: sources.map(Arc::from), charge, holder }
    }

    /// Sets the peer of the request.
    pub(crate) fn with_peer(mut self, peer: Peer) -> Self {
        self.holder.peer = peer;
        self
    }

    /// Returns the holder of the memory that the request reserves.
    pub(crate) fn holder(&self) -> Holder {
        self.holder.clone()
    }

    /// Returns the principal in whose name the caller's events are ingested.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    pub(crate) fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// Returns whether the caller may read what concerns all sources.
    pub(crate) fn may_read_all_sources(&self) -> bool {
        self.scopes.contains(Scope::Read) && self.sources.is_none()
    }

    /// Returns the sources whose events the caller may send and read; `None` for all.
    pub(crate) fn sources(&self) -> Option<&[String]> {
        self.sources.as_deref()
    }

    /// Returns the rate limits that the request is charged to.
    pub(crate) fn charge(&self) -> &Charge {
        &self.charge
    }

    /// Checks that the caller may send events of this source.
    ///
    /// # Errors
    /// If the token is limited to other sources (403).
    pub(crate) fn check_source(&self, source: &str) -> Result<(), Problem> {
        if let Some(sources) = &self.sources
            && !sources.iter().any(|own| own == source)
        {
            let shown: String = source.chars().take(MAX_SHOWN).collect();
            let detail = format!(
                "{}, and the source of the event is {shown:?}; correct `source`, or add it to the \
                 token's `sources`",
                self.limit(sources)
            );
            return Err(forbidden(detail).field(Some("source")));
        }
        Ok(())
    }

    /// Checks that the caller is not limited to some sources.
    ///
    /// # Errors
    /// If it is (403).
    pub(crate) fn check_all_sources(&self) -> Result<(), Problem> {
        let Some(sources) = &self.sources else { return Ok(()) };
        let detail = format!(
            "{}, and the request concerns the events of all sources; use a token without `sources`",
            self.limit(sources)
        );
        Err(forbidden(detail).challenge("Bearer realm=\"observer\", error=\"insufficient_scope\""))
    }

    fn limit(&self, sources: &[String]) -> String {
        let name = self.principal.label();
        let sources: Vec<_> = sources.iter().map(|source| format!("{source:?}")).collect();
        format!("the token `{name}` is limited to the sources {}", sources.join(", "))
    }
}

impl Default for Caller {
    fn default() -> Self {
        Self::anonymous(Scopes::default())
    }
}

fn forbidden(detail: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail).reason(RejectReason::Forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(scopes: &[Scope], sources: &[&str]) -> Caller {
        let sources: Vec<_> = sources.iter().map(|source| (*source).to_owned()).collect();
        let scopes = scopes.iter().copied().collect();
        Caller::of_token("ci", scopes, Some(&sources), Charge::default())
    }

    fn status(checked: Result<(), Problem>) -> u16 {
        checked.map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    #[test]
    fn source_must_be_one_of_the_token() {
        let anonymous = Caller::anonymous(Scopes::from_iter([Scope::Ingest]));
        let ci = token(&[Scope::Ingest], &["ci", "nightly"]);
        let none = token(&[Scope::Ingest, Scope::Relay], &[]);
        for (caller, source, expected) in [
            (&anonymous, "ci", 200),
            (&ci, "ci", 200),
            (&ci, "nightly", 200),
            (&ci, "CI", 403),
            (&ci, "", 403),
            (&none, "ci", 403),
        ] {
            assert_eq!(status(caller.check_source(source)), expected, "{caller:?} {source}");
        }
    }

    #[test]
    fn limited_caller_may_not_read_all_sources() {
        assert_eq!(status(token(&[Scope::Read], &["ci"]).check_all_sources()), 403);
        assert!(!token(&[Scope::Read], &["ci"]).may_read_all_sources());
        let reader = Caller::anonymous(Scopes::from_iter([Scope::Admin]));
        assert!(reader.check_all_sources().is_ok() && reader.may_read_all_sources());
        assert!(!Caller::default().may_read_all_sources());
    }

    #[test]
    fn long_source_is_truncated_in_the_error() {
        let problem = token(&[], &["ci"]).check_source(&"x".repeat(10_000)).unwrap_err();
        let text = String::from_utf8(problem.to_json()).unwrap();
        assert!(text.len() < 500, "{text}");
    }
}
