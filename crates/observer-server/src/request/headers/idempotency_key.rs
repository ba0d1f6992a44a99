//! The `Idempotency-Key` header.

use axum::http::{HeaderMap, HeaderName};
use observer_pipeline::RejectReason;

use crate::problem::Problem;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_LENGTH: usize = 255;
const INVALID: &str = "invalid header Idempotency-Key; send it once, with 1 to 255 visible ASCII \
                       characters without quotes";

/// Returns the idempotency key of a request, if it has one.
///
/// The key is a quoted string in draft-ietf-httpapi-idempotency-key-header, but most clients send
/// it without quotes. One pair of quotes around it is therefore not part of the key.
///
/// # Errors
/// If the key is invalid or repeated (400).
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let invalid = || {
        Problem::new(axum::http::StatusCode::BAD_REQUEST, INVALID).reason(RejectReason::Malformed)
    };
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid());
    }
    let value = value.to_str().map_err(|_| invalid())?;
    let key = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let good = (1..=MAX_LENGTH).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    if good { Ok(Some(key)) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(values: &[&str], expected: Result<Option<&str>, ()>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        assert_eq!(idempotency_key(&headers).map_err(|_| ()), expected, "{values:?}");
    }

    #[test]
    fn key_may_be_bare_or_quoted() {
        check(&[], Ok(None));
        check(&["8e03978e-40d5"], Ok(Some("8e03978e-40d5")));
        check(&[r#""8e03978e-40d5""#], Ok(Some("8e03978e-40d5")));
        check(&[&"k".repeat(255)], Ok(Some(&"k".repeat(255))));
    }

    #[test]
    fn invalid_keys_are_rejected() {
        check(&[""], Err(()));
        check(&[r#"""#], Err(()));
        check(&[r#""""#], Err(()));
        check(&[r#"a"b"#], Err(()));
        check(&["a b"], Err(()));
        check(&["clé"], Err(()));
        check(&[&"k".repeat(256)], Err(()));
        check(&["one", "two"], Err(()));
    }
}
