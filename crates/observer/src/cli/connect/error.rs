//! Descriptions of failed requests.

use std::error::Error;

use reqwest::StatusCode;
use serde::Deserialize;

/// Limit of the text of a response that is shown, in characters.
const MAX_DETAIL: usize = 300;

/// Problem details of RFC 9457.
#[derive(Default, Deserialize)]
struct ProblemDetails {
    title: Option<String>,
    detail: Option<String>,
}

/// Returns the innermost cause, since the outer ones add no information.
pub(in crate::cli) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Returns the detail of an error response in one line.
pub(in crate::cli) fn detail(status: StatusCode, body: &[u8]) -> String {
    let ProblemDetails { title, detail } = serde_json::from_slice(body).unwrap_or_default();
    let text = detail.or(title).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let line = one_line(&text);
    if line.is_empty() {
        status.canonical_reason().unwrap_or("with an empty body").to_owned()
    } else {
        line
    }
}

/// Joins the words of a text with single spaces and truncates it.
pub(in crate::cli) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_DETAIL).collect()
}
