//! A body of many events, item by item: lines of JSON, or one array.

use std::fmt;

use axum::http::StatusCode;
use bytes::Bytes;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::Problem;

/// The items, each in an allocation of its own: an event must not keep the whole body in memory.
///
/// Of lines, the blank ones are passed over and not counted. At most `max_items` are made, and one more to show that there were too many.
pub(crate) fn split(body: &Bytes, max_items: usize) -> Result<Vec<Bytes>, Problem> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    match body.iter().find(|byte| !blank(byte)) {
        None => Err(malformed("the body is empty; send events as lines of JSON, or as an array")),
        Some(b'[') => {
            let text = simdutf8::compat::from_utf8(body).map_err(|error| {
                malformed(format!("not UTF-8: the byte at offset {} is not part of a character", error.valid_up_to()))
            })?;
            let mut json = serde_json::Deserializer::from_str(text);
            let items = json.deserialize_seq(Items { max_items });
            items
                .and_then(|items| json.end().map(|()| items))
                .map_err(|error| malformed(format!("the array of events is not valid JSON: {error}")))
        }
        Some(_) => {
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(blank));
            Ok(lines.take(max_items + 1).map(Bytes::copy_from_slice).collect())
        }
    }
}

/// The items of an array. Past the limit they are only read for syntax: millions of small ones would take many times the memory of the body.
struct Items {
    max_items: usize,
}

impl<'de> Visitor<'de> for Items {
    type Value = Vec<Bytes>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<Bytes>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = array.next_element::<&RawValue>()? {
            if items.len() <= self.max_items {
                items.push(Bytes::copy_from_slice(item.get().as_bytes()));
            }
        }
        Ok(items)
    }
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail).reason("malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &[&str]) {
        assert_eq!(split(&Bytes::copy_from_slice(body.as_bytes()), 10).unwrap(), expected);
    }

    #[test]
    fn lines_and_arrays_are_the_same_items() {
        check("{\"a\":1}\n\n  \r\n{\"b\":2}\r\n", &["{\"a\":1}", "{\"b\":2}\r"]);
        check("{\"a\":1}", &["{\"a\":1}"]);
        check(" [ {\"a\":1} , {\"b\":[1,2]} ]\n", &["{\"a\":1}", "{\"b\":[1,2]}"]);
        check("[]", &[]);
        check("not json\n{}", &["not json", "{}"]);
    }

    #[test]
    fn no_more_items_are_made_than_the_limit_and_one() {
        let lines = Bytes::from("{}\n".repeat(1000));
        assert_eq!(split(&lines, 10).unwrap().len(), 11);
        let array = Bytes::from(format!("[{}{{}}]", "{},".repeat(1000)));
        assert_eq!(split(&array, 10).unwrap().len(), 11);
    }

    #[test]
    fn an_array_that_is_none_is_told() {
        for body in ["", " \n ", "[{}", "[{}] {}", "[\"\u{0}\"]"] {
            assert!(split(&Bytes::copy_from_slice(body.as_bytes()), 10).is_err(), "{body:?}");
        }
    }
}
