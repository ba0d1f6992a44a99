//! Authorization of requests.

use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use observer_pipeline::RejectReason;
use subtle::Choice;

use super::rate::{Charge, Limiter};
use super::scope::{Scope, Scopes};
use super::token::{Token, TokenDigest};
use crate::problem::Problem;

/// Access control of a server.
///
/// By default every client has all scopes, which suits a server on a loopback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Accepted tokens.
    pub tokens: Vec<Token>,
    /// Scopes of requests without a token.
    pub anonymous: Scopes,
}

/// Tokens with their rate limiters.
#[derive(Debug)]
pub(crate) struct Gate {
    tokens: Vec<(Token, Option<Arc<Limiter>>)>,
    anonymous: Scopes,
}

impl Default for Access {
    fn default() -> Self {
        Self { tokens: Vec::new(), anonymous: Scopes::ALL }
    }
}

impl Gate {
    pub(crate) fn new(access: &Access) -> Self {
        let limited = |token: &Token| {
            (token.clone(), token.rate.map(|rate| Arc::new(Limiter::new(&token.name, rate))))
        };
        Self { tokens: access.tokens.iter().map(limited).collect(), anonymous: access.anonymous }
    }

    /// Checks that the request has the scope, and returns the limiter that it is charged to.
    ///
    /// # Errors
    /// If the token is missing or unknown (401), or lacks the scope (403; RFC 6750, section 3.1).
    pub(crate) fn authorize(&self, headers: &HeaderMap, scope: Scope) -> Result<Charge, Problem> {
        // Without configured tokens the header is meant for another receiver, such as a proxy.
        if self.anonymous.contains(scope)
            && (self.tokens.is_empty() || !headers.contains_key(AUTHORIZATION))
        {
            return Ok(Charge::default());
        }
        let Some(secret) = bearer(headers)? else {
            let detail = format!(
                "the request needs a token with the scope `{}`; send it in the header \
                 `Authorization: Bearer TOKEN`",
                scope.as_str()
            );
            return Err(access_problem(
                StatusCode::UNAUTHORIZED,
                detail,
                "Bearer realm=\"observer\"",
            ));
        };
        let Some((token, limiter)) = self.find(&TokenDigest::of(secret)) else {
            let challenge = "Bearer realm=\"observer\", error=\"invalid_token\"";
            return Err(access_problem(StatusCode::UNAUTHORIZED, "unknown token", challenge));
        };
        if token.scopes.contains(scope) || self.anonymous.contains(scope) {
            return Ok(Charge::to(limiter.clone()));
        }
        let detail = format!(
            "the token `{}` has the scope {}, and the request needs the scope `{}`",
            token.name,
            token.scopes,
            scope.as_str()
        );
        Err(access_problem(
            StatusCode::FORBIDDEN,
            detail,
            "Bearer realm=\"observer\", error=\"insufficient_scope\"",
        ))
    }

    /// Finds a token by its digest. All are compared, so that the time does not depend on which one
    /// matches.
    fn find(&self, digest: &TokenDigest) -> Option<&(Token, Option<Arc<Limiter>>)> {
        self.tokens.iter().fold(None, |found, token| {
            let matches = token
                .0
                .digests
                .iter()
                .fold(Choice::from(0), |any, known| any | known.matches(digest));
            if matches.into() { Some(token) } else { found }
        })
    }
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
            rate: None,
        };
        Gate::new(&Access {
            tokens: vec![
                token("ci", &["ci-old", "ci-new"], &[Scope::Ingest]),
                token("ops", &["ops"], &[Scope::Read, Scope::Admin]),
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
        check(&gate, &["Bearer ops"], Scope::Read, 200);
        check(&gate, &["Bearer ops"], Scope::Admin, 200);
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
        check(&Gate::new(&Access::default()), &["Basic Y2k6"], Scope::Admin, 200);
    }
}
