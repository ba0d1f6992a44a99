//! Authorization of requests.

use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use observer_pipeline::RejectReason;
use subtle::Choice;

use super::caller::Caller;
use super::rate::{Charge, Limiter};
use super::scope::{Scope, Scopes};
use super::token::{Token, TokenDigest};
use crate::problem::Problem;

/// Access control of a server.
///
/// By default every client has all scopes except for `admin`, which suits a server on a loopback
/// address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Accepted tokens.
    pub tokens: Vec<Token>,
    /// Scopes of requests without a token.
    pub anonymous: Scopes,
}

/// Tokens, each with the caller that it identifies.
#[derive(Debug)]
pub(crate) struct Gate {
    tokens: Vec<(Vec<TokenDigest>, Caller)>,
    anonymous: Caller,
}

impl Default for Access {
    fn default() -> Self {
        Self { tokens: Vec::new(), anonymous: Scopes::ALL_BUT_ADMIN }
    }
}

impl Access {
    /// Returns the effective scopes of requests without a token. While there are no tokens, a
    /// caller that may send events may also relay them.
    #[must_use]
    pub fn anonymous_scopes(&self) -> Scopes {
        if self.tokens.is_empty() && self.anonymous.contains(Scope::Ingest) {
            self.anonymous.union(Scopes::from_iter([Scope::Relay]))
        } else {
            self.anonymous
        }
    }
}

impl Gate {
    pub(crate) fn new(access: &Access) -> Self {
        let anonymous = access.anonymous_scopes();
        let caller = |token: &Token| {
            let limiter = token.rate.map(|rate| Arc::new(Limiter::new(&token.name, rate)));
            Caller::of_token(
                &token.name,
                token.scopes.union(anonymous),
                token.sources.as_deref(),
                Charge::to(limiter),
            )
        };
        let tokens = access.tokens.iter().map(|token| (token.digests.clone(), caller(token)));
        Self { tokens: tokens.collect(), anonymous: Caller::anonymous(anonymous) }
    }

    /// Returns the caller of a request.
    ///
    /// # Errors
    /// If the token is unknown or malformed (401).
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        // Without configured tokens the header is meant for another receiver, such as a proxy.
        if self.tokens.is_empty() {
            return Ok(self.anonymous.clone());
        }
        let Some(secret) = bearer(headers)? else { return Ok(self.anonymous.clone()) };
        self.find(&TokenDigest::of(secret)).cloned().ok_or_else(|| {
            let challenge = "Bearer realm=\"observer\", error=\"invalid_token\"";
            access_problem(StatusCode::UNAUTHORIZED, "unknown token", challenge)
        })
    }

    /// Returns the caller of a request if it has the scope.
    ///
    /// # Errors
    /// If the token is missing, malformed or unknown (401), or lacks the scope (403; RFC 6750,
    /// section 3.1).
    pub(crate) fn authorize(&self, headers: &HeaderMap, scope: Scope) -> Result<Caller, Problem> {
        let caller = self.identify(headers)?;
        if caller.scopes().contains(scope) {
            return Ok(caller);
        }
        let Some(name) = caller.principal().name() else { return Err(missing_token(scope)) };
        let detail = format!(
            "the token `{name}` has the scope {}, and the request needs the scope `{}`",
            caller.scopes(),
            scope.as_str()
        );
        Err(access_problem(
            StatusCode::FORBIDDEN,
            detail,
            "Bearer realm=\"observer\", error=\"insufficient_scope\"",
        ))
    }

    /// Returns the caller of a request if it has any scope.
    ///
    /// # Errors
    /// If it has none; the error is that of `scope`, as by [`authorize`](Self::authorize).
    pub(crate) fn authorize_any(
        &self,
        headers: &HeaderMap,
        scope: Scope,
    ) -> Result<Caller, Problem> {
        let caller = self.identify(headers)?;
        if caller.scopes().is_empty() { self.authorize(headers, scope) } else { Ok(caller) }
    }

    /// Finds a token by its digest. All are compared, so that the time does not depend on which one
    /// matches.
    fn find(&self, digest: &TokenDigest) -> Option<&Caller> {
        self.tokens.iter().fold(None, |found, (digests, caller)| {
            let matches =
                digests.iter().fold(Choice::from(0), |any, known| any | known.matches(digest));
            if matches.into() { Some(caller) } else { found }
        })
    }
}

/// Returns the problem of a request that needs a scope which anonymous callers don't have.
fn missing_token(scope: Scope) -> Problem {
    let mut detail = format!(
        "the request needs a token with the scope `{}`; send it in the header `Authorization: \
         Bearer TOKEN`",
        scope.as_str()
    );
    if scope == Scope::Admin {
        detail.push_str(
            ", or use the command line on the observer's machine, which connects to \
             `access.admin_socket` and needs no token, or add the scope to `access.anonymous`",
        );
    }
    access_problem(StatusCode::UNAUTHORIZED, detail, "Bearer realm=\"observer\"")
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let token = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().ok().and_then(|value| value.split_once(' ')),
        (Some(_), Some(_)) => None,
    };
    match token {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() =>
        {
            Ok(Some(token.trim()))
        }
        _ => {
            let detail = "malformed header Authorization; send it once, as `Bearer TOKEN`";
            let challenge = "Bearer realm=\"observer\", error=\"invalid_request\"";
            Err(access_problem(StatusCode::UNAUTHORIZED, detail, challenge))
        }
    }
}

fn access_problem(
    status: StatusCode,
    detail: impl Into<std::borrow::Cow<'static, str>>,
    challenge: &'static str,
) -> Problem {
    let reason = if status == StatusCode::FORBIDDEN {
        RejectReason::Forbidden
    } else {
        RejectReason::Unauthorized
    };
    Problem::new(status, detail).reason(reason).challenge(challenge)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn gate(anonymous: &[Scope]) -> Gate {
        let token = |name: &str, secrets: &[&str], scopes: &[Scope]| Token {
            name: name.to_owned(),
            digests: secrets.iter().map(|secret| TokenDigest::of(secret)).collect(),
            scopes: scopes.iter().copied().collect(),
            sources: None,
            rate: None,
        };
        Gate::new(&Access {
            tokens: vec![
                token("ci", &["ci-old", "ci-new"], &[Scope::Ingest]),
                token("ops", &["ops"], &[Scope::Admin]),
            ],
            anonymous: anonymous.iter().copied().collect(),
        })
    }

    #[track_caller]
    fn check(gate: &Gate, authorization: &[&str], scope: Scope, expected: u16) {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let status = gate
            .authorize(&headers, scope)
            .map_or_else(|problem| problem.status().as_u16(), |_| 200);
        assert_eq!(status, expected, "{authorization:?} {scope:?}");
    }

    #[test]
    fn token_permits_only_its_scopes() {
        let gate = gate(&[]);
        for scope in Scope::ALL {
            check(&gate, &[], scope, 401);
            check(&gate, &["Bearer other"], scope, 401);
            check(&gate, &["Bearer ci"], scope, 401);
            check(&gate, &["Basic Y2k6"], scope, 401);
            check(&gate, &["Bearer"], scope, 401);
            check(&gate, &["Bearer "], scope, 401);
            check(&gate, &["Bearer ops", "Bearer ops"], scope, 401);
            check(&gate, &["Bearer \u{e9}"], scope, 401);
        }
        for secret in ["Bearer ci-old", "bearer ci-new", "BEARER  ci-new "] {
            check(&gate, &[secret], Scope::Ingest, 200);
            check(&gate, &[secret], Scope::Read, 403);
            check(&gate, &[secret], Scope::Admin, 403);
        }
        check(&gate, &["Bearer ops"], Scope::Ingest, 403);
        check(&gate, &["Bearer ops"], Scope::Relay, 403);
        check(&gate, &["Bearer ops"], Scope::Admin, 200);
        check(&gate, &["Bearer ops"], Scope::Read, 200);
    }

    #[test]
    fn caller_is_the_token_or_anonymous() {
        let gate = gate(&[Scope::Ingest]);
        let of = |value: &'static str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            gate.identify(&headers).ok()
        };
        let ops = of("Bearer ops").unwrap();
        assert_eq!(ops.principal().name(), Some("ops"));
        assert!(ops.scopes().contains(Scope::Ingest), "a token has the anonymous scopes, too");
        assert!(of("Bearer other").is_none());
        let anonymous = gate.identify(&HeaderMap::new()).unwrap();
        let anonymous = anonymous.principal();
        assert!(anonymous.name().is_none() && !anonymous.may_relay());
    }

    #[test]
    fn anonymous_callers_may_relay_while_there_are_no_tokens() {
        let access = |anonymous: &[Scope]| Access {
            tokens: Vec::new(),
            anonymous: anonymous.iter().copied().collect(),
        };
        assert!(access(&[Scope::Ingest]).anonymous_scopes().contains(Scope::Relay));
        assert!(!access(&[Scope::Read]).anonymous_scopes().contains(Scope::Relay));
        let caller = Gate::new(&Access::default()).identify(&HeaderMap::new()).unwrap();
        assert!(caller.principal().may_relay() && !caller.scopes().contains(Scope::Admin));
    }

    #[test]
    fn anonymous_scopes_need_no_token_but_reject_an_unknown_one() {
        let gate = gate(&[Scope::Ingest]);
        check(&gate, &[], Scope::Ingest, 200);
        check(&gate, &[], Scope::Read, 401);
        check(&gate, &["Bearer other"], Scope::Ingest, 401);
        check(&gate, &["Bearer ops"], Scope::Ingest, 200);
    }

    #[test]
    fn authorization_header_is_ignored_without_configured_tokens() {
        let gate = Gate::new(&Access::default());
        check(&gate, &["Basic Y2k6"], Scope::Read, 200);
        check(&gate, &["Basic Y2k6"], Scope::Admin, 401);
    }
}
