//! Content negotiation by the header `Accept` (RFC 9110, section 12.5.1).

use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};

use crate::problem::Problem;

/// Media type of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    /// JSON Lines: one object per line.
    JsonLines,
    Csv,
    Markdown,
    Text,
}

impl Media {
    /// Returns the value of `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// Returns the types under which the media type is accepted, its own first.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["application/json"],
            Self::JsonLines => &["application/x-ndjson", "application/ndjson", "application/jsonl"],
            Self::Csv => &["text/csv"],
            Self::Markdown => &["text/markdown"],
            Self::Text => &["text/plain"],
        }
    }
}

/// How specific a media range is about a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    Any,
    /// `text/*`
    Kind,
    Exact,
}

/// Range of the header with its weight in thousandths.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range<'a> {
    pub(super) name: &'a str,
    pub(super) weight: u16,
}

/// Chooses the offered media type that the client prefers. Of several with the same weight, the
/// first one offered is chosen; without the header, the first one of all.
///
/// # Errors
/// If the client accepts none of them (406).
pub(crate) fn choose(headers: &HeaderMap, offered: &[Media]) -> Result<Media, Problem> {
    let values: Vec<_> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<_> = values
        .iter()
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .map(Range::parse)
        .collect();
    let weighted = offered.iter().map(|media| (weight(*media, &ranges), *media));
    // Of equal weights, `max_by_key` returns the last.
    match weighted.rev().max_by_key(|(weight, _)| *weight) {
        Some((1.., media)) => Ok(media),
        _ => Err(not_acceptable(&values, offered)),
    }
}

impl<'a> Range<'a> {
    /// Parses a range. Its parameters are ignored, and so is a malformed weight.
    pub(super) fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let is_weight = |parameter: &&str| {
            parameter.get(..2).is_some_and(|name| name.eq_ignore_ascii_case("q="))
        };
        let weight = parts.find(is_weight).and_then(|weight| weight[2..].trim().parse().ok());
        let weight = weight.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(1.0_f64);
        Self { name, weight: (weight * 1_000.0).round() as u16 }
    }

    /// Returns how precisely the range names the media type; `None` if it does not include it.
    fn precision(&self, media: Media) -> Option<Precision> {
        // Java's clients send a single asterisk.
        if matches!(self.name, "*/*" | "*") {
            return Some(Precision::Any);
        }
        let kind = |name: &'static str| name.split_once('/').map_or(name, |(kind, _)| kind);
        if media.names().iter().any(|name| name.eq_ignore_ascii_case(self.name)) {
            return Some(Precision::Exact);
        }
        let wanted = self.name.strip_suffix("/*")?;
        media.names()[..1]
            .iter()
            .any(|name| kind(name).eq_ignore_ascii_case(wanted))
            .then_some(Precision::Kind)
    }
}

/// Returns the weight of the most precise range that includes the media type.
fn weight(media: Media, ranges: &[Range<'_>]) -> u16 {
    if ranges.is_empty() {
        return 1_000;
    }
    let including = ranges
        .iter()
        .filter_map(|range| range.precision(media).map(|precision| (precision, range.weight)));
    including.max().map_or(0, |(_, weight)| weight)
}

fn not_acceptable(accepted: &[&str], offered: &[Media]) -> Problem {
    let offered: Vec<_> = offered.iter().map(|media| media.names()[0]).collect();
    let detail = format!(
        "none of the types that `Accept` lists is offered: {:?}; the types are {}",
        accepted.join(", "),
        offered.join(", ")
    );
    Problem::new(StatusCode::NOT_ACCEPTABLE, detail)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::Media::{Csv, Json, JsonLines, Markdown};
    use super::*;

    #[track_caller]
    fn check(accept: &[&'static str], offered: &[Media], expected: Option<Media>) {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_static(value));
        }
        assert_eq!(choose(&headers, offered).ok(), expected, "{accept:?}");
    }

    #[test]
    fn client_gets_the_type_that_it_prefers() {
        let offered = [Json, JsonLines, Csv];
        for (accept, expected) in [
            ("", Some(Json)),
            ("*/*", Some(Json)),
            ("*", Some(Json)),
            ("application/*", Some(Json)),
            ("text/*", Some(Csv)),
            ("text/csv", Some(Csv)),
            ("Text/CSV; header=absent", Some(Csv)),
            ("application/x-ndjson", Some(JsonLines)),
            ("application/jsonl", Some(JsonLines)),
            ("text/csv, application/json", Some(Json)),
            ("text/csv, application/json;q=0.5", Some(Csv)),
            ("text/csv;q=0.1, */*;q=0.2", Some(Json)),
            ("application/json;q=0, */*", Some(JsonLines)),
            ("*/*, application/json;Q=0.1", Some(JsonLines)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(Json)),
            ("text/csv;q=high", Some(Csv)),
            ("text/csv;q=7", Some(Csv)),
            ("text/csv;q=0", None),
            ("text/html", None),
            ("json", None),
            ("text/markdown", None),
            ("application/*;q=0", None),
        ] {
            check(&[accept], &offered, expected);
        }
        check(&[], &offered, Some(Json));
        check(&["text/html", "text/csv"], &offered, Some(Csv));
        check(&["text/*"], &[Json, Markdown, Csv], Some(Markdown));
    }

    #[test]
    fn error_lists_the_offered_types() {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/html"))]);
        let problem = choose(&headers, &[Json, Csv]).unwrap_err();
        let body = String::from_utf8(problem.to_json()).unwrap();
        assert_eq!(problem.status(), StatusCode::NOT_ACCEPTABLE);
        assert!(body.contains("the types are application/json, text/csv"), "{body}");
    }
}
