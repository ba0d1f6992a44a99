//! Error text within the JSON of an event.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// JSON that is examined, in bytes.
const SIZE_LIMIT: usize = 256 * 1024;
/// Text that is kept, in bytes.
const TEXT_LIMIT: usize = 16 * 1024;
/// Depth that is examined: the event, `extra`, and four levels below.
const DEPTH_LIMIT: usize = 6;
/// Elements of an array that are examined.
const ELEMENT_LIMIT: usize = 16;

/// Finds the error text in the JSON text of an object: the value of a field whose name says so.
///
/// Names are compared without case and separators. The first of these that holds a string, or an
/// object or array with one, is taken:
///
/// 1. `error`, `err`, `exception`, `failure`, `fault`, `panic`, also as the end of a longer name
///    (`last_error`) or with `message`, `text` or `detail` behind it (`errorMessage`), and `errors`,
///    `exceptions` and `failures`
/// 2. `message`, `msg`, `reason`, `cause`, `detail`, `details`
/// 3. `stderr`
/// 4. `traceback`, `stacktrace`, `stack`, `backtrace`
///
/// Within the value of such a field, `message` and its like come first, then any other string
/// under a name of the list, then `type`, `name` or `code`. Among equals the one that comes first
/// counts. The first 256 KiB are examined, to a depth of six, and 16 elements of each array.
#[must_use]
pub fn error_text(json: &str) -> Option<String> {
    let json = &json[..json.floor_char_boundary(SIZE_LIMIT)];
    let mut best = Best::default();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let walk = Walk { best: &mut best, depth: 0, inside: None };
    // What was found before an error, or before the limit, counts.
    let _ = walk.deserialize(&mut deserializer);
    best.found.map(|(_, text)| text)
}

/// Best candidate so far, with its rank; lower is better.
#[derive(Debug, Default)]
struct Best {
    found: Option<(u8, String)>,
}

impl Best {
    fn offer(&mut self, rank: u8, text: &str) {
        let better = self.found.as_ref().is_none_or(|&(best, _)| rank < best);
        if better && !text.trim().is_empty() {
            let end = text.floor_char_boundary(TEXT_LIMIT);
            self.found = Some((rank, text[..end].to_owned()));
        }
    }
}

/// Ranks of names. Those of a field are multiples of four; a name inside adds up to three.
const ERROR: u8 = 0;
const MESSAGE: u8 = 4;
const STDERR: u8 = 8;
const TRACEBACK: u8 = 12;

/// Returns the rank of a field's name.
fn rank(name: &str) -> Option<u8> {
    let name = plain(name);
    let stem = ["message", "text", "detail", "details", "msg"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(&name);
    let ends = |word: &&str| stem.ends_with(word);
    if stem == "err" || ["error", "exception", "failure", "fault", "panic"].iter().any(|w| ends(w))
    {
        // A default is no fault.
        return (!stem.ends_with("default")).then_some(ERROR);
    }
    match name.as_str() {
        "errors" | "exceptions" | "failures" => Some(ERROR),
        "message" | "msg" | "reason" | "cause" | "detail" | "details" => Some(MESSAGE),
        "stderr" => Some(STDERR),
        "traceback" | "stacktrace" | "stack" | "backtrace" => Some(TRACEBACK),
        _ => None,
    }
}

/// Returns what a name inside an error adds to the rank of the error.
fn rank_inside(name: &str) -> Option<u8> {
    match plain(name).as_str() {
        "message" | "msg" | "text" | "detail" | "description" => Some(1),
        "type" | "name" | "code" | "kind" | "status" => Some(3),
        _ => rank(name).map(|_| 2),
    }
}

/// Returns the lower-case letters and digits of a name; names of errors are short.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.take(48).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Visit of one value.
struct Walk<'a> {
    best: &'a mut Best,
    depth: usize,
    /// Rank of the value: it is that of an error field, or inside of one.
    inside: Option<u8>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.depth > DEPTH_LIMIT {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(drop);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if let Some(rank) = self.inside {
            self.best.offer(rank, text);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let inside = match self.inside {
                None => rank(&name),
                // Inside of an error, a structure without a telling name is no text of it.
                Some(outer) => rank_inside(&name).map(|inner| outer / 4 * 4 + inner),
            };
            map.next_value_seed(Walk { best: self.best, depth: self.depth + 1, inside })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        for _ in 0..ELEMENT_LIMIT {
            let walk = Walk { best: self.best, depth: self.depth + 1, inside: self.inside };
            if elements.next_element_seed(walk)?.is_none() {
                return Ok(());
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
