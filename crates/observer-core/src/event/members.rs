//! From bytes to the [`Fields`] of an event, in one pass and without a tree.
//!
//! [`scan::members`] finds the members of the outermost object. Objects that it rejects, such as an
//! escaped key or invalid JSON, are read again by `serde_json`, which also reports errors. Values
//! of known fields are kept as ranges and then parsed one by one; all others are checked for syntax
//! only. Keys are read as bytes, so that a lone surrogate in an unknown key (RFC 8259, section 8.2)
//! is no error.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::EventError;
use super::field::Field;
use super::fields::{Fields, Span, Text};
use super::key::{Key, KeySeed};
use crate::scan::{self, MAX_DEPTH};

impl Fields {
    pub(super) fn parse(raw: &[u8]) -> Result<Self, EventError> {
        Members::read(raw)?.into_fields(raw)
    }
}

/// Removes the white space around a JSON text.
pub(super) fn trimmed(bytes: Bytes) -> Result<Bytes, EventError> {
    let is_white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let Some(start) = bytes.iter().position(|byte| !is_white(byte)) else {
        return Err(EventError::Empty);
    };
    let end = bytes.iter().rposition(|byte| !is_white(byte)).map_or(start, |last| last + 1);
    if u32::try_from(end).is_err() {
        return Err(EventError::TooLong { length: end });
    }
    Ok(if (start, end) == (0, bytes.len()) { bytes } else { bytes.slice(start..end) })
}

/// Returns the type of a JSON value, with an article.
fn type_of(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Returns the producer's text for a message: in quotes, and truncated.
pub(super) fn quoted(text: &str) -> String {
    let (start, ellipsis) = truncated(text);
    format!("{start:?}{ellipsis}")
}

/// Returns a number for a message, truncated: it may be as long as the event.
fn number_excerpt(digits: &str) -> String {
    let (start, ellipsis) = truncated(digits);
    format!("{start}{ellipsis}")
}

/// Returns the first 60 characters of a text, and an ellipsis if it is longer.
fn truncated(text: &str) -> (&str, &'static str) {
    const MAX_CHARS: usize = 60;
    text.char_indices().nth(MAX_CHARS).map_or((text, ""), |(end, _)| (&text[..end], "…"))
}

/// Members of the outermost object: the ranges of the values that have a meaning.
pub(super) struct Members<'a> {
    values: [Option<Span>; Field::ALL.len()],
    event: Option<Span>,
    repeated_field: Option<Field>,
    is_event_repeated: bool,
    depth: Depth,
    input: &'a str,
}

/// Nesting depth of objects and arrays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    WithinLimit,
    Unknown,
}

impl<'a> Members<'a> {
    pub(super) fn read(raw: &'a [u8]) -> Result<Self, EventError> {
        let Ok(input) = simdutf8::basic::from_utf8(raw) else {
            let offset =
                simdutf8::compat::from_utf8(raw).map_or_else(|error| error.valid_up_to(), str::len);
            return Err(EventError::NotUtf8 { offset });
        };
        let mut members = Self::new(input);
        if scan::members(input, |key, range| members.add(Key::of(key.as_bytes()), range)).is_some()
        {
            members.depth = Depth::WithinLimit;
            return Ok(members);
        }
        members = Self::new(input);
        let mut json = serde_json::Deserializer::from_str(input);
        if input.starts_with('{') {
            (&mut json).deserialize_map(&mut members).and_then(|()| json.end())
        } else {
            Deserialize::deserialize(&mut json).and_then(|IgnoredAny| json.end()).and(Ok(()))
        }
        .map_err(|error| syntax(&error))?;
        if !input.starts_with('{') {
            return Err(EventError::NotAnObject { found: type_of(input) });
        }
        Ok(members)
    }

    fn new(input: &'a str) -> Self {
        Self {
            values: Default::default(),
            event: None,
            repeated_field: None,
            is_event_repeated: false,
            depth: Depth::Unknown,
            input,
        }
    }

    fn add(&mut self, key: Key, range: Range<usize>) {
        let (slot, field) = match key {
            Key::Field(field) => (&mut self.values[field as usize], Some(field)),
            Key::Event => (&mut self.event, None),
            Key::Unknown => return,
        };
        match (slot.is_some(), field) {
            (true, Some(field)) => {
                self.repeated_field = self.repeated_field.or(Some(field));
            }
            (true, None) => self.is_event_repeated = true,
            (false, _) => *slot = Some(Span::new(range)),
        }
    }

    /// Returns the range of the event inside, if this object is an envelope.
    pub(super) fn enclosed_event(&self) -> Option<Range<usize>> {
        if self.get(Field::Source).is_some() {
            return None;
        }
        self.event.map(Span::range).filter(|range| self.input[range.clone()].starts_with('{'))
    }

    /// Returns the value of a field as JSON text, or `None` if it is absent or `null`.
    fn get(&self, field: Field) -> Option<&'a str> {
        self.values[field as usize]
            .map(|value| &self.input[value.range()])
            .filter(|value| *value != "null")
    }

    /// Returns the range of the value that [`get`](Self::get) returns.
    fn range(&self, field: Field) -> Range<usize> {
        self.values[field as usize].map_or(0..0, Span::range)
    }

    pub(super) fn reject_repeated_event(&self) -> Result<(), EventError> {
        if self.is_event_repeated {
            return Err(EventError::Repeated { field: "event" });
        }
        Ok(())
    }

    pub(super) fn reject_repeated_fields(&self) -> Result<(), EventError> {
        self.repeated_field
            .map_or(Ok(()), |field| Err(EventError::Repeated { field: field.as_str() }))
    }

    pub(super) fn into_fields(self, raw: &[u8]) -> Result<Fields, EventError> {
        if self.depth == Depth::Unknown && nested_deeper_than(MAX_DEPTH, raw) {
            return Err(EventError::TooDeep);
        }
        self.reject_repeated_fields()?;
        let missing: Vec<_> = Field::REQUIRED
            .into_iter()
            .filter(|field| self.get(*field).is_none())
            .map(Field::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(EventError::Missing { fields: missing });
        }
        let absent = "missing fields were rejected above";
        Ok(Fields {
            source: self.nonempty_text(Field::Source)?.expect(absent),
            event_kind: self.nonempty_text(Field::EventKind)?.expect(absent),
            ok: self.boolean(Field::Ok)?.expect(absent),
            cycle_id: self.text(Field::CycleId)?,
            sig_hash: self.text(Field::SigHash)?,
            staffer_id: self.text(Field::StafferId)?,
            turns: self.count(Field::Turns)?,
            duration_ms: self.amount(Field::DurationMs)?,
            extra: self.object(Field::Extra)?,
            id: self.text(Field::Id)?,
            timestamp: self.timestamp(raw)?,
            traceparent: self.text(Field::Traceparent)?,
            usage_field: self.object(Field::Usage)?,
            usage: OnceLock::new(),
        })
    }

    pub(super) fn text(&self, field: Field) -> Result<Option<Text>, EventError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        if !value.starts_with('"') {
            return Err(invalid(field, "a string", type_of(value)));
        }
        if !value.contains('\\') {
            let range = self.range(field);
            return Ok(Some(Text::InPlace(Span::new(range.start + 1..range.end - 1))));
        }
        serde_json::from_str::<Box<str>>(value).map(|text| Some(Text::Unescaped(text))).map_err(
            |_| invalid(field, "a string of Unicode characters", "a string with a lone surrogate"),
        )
    }

    fn nonempty_text(&self, field: Field) -> Result<Option<Text>, EventError> {
        if self.get(field) == Some("\"\"") {
            return Err(invalid(field, "a string that is not empty", "\"\""));
        }
        self.text(field)
    }

    fn boolean(&self, field: Field) -> Result<Option<bool>, EventError> {
        match self.get(field) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(value) => Err(invalid(field, "true or false", type_of(value))),
        }
    }

    fn object(&self, field: Field) -> Result<Option<Span>, EventError> {
        match self.get(field) {
            None => Ok(None),
            Some(value) if value.starts_with('{') => Ok(self.values[field as usize]),
            Some(value) => Err(invalid(field, "an object", type_of(value))),
        }
    }

    /// Returns a number of at least 0, with its JSON text.
    fn number(
        &self,
        field: Field,
        expected: &'static str,
    ) -> Result<Option<(f64, &'a str)>, EventError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        if type_of(value) != "a number" {
            return Err(invalid(field, expected, type_of(value)));
        }
        match value.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(Some((number.abs(), value))),
            _ => Err(invalid(field, expected, number_excerpt(value))),
        }
    }

    fn amount(&self, field: Field) -> Result<Option<f64>, EventError> {
        Ok(self
            .number(field, "a number of at least 0 and below 1.8e308")?
            .map(|(number, _)| number))
    }

    fn count(&self, field: Field) -> Result<Option<u64>, EventError> {
        const EXPECTED: &str = "a whole number of at least 0 and below 2^64";
        /// Largest number up to which f64 represents every whole number (2^53).
        const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
        if let Some(count) = self.get(field).and_then(|value| value.parse().ok()) {
            return Ok(Some(count));
        }
        let Some((number, text)) = self.number(field, EXPECTED)? else { return Ok(None) };
        match text.parse() {
            Ok(count) => Ok(Some(count)),
            // JSON has one type of number: 7.0 and 7e0 are whole numbers too (RFC 8259).
            Err(_) if number.fract() == 0.0 && number <= MAX_EXACT => Ok(Some(number as u64)),
            Err(_) => Err(invalid(field, EXPECTED, number_excerpt(text))),
        }
    }

    fn timestamp(&self, raw: &[u8]) -> Result<Option<Timestamp>, EventError> {
        let Some(text) = self.text(Field::Timestamp)? else { return Ok(None) };
        let text = text.resolve(raw);
        text.parse().map(Some).map_err(|_| {
            invalid(
                Field::Timestamp,
                "an RFC 3339 time such as \"2026-01-31T12:00:00Z\"",
                quoted(&text),
            )
        })
    }
}

fn invalid(
    field: Field,
    expected: &'static str,
    found: impl Into<Cow<'static, str>>,
) -> EventError {
    EventError::Invalid { field: field.as_str(), expected, found: found.into() }
}

fn syntax(error: &serde_json::Error) -> EventError {
    let text = error.to_string();
    // serde_json appends line and column, which `EventError` has in fields of their own.
    let reason =
        text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned();
    EventError::Syntax { line: error.line(), column: error.column(), reason }
}

impl<'de> Visitor<'de> for &mut Members<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(KeySeed)? {
            if matches!(key, Key::Unknown) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let text = map.next_value::<&RawValue>()?.get();
            let start = text.as_ptr() as usize - self.input.as_ptr() as usize;
            self.add(key, start..start + text.len());
        }
        Ok(())
    }
}

/// Returns whether valid JSON nests objects and arrays more deeply than `limit`.
fn nested_deeper_than(limit: usize, json: &[u8]) -> bool {
    let openers = json.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if openers <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    false
}
