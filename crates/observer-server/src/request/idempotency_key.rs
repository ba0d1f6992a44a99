//! The `Idempotency-Key` header.

use axum::http::{HeaderMap, HeaderName};
use observer_pipeline::RejectReason;

use crate::problem::Problem;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_LENGTH: usize = 255;
const WHAT_IT_IS: &str = "the header Idempotency-Key has to be there once, with 1 to 255 visible ASCII characters, without spaces and quotes between them";

/// The producer's key, if it sent one.
///
/// The draft (draft-ietf-httpapi-idempotency-key-header) makes it a quoted string, and most clients
/// send it bare; one pair of quotes around it is therefore no part of the key.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let refuse = || {
        Problem::new(axum::http::StatusCode::BAD_REQUEST, WHAT_IT_IS)
            .reason(RejectReason::Malformed)
    };
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refuse());
    }
    let value = value.to_str().map_err(|_| refuse())?;
    let key = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let good = (1..=MAX_LENGTH).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    if good { Ok(Some(key)) } else { Err(refuse()) }
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
    fn a_key_is_taken_bare_or_quoted() {
        check(&[], Ok(None));
        check(&["8e03978e-40d5"], Ok(Some("8e03978e-40d5")));
        check(&[r#""8e03978e-40d5""#], Ok(Some("8e03978e-40d5")));
        check(&[&"k".repeat(255)], Ok(Some(&"k".repeat(255))));
    }

    #[test]
    fn what_can_be_no_key_is_refused() {
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
