//! The members of an event's object.
//!
//! [`scan::members`] finds them. Objects that it rejects, such as an escaped key or invalid JSON,
//! are read again by `serde_json`, which also reports errors. Values of known fields are kept as
//! ranges; all others are checked for syntax only. Keys are read as bytes, so that a lone surrogate
//! in an unknown key (RFC 8259, section 8.2) is no error.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use bytes::{Buf, Bytes};
use observer_redact::{KeyFilter, Redactor};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::error::EventError;
use super::super::field::Field;
use super::super::fields::Span;
use super::key::{Key, KeySeed};
use super::unreadable::type_of;
use crate::scan::{self, MAX_DEPTH};

/// Removes a byte order mark (RFC 8259, section 8.1) and the white space around a JSON text.
pub(in super::super) fn trimmed(mut bytes: Bytes) -> Result<Bytes, EventError> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.advance(3);
    }
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

/// Members of the outermost object: the ranges of the values that have a meaning.
pub(in super::super) struct Members<'a> {
    values: [Option<Span>; Field::ALL.len()],
    event: Option<Span>,
    /// One bit for each field that occurs more than once, at the index of its discriminant.
    repeated: u32,
    is_event_repeated: bool,
    has_others: bool,
    /// Range of all values that may be redacted, and of what is between them.
    redactable: Option<Range<usize>>,
    /// True if there is a key that may be the name of a secret.
    has_secret_key: bool,
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
    pub(in super::super) fn read(raw: &'a [u8]) -> Result<Self, EventError> {
        Self::read_with(raw, None)
    }

    /// Reads the members, and passes all keys to a filter meanwhile.
    pub(in super::super) fn read_with(
        raw: &'a [u8],
        filter: Option<&KeyFilter>,
    ) -> Result<Self, EventError> {
        let Ok(input) = simdutf8::basic::from_utf8(raw) else {
            if raw.starts_with(b"\xff\xfe") || raw.starts_with(b"\xfe\xff") {
                return Err(EventError::Utf16);
            }
            let offset =
                simdutf8::compat::from_utf8(raw).map_or_else(|error| error.valid_up_to(), str::len);
            return Err(EventError::NotUtf8 { offset });
        };
        let mut members = Self::new(input);
        if members.scan(filter).is_some() {
            members.depth = Depth::WithinLimit;
            return Ok(members);
        }
        members = Self::new(input);
        // `each_by_serde` reports known members only.
        members.has_others = true;
        if input.starts_with('{') {
            each_by_serde(input, |key, range| members.add(key, range))
        } else {
            let mut json = serde_json::Deserializer::from_str(input);
            Deserialize::deserialize(&mut json).and_then(|IgnoredAny| json.end()).and(Ok(()))
        }
        .map_err(|error| syntax(&error, input))?;
        if !input.starts_with('{') {
            return Err(EventError::NotAnObject { found: type_of(input) });
        }
        Ok(members)
    }

    fn new(input: &'a str) -> Self {
        Self {
            values: Default::default(),
            event: None,
            repeated: 0,
            is_event_repeated: false,
            has_others: false,
            redactable: None,
            has_secret_key: false,
            depth: Depth::Unknown,
            input,
        }
    }

    /// Adds the members of an object that [`scan`] accepts.
    fn scan(&mut self, filter: Option<&KeyFilter>) -> Option<()> {
        let input = self.input;
        let Some(filter) = filter else {
            return scan::members(input, |key, range| self.add(Key::of(key.as_bytes()), range));
        };
        let has_secret_key = Cell::new(false);
        let check = |key: &[u8]| {
            if filter.may_be_secret(key) {
                has_secret_key.set(true);
            }
        };
        let add = |key: &str, range| {
            check(key.as_bytes());
            self.add(Key::of(key.as_bytes()), range);
        };
        scan::members_and_keys(input, add, check)?;
        self.has_secret_key = has_secret_key.get();
        Some(())
    }

    /// Returns `false` if redaction would find nothing. The members have to be read with the
    /// redactor's filter.
    pub(in super::super) fn may_have_secrets(&self, redactor: &Redactor) -> bool {
        // `each_by_serde` reports known members only.
        self.has_secret_key
            || self.depth == Depth::Unknown
            || self.redactable.clone().is_some_and(|range| redactor.may_match(&self.input[range]))
    }

    fn add(&mut self, key: Key, range: Range<usize>) {
        if key.is_redactable() {
            let start = self.redactable.as_ref().map_or(range.start, |first| first.start);
            self.redactable = Some(start..range.end);
        }
        let (slot, field) = match key {
            Key::Field(field) => (&mut self.values[field as usize], Some(field)),
            Key::Event => (&mut self.event, None),
            Key::Unknown => {
                self.has_others = true;
                return;
            }
        };
        match (slot.is_some(), field) {
            (true, Some(field)) => self.repeated |= 1 << field as usize,
            (true, None) => self.is_event_repeated = true,
            (false, _) => *slot = Some(Span::new(range)),
        }
    }

    /// Returns the text of the object.
    pub(in super::super) fn input(&self) -> &'a str {
        self.input
    }

    /// Returns the range of the event inside, if this object is an envelope.
    pub(in super::super) fn enclosed_event(&self) -> Option<Range<usize>> {
        if self.get(Field::Source).is_some() {
            return None;
        }
        self.event.map(Span::range).filter(|range| self.input[range.clone()].starts_with('{'))
    }

    /// Returns the value of a field as JSON text, or `None` if it is absent or `null`. Of a
    /// repeated field it is the first one.
    pub(in super::super) fn get(&self, field: Field) -> Option<&'a str> {
        self.values[field as usize]
            .map(|value| &self.input[value.range()])
            .filter(|value| *value != "null")
    }

    /// Returns the range of the value that [`get`](Self::get) returns.
    pub(super) fn range(&self, field: Field) -> Range<usize> {
        self.values[field as usize].map_or(0..0, Span::range)
    }

    /// Returns whether a field occurs more than once.
    pub(super) fn is_repeated(&self, field: Field) -> bool {
        self.repeated >> field as usize & 1 == 1
    }

    /// Returns whether there are members without a meaning.
    pub(super) fn has_others(&self) -> bool {
        self.has_others || self.event.is_some()
    }

    pub(in super::super) fn reject_repeated_event(&self) -> Result<(), EventError> {
        if self.is_event_repeated {
            return Err(EventError::Repeated { field: "event" });
        }
        Ok(())
    }

    /// Rejects repetitions of the fields without which an event means nothing or could be stored
    /// twice.
    pub(in super::super) fn reject_repeated_identity(&self) -> Result<(), EventError> {
        if self.repeated == 0 {
            return Ok(());
        }
        match Field::UNREPEATABLE.into_iter().find(|field| self.is_repeated(*field)) {
            None => Ok(()),
            Some(field) => Err(EventError::Repeated { field: field.as_str() }),
        }
    }

    pub(super) fn reject_deep_nesting(&self) -> Result<(), EventError> {
        if self.depth == Depth::Unknown && nested_deeper_than(MAX_DEPTH, self.input.as_bytes()) {
            return Err(EventError::TooDeep);
        }
        Ok(())
    }
}

/// Returns the error of a text that `serde_json` rejects.
fn syntax(error: &serde_json::Error, input: &str) -> EventError {
    let (line, column) = (error.line(), error.column());
    // Without a byte order mark, one of the bytes of `{` shows UTF-16.
    if matches!(input.as_bytes(), [1..=255, 0, ..] | [0, 1..=255, ..]) {
        return EventError::Utf16;
    }
    let mut values = serde_json::Deserializer::from_str(input).into_iter::<IgnoredAny>();
    if let (Some(Ok(_)), Some(Ok(_))) = (values.next(), values.next()) {
        return EventError::Several { line, column };
    }
    let text = error.to_string();
    // serde_json appends line and column, which `EventError` has in fields of their own.
    let reason =
        text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned();
    EventError::Syntax { line, column, reason }
}

/// Calls `found` with the key and the range of the value of each known member, by `serde_json`.
pub(in super::super) fn each_by_serde(
    input: &str,
    found: impl FnMut(Key, Range<usize>),
) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(input);
    (&mut json).deserialize_map(Each { input, found }).and_then(|()| json.end())
}

struct Each<'a, F> {
    input: &'a str,
    found: F,
}

impl<'de, F: FnMut(Key, Range<usize>)> Visitor<'de> for Each<'de, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(KeySeed)? {
            if matches!(key, Key::Unknown) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let text = map.next_value::<&RawValue>()?.get();
            let start = text.as_ptr() as usize - self.input.as_ptr() as usize;
            (self.found)(key, start..start + text.len());
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
