//! Splitting of a batch into its items, which are lines of JSON or the elements of one array.

use std::fmt;
use std::ops::Range;

use axum::http::StatusCode;
use bytes::Bytes;
use observer_core::EventError;
use observer_pipeline::RejectReason;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::Problem;

/// Size up to which neighbouring items are copied together, so that many items need one allocation.
const MAX_SHARED: usize = 8 << 10;

/// Splits a body into its items.
///
/// Items are copied out of the body: an event stays in memory for a while and must not keep the
/// whole body alive. It keeps at most 8 KiB of neighbours. An item that is larger than
/// `max_item_bytes` is not stored as it is, and is not copied.
///
/// Blank lines are skipped and not counted. The result has at most `max_items` and one more, which
/// shows that the batch exceeds the limit.
///
/// A byte order mark is ignored, and an empty body has no items.
///
/// # Errors
/// If the body is UTF-16, an array that is not valid JSON, or has an object in several lines (400).
pub(crate) fn split(
    body: &Bytes,
    max_items: usize,
    max_item_bytes: usize,
) -> Result<Vec<Bytes>, Problem> {
    let body = &body.slice(if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }..);
    if matches!(
        &body[..],
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 1..=255, ..] | [1..=255, 0, ..]
    ) {
        return Err(malformed(EventError::Utf16.to_string()));
    }
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    match body.iter().find(|byte| !blank(byte)) {
        None => Ok(Vec::new()),
        Some(b'[') => {
            let text = simdutf8::compat::from_utf8(body).map_err(|error| {
                malformed(format!(
                    "not UTF-8: the byte at offset {} is not part of a character",
                    error.valid_up_to()
                ))
            })?;
            let mut json = serde_json::Deserializer::from_str(text);
            let items = json.deserialize_seq(Items { max_items });
            let items = items.and_then(|items| json.end().map(|()| items)).map_err(|error| {
                malformed(format!("the array of events is not valid JSON: {error}"))
            })?;
            let range = |item: &RawValue| {
                let start = item.get().as_ptr() as usize - body.as_ptr() as usize;
                start..start + item.get().len()
            };
            Ok(copy_items(body, max_item_bytes, items.into_iter().map(range)))
        }
        Some(_) => {
            let mut start = 0;
            let ends = memchr::memchr_iter(b'\n', body).chain(std::iter::once(body.len()));
            let lines = ends.map(|end| std::mem::replace(&mut start, end + 1)..end);
            let mut lines = lines.filter(|line| !body[line.clone()].iter().all(blank)).peekable();
            if lines.peek().is_some_and(|line| has_values_in_lines(body, &body[line.clone()])) {
                return Err(malformed(
                    "the body has an event in several lines; write each event on one line \
                     (`jq -c`), or send a single one to /event",
                ));
            }
            Ok(copy_items(body, max_item_bytes, lines.take(max_items + 1)))
        }
    }
}

/// Returns whether the body has JSON values, of which the first line is only a part.
fn has_values_in_lines(body: &[u8], first_line: &[u8]) -> bool {
    let values = |text| serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    // Nearly all bodies have lines that begin and end an object.
    let is_part = !first_line.trim_ascii_end().ends_with(b"}")
        && values(first_line).any(|value| value.is_err());
    is_part && values(body).all(|value| value.is_ok())
}

/// Copies items out of the body, in order.
fn copy_items(
    body: &Bytes,
    max_item_bytes: usize,
    mut items: impl Iterator<Item = Range<usize>>,
) -> Vec<Bytes> {
    let (mut copies, mut together) = (Vec::new(), Vec::new());
    let mut next = items.next();
    while let Some(first) = next {
        next = items.next();
        if first.len() > max_item_bytes {
            copies.push(body.slice(first));
            continue;
        }
        let start = first.start;
        together.push(first);
        while let Some(item) = next.take_if(|item| item.end - start <= MAX_SHARED) {
            together.push(item);
            next = items.next();
        }
        let end = together.last().map_or(start, |last| last.end);
        let copy = Bytes::copy_from_slice(&body[start..end]);
        copies.extend(
            together.drain(..).map(|item| copy.slice(item.start - start..item.end - start)),
        );
    }
    copies
}

/// Visitor for the elements of an array. Elements beyond the limit are only checked for syntax,
/// since millions of small ones would take many times the memory of the body.
struct Items {
    max_items: usize,
}

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = array.next_element::<&'de RawValue>()? {
            if items.len() <= self.max_items {
                items.push(item);
            }
        }
        Ok(items)
    }
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail).reason(RejectReason::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &[&str]) {
        assert_eq!(split(&Bytes::copy_from_slice(body.as_bytes()), 10, 1000).unwrap(), expected);
    }

    #[test]
    fn lines_and_arrays_have_the_same_items() {
        check("{\"a\":1}\n\n  \r\n{\"b\":2}\r\n", &["{\"a\":1}", "{\"b\":2}\r"]);
        check("{\"a\":1}", &["{\"a\":1}"]);
        check(" [ {\"a\":1} , {\"b\":[1,2]} ]\n", &["{\"a\":1}", "{\"b\":[1,2]}"]);
        check("[]", &[]);
        check("", &[]);
        check(" \n ", &[]);
        check("\u{feff}{\"a\":1}\n{}", &["{\"a\":1}", "{}"]);
        check("\u{feff}[{}]", &["{}"]);
        check("not json\n{}", &["not json", "{}"]);
    }

    #[test]
    fn other_shapes_are_named() {
        let detail = |body: &[u8]| {
            let problem = split(&Bytes::copy_from_slice(body), 10, 1000).unwrap_err();
            String::from_utf8(problem.to_json()).unwrap()
        };
        let pretty = "{\n  \"a\": {\n    \"b\": 1\n  }\n}\n";
        for body in [pretty.to_owned(), pretty.repeat(2), format!("\n{pretty}{{}}\n")] {
            assert!(detail(body.as_bytes()).contains("in several lines"), "{body}");
        }
        let units: Vec<u16> = "{}".encode_utf16().collect();
        let utf_16 = |to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            units.iter().flat_map(|unit| to_bytes(*unit)).collect()
        };
        let (little, big) = (utf_16(u16::to_le_bytes), utf_16(u16::to_be_bytes));
        let marked = [&b"\xff\xfe"[..], &little].concat();
        for body in [little, big, marked] {
            assert!(detail(&body).contains("UTF-16"), "{body:?}");
        }
        // Invalid lines are judged one by one.
        check("{\"a\":\n1,\n{}", &["{\"a\":", "1,", "{}"]);
        check("0\n\"a\"\n{}", &["0", "\"a\"", "{}"]);
    }

    #[test]
    fn split_returns_at_most_one_item_beyond_the_limit() {
        let lines = Bytes::from("{}\n".repeat(1000));
        assert_eq!(split(&lines, 10, 1000).unwrap().len(), 11);
        let array = Bytes::from(format!("[{}{{}}]", "{},".repeat(1000)));
        assert_eq!(split(&array, 10, 1000).unwrap().len(), 11);
    }

    #[test]
    fn item_keeps_only_its_neighbours_alive() {
        let line = format!("{{\"a\":\"{}\"}}", "x".repeat(1000));
        let body = Bytes::from([line.as_str(); 100].join("\n\n"));
        let mut items = split(&body, 1000, 1 << 20).unwrap();
        assert!(items.len() == 100 && items.iter().all(|item| *item == line));
        // A unique owner can take the allocation back, which reveals its size.
        let first = items.swap_remove(0);
        drop(items);
        assert!(first.try_into_mut().unwrap().capacity() <= MAX_SHARED);
        let large = Bytes::from([&*"y".repeat(MAX_SHARED + 1), "z"].join("\n"));
        assert_eq!(split(&large, 10, 1 << 20).unwrap(), [&large[..=MAX_SHARED], b"z"]);
    }

    #[test]
    fn invalid_arrays_are_errors() {
        for body in ["[{}", "[{}] {}", "[\"\u{0}\"]"] {
            assert!(split(&Bytes::copy_from_slice(body.as_bytes()), 10, 1000).is_err(), "{body:?}");
        }
    }
}
