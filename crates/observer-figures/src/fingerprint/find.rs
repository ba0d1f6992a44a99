//! Error text within the JSON of an event.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error_line::names_error;

/// JSON that is examined, in bytes.
const SIZE_LIMIT: usize = 256 * 1024;
/// Text that is kept, in bytes.
const TEXT_LIMIT: usize = 16 * 1024;
/// Depth that is examined: the event, `extra`, and four levels below.
const DEPTH_LIMIT: usize = 6;
/// Elements of an array that are examined.
const ELEMENT_LIMIT: usize = 16;

/// Error text of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) text: String,
    /// The text is a log, in which the error is one line among others.
    pub(super) is_log: bool,
}

/// Finds the error text in the JSON text of an object: the value of a field whose name says so.
///
/// Names are compared without case and separators. The first of these that holds a string, or an
/// object or array with one, is taken; among equals the one that comes first:
///
/// 1. `error`, `err`, `exception`, `failure`, `panic`, also as the end of a longer name
///    (`last_error`) or with `message`, `text` or `detail` behind it (`errorMessage`), and their
///    plurals
/// 2. `message`, `msg`, `reason`, `cause`, `detail`, `details`
/// 3. `stderr`
/// 4. `traceback`, `stacktrace`, `stack`, `backtrace`
/// 5. `output`, `stdout`, `log`, `logs`, if a line looks like an error
///
/// Within the value of such a field, `message` and its like come first, then other names of the
/// list, then `type`, `name` or `code`. What describes the task instead of its outcome ([`TASK`])
/// is skipped. The first 256 KiB are examined, to a depth of six, and 16 elements of each array.
pub(super) fn find(json: &str) -> Option<Found> {
    let json = &json[..json.floor_char_boundary(SIZE_LIMIT)];
    let mut best = Best::default();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let walk = Walk { best: &mut best, depth: 0, inside: None };
    // What was found before an error, or before the limit, counts.
    let _ = walk.deserialize(&mut deserializer);
    best.found.map(|(rank, text)| Found { text, is_log: rank >= STDERR })
}

/// Names of fields that describe the task, without case and separators.
const TASK: [&str; 14] = [
    "commit",
    "config",
    "input",
    "issue",
    "labels",
    "messages",
    "problem",
    "prompt",
    "pullrequest",
    "request",
    "settings",
    "task",
    "ticket",
    "usage",
];

/// Best candidate so far, with its rank; lower is better.
#[derive(Debug, Default)]
struct Best {
    found: Option<(u8, String)>,
}

impl Best {
    fn offer(&mut self, rank: u8, text: &str) {
        let better = self.found.as_ref().is_none_or(|&(best, _)| rank < best);
        let text = &text[..text.floor_char_boundary(TEXT_LIMIT)];
        let tells = if rank >= OUTPUT { names_error(text) } else { !text.trim().is_empty() };
        if better && tells {
            self.found = Some((rank, text.to_owned()));
        }
    }
}

/// Ranks of names. Those of a field are multiples of four; a name inside adds up to three.
const ERROR: u8 = 0;
const MESSAGE: u8 = 4;
const STDERR: u8 = 8;
const TRACEBACK: u8 = 12;
const OUTPUT: u8 = 16;

/// Returns the rank of a field's name in its plain form.
fn rank(name: &str) -> Option<u8> {
    let stem = ["message", "text", "details", "detail", "msg", "s"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    if stem == "err" || ["error", "exception", "failure", "panic"].iter().any(|w| stem.ends_with(w))
    {
        return Some(ERROR);
    }
    match name {
        "message" | "msg" | "reason" | "cause" | "detail" | "details" => Some(MESSAGE),
        "stderr" => Some(STDERR),
        "traceback" | "stacktrace" | "stack" | "backtrace" => Some(TRACEBACK),
        "output" | "stdout" | "log" | "logs" => Some(OUTPUT),
        _ => None,
    }
}

/// Returns what a name inside an error adds to the rank of the error.
fn rank_inside(name: &str) -> Option<u8> {
    match name {
        "message" | "msg" | "text" | "detail" | "description" => Some(1),
        "type" | "name" | "code" | "kind" | "status" => Some(3),
        _ => rank(name).map(|_| 2),
    }
}

/// Name of a field without case and separators, as far as it can be one of those that count.
struct Plain {
    letters: [u8; 32],
    length: usize,
}

impl Plain {
    fn of(name: &str) -> Self {
        let mut plain = Self { letters: [0; 32], length: 0 };
        let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
        for (letter, place) in letters.zip(&mut plain.letters) {
            *place = letter.to_ascii_lowercase();
            plain.length += 1;
        }
        plain
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.letters[..self.length]).unwrap_or_default()
    }
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
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let name = Plain::of(&name);
            let name = name.as_str();
            if TASK.contains(&name) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let inside = match self.inside {
                None => rank(name),
                Some(outer) => rank_inside(name).map(|inner| outer / 4 * 4 + inner),
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
