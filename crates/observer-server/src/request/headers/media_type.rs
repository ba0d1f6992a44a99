//! Check that requests that change state declare JSON, against cross-site request forgery.
//!
//! Browsers send forms and plain text to other sites without a CORS preflight request. For JSON
//! they send one, which is rejected. A page can send a body without a type only together with the
//! header `Origin`.

use axum::http::header::{CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use observer_pipeline::RejectReason;

use crate::problem::Problem;

/// Checks the content type of a request.
///
/// # Errors
/// If the request declares another type, or declares none and has an `Origin` (415).
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let text = match (values.next(), values.next()) {
        (None, _) if !headers.contains_key(ORIGIN) => return Ok(()),
        (None, _) => "(missing)",
        (Some(value), None) => value.to_str().unwrap_or("(not ASCII)"),
        (Some(_), Some(_)) => "(several values)",
    };
    if is_json(text.split(';').next().unwrap_or_default().trim()) {
        return Ok(());
    }
    let detail = format!(
        "unsupported Content-Type {text:?}; send `application/json`, or `application/x-ndjson` for \
         lines; with curl, use `--json` instead of `-d`"
    );
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).reason(RejectReason::NotJson))
}

fn is_json(essence: &str) -> bool {
    const TYPES: [&str; 5] = [
        "application/json",
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonl",
    ];
    TYPES.iter().any(|json| essence.eq_ignore_ascii_case(json))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[track_caller]
    fn check(headers: &[(HeaderName, &'static str)], accepted: bool) {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let headers: HeaderMap = headers.fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        });
        assert_eq!(super::check(&headers).is_ok(), accepted, "{headers:?}");
    }

    #[test]
    fn json_and_json_lines_are_accepted() {
        check(&[(CONTENT_TYPE, "application/json")], true);
        check(&[(CONTENT_TYPE, "Application/JSON; charset=utf-8")], true);
        check(&[(CONTENT_TYPE, "application/x-ndjson")], true);
        check(&[(CONTENT_TYPE, "application/json"), (ORIGIN, "http://localhost:3800")], true);
    }

    #[test]
    fn types_without_a_preflight_are_rejected() {
        check(&[(CONTENT_TYPE, "text/plain;charset=UTF-8")], false);
        check(&[(CONTENT_TYPE, "application/x-www-form-urlencoded")], false);
        check(&[(CONTENT_TYPE, "multipart/form-data; boundary=application/json")], false);
        check(&[(CONTENT_TYPE, "text/plain"), (CONTENT_TYPE, "application/json")], false);
        check(&[(CONTENT_TYPE, "")], false);
        check(&[(ORIGIN, "null")], false);
        check(&[], true);
    }
}
