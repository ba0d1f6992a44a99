//! Asked for each request.

use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use observer_pipeline::RejectReason;
use subtle::Choice;

use super::rate::{Charge, Limiter};
use super::scope::{Scope, Scopes};
use super::token::{Token, TokenDigest};
use crate::problem::Problem;

/// Who may do what.
///
/// By default everyone may do everything, as befits a server that only its own machine can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The known tokens.
    pub tokens: Vec<Token>,
    /// What those may do who send no token.
    pub anonymous: Scopes,
}

/// Knows the tokens, and how much of its rate each has used up.
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

    /// Whether whoever sent this may do that, and what it is charged to.
    ///
    /// # Errors
    /// 401 without a known token, 403 with one that is for other things (RFC 6750, section 3.1).
    pub(crate) fn admit(&self, headers: &HeaderMap, scope: Scope) -> Result<Charge, Problem> {
        // Where there are no tokens, one that is sent is meant for someone else, such as a proxy on
        // the way.
        if self.anonymous.contains(scope)
            && (self.tokens.is_empty() || !headers.contains_key(AUTHORIZATION))
        {
            return Ok(Charge::default());
        }
        let Some(secret) = bearer(headers)? else {
            let detail = format!(
                "this needs a token with the scope `{}`; send it in the header `Authorization: Bearer TOKEN`",
                scope.as_str()
            );
            return Err(refusal(StatusCode::UNAUTHORIZED, detail, "Bearer realm=\"observer\""));
        };
        let Some((token, limiter)) = self.find(&TokenDigest::of(secret)) else {
            let challenge = "Bearer realm=\"observer\", error=\"invalid_token\"";
            return Err(refusal(
                StatusCode::UNAUTHORIZED,
                "the token is not one that is known here",
                challenge,
            ));
        };
        if token.scopes.contains(scope) || self.anonymous.contains(scope) {
            return Ok(Charge::to(limiter.clone()));
        }
        let detail = format!(
            "the token `{}` is for {}, and this needs the scope `{}`",
            token.name,
            token.scopes,
            scope.as_str()
        );
        Err(refusal(
            StatusCode::FORBIDDEN,
            detail,
            "Bearer realm=\"observer\", error=\"insufficient_scope\"",
        ))
    }

    /// All are compared, so that the time tells nothing about which one it was.
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
            let detail = "the header Authorization has to be there once, with `Bearer` and a token";
            let challenge = "Bearer realm=\"observer\", error=\"invalid_request\"";
            Err(refusal(StatusCode::UNAUTHORIZED, detail, challenge))
        }
    }
}

fn refusal(
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
        let status =
            gate.admit(&headers, scope).map_or_else(|problem| problem.status().as_u16(), |_| 200);
        assert_eq!(status, expected, "{authorization:?} {scope:?}");
    }

    #[test]
    fn a_token_opens_what_it_is_for_and_nothing_else() {
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
    fn what_everyone_may_do_needs_no_token_but_a_wrong_one_is_told() {
        let gate = gate(&[Scope::Ingest]);
        check(&gate, &[], Scope::Ingest, 200);
        check(&gate, &[], Scope::Read, 401);
        check(&gate, &["Bearer other"], Scope::Ingest, 401);
        check(&gate, &["Bearer ops"], Scope::Ingest, 200);
    }

    #[test]
    fn without_tokens_a_header_for_someone_else_does_not_matter() {
        check(&Gate::new(&Access::default()), &["Basic Y2k6"], Scope::Admin, 200);
    }
}
