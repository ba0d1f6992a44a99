//! From bytes to an [`Event`]: one pass over the JSON, no tree.
//!
//! `serde_json` walks the outermost object; the values of known keys are captured as raw text and
//! then read one by one, the others are only checked for syntax. Escaped keys are read as bytes, so
//! that an unknown key with a lone surrogate (RFC 8259, section 8.2) does no harm.

mod keys;
pub(crate) mod others;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use self::keys::{Key, KeySeed, Known};
use crate::EventError;
use crate::event::{Event, Fields, MAX_DEPTH, Span, Text};
use crate::scan;

/// What a producer handed in: an event, or an envelope around one.
///
/// ```
/// use observer_core::Submission;
///
/// let bare = Submission::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#)?;
/// assert_eq!(bare.id, None);
///
/// let envelope = Submission::parse(
///     r#"{"id":"5f3c9b0e-6a53-5f0e-9e7e-0d8f1c2b3a49","seq":12,"event":{"source":"bot","event_kind":"ok","ok":true}}"#,
/// )?;
/// assert!(envelope.id.is_some());
/// assert_eq!(envelope.event, bare.event);
/// # Ok::<(), observer_core::EventError>(())
/// ```
#[derive(Debug, PartialEq)]
pub struct Submission {
    /// The event.
    pub event: Event,
    /// The identity that the envelope around it had.
    pub id: Option<Uuid>,
}

impl Submission {
    /// Read an event, or an envelope around one.
    ///
    /// # Errors
    /// The first thing that is wrong, see [`EventError`].
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, EventError> {
        let raw = trimmed(bytes.into())?;
        let members = Members::read(&raw)?;
        if !members.is_envelope() {
            let fields = members.into_fields(&raw)?;
            return Ok(Self { event: Event::new(raw, fields), id: None });
        }
        if members.event_repeated {
            return Err(EventError::Repeated { field: "event" });
        }
        members.refuse_repeated()?;
        let id = match members.text(Known::Id)? {
            None => None,
            Some(text) => {
                let text = text.resolve(&raw);
                Some(Uuid::parse_str(&text).map_err(|_| EventError::Invalid {
                    field: Known::Id.name(),
                    expected: "a UUID in an envelope",
                    found: shown(&text).into(),
                })?)
            }
        };
        let inner = members.event.map(Span::range).expect("an envelope has an event");
        Ok(Self { event: Event::parse(raw.slice(inner))?, id })
    }
}

impl From<Event> for Submission {
    fn from(event: Event) -> Self {
        Self { event, id: None }
    }
}

impl Event {
    /// Read one JSON object.
    ///
    /// # Errors
    /// The first thing that is wrong, see [`EventError`].
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, EventError> {
        let raw = trimmed(bytes.into())?;
        let fields = Fields::of(&raw)?;
        Ok(Self::new(raw, fields))
    }
}

impl Fields {
    pub(crate) fn of(raw: &[u8]) -> Result<Self, EventError> {
        Members::read(raw)?.into_fields(raw)
    }
}

fn trimmed(bytes: Bytes) -> Result<Bytes, EventError> {
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

fn kind_of(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// A producer's text in a message: quoted, and cut where it is long.
fn shown(text: &str) -> String {
    let (start, more) = beginning(text);
    format!("{start:?}{more}")
}

/// A number in a message, which may be as long as the event.
fn shown_number(digits: &str) -> String {
    let (start, more) = beginning(digits);
    format!("{start}{more}")
}

/// As much as someone reads of a text, and a mark if there is more.
fn beginning(text: &str) -> (&str, &'static str) {
    const LONGEST: usize = 60;
    text.char_indices().nth(LONGEST).map_or((text, ""), |(end, _)| (&text[..end], "…"))
}

/// The outermost object: where the values of known keys stand.
struct Members<'a> {
    known: [Option<Span>; Known::ALL.len()],
    event: Option<Span>,
    repeated: Option<Known>,
    event_repeated: bool,
    depth: Depth,
    input: &'a str,
}

/// How deeply objects and arrays are nested.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    WithinLimit,
    Unknown,
}

impl<'a> Members<'a> {
    fn read(raw: &'a [u8]) -> Result<Self, EventError> {
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
            return Err(EventError::NotAnObject { found: kind_of(input) });
        }
        Ok(members)
    }

    fn new(input: &'a str) -> Self {
        Self {
            known: Default::default(),
            event: None,
            repeated: None,
            event_repeated: false,
            depth: Depth::Unknown,
            input,
        }
    }

    fn add(&mut self, key: Key, range: Range<usize>) {
        let (slot, known) = match key {
            Key::Known(known) => (&mut self.known[known as usize], Some(known)),
            Key::Event => (&mut self.event, None),
            Key::Unknown => return,
        };
        match (slot.is_some(), known) {
            (true, Some(known)) => self.repeated = self.repeated.or(Some(known)),
            (true, None) => self.event_repeated = true,
            (false, _) => *slot = Some(Span::new(range)),
        }
    }

    fn is_envelope(&self) -> bool {
        self.get(Known::Source).is_none()
            && self.event.is_some_and(|value| self.input[value.range()].starts_with('{'))
    }

    /// The value of a field; `null` is absent.
    fn get(&self, field: Known) -> Option<&'a str> {
        self.known[field as usize]
            .map(|value| &self.input[value.range()])
            .filter(|value| *value != "null")
    }

    /// Where the value stands that [`get`](Self::get) gave.
    fn place(&self, field: Known) -> Range<usize> {
        self.known[field as usize].map_or(0..0, Span::range)
    }

    fn refuse_repeated(&self) -> Result<(), EventError> {
        self.repeated.map_or(Ok(()), |field| Err(EventError::Repeated { field: field.name() }))
    }

    fn into_fields(self, raw: &[u8]) -> Result<Fields, EventError> {
        if self.depth == Depth::Unknown && nested_deeper_than(MAX_DEPTH, raw) {
            return Err(EventError::TooDeep);
        }
        self.refuse_repeated()?;
        let required = [Known::Source, Known::EventKind, Known::Ok];
        let missing: Vec<_> = required
            .into_iter()
            .filter(|field| self.get(*field).is_none())
            .map(Known::name)
            .collect();
        if !missing.is_empty() {
            return Err(EventError::Missing { fields: missing });
        }
        let absent = "missing fields were refused above";
        Ok(Fields {
            source: self.name(Known::Source)?.expect(absent),
            event_kind: self.name(Known::EventKind)?.expect(absent),
            ok: self.boolean(Known::Ok)?.expect(absent),
            cycle_id: self.text(Known::CycleId)?,
            sig_hash: self.text(Known::SigHash)?,
            staffer_id: self.text(Known::StafferId)?,
            turns: self.count(Known::Turns)?,
            duration_ms: self.amount(Known::DurationMs)?,
            extra: self.object(Known::Extra)?,
            id: self.text(Known::Id)?,
            timestamp: self.timestamp(raw)?,
            traceparent: self.text(Known::Traceparent)?,
            usage_field: self.object(Known::Usage)?,
            usage: OnceLock::new(),
        })
    }

    fn text(&self, field: Known) -> Result<Option<Text>, EventError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        if !value.starts_with('"') {
            return Err(invalid(field, "a string", kind_of(value)));
        }
        if !value.contains('\\') {
            let place = self.place(field);
            return Ok(Some(Text::InPlace(Span::new(place.start + 1..place.end - 1))));
        }
        serde_json::from_str::<Box<str>>(value).map(|text| Some(Text::Unescaped(text))).map_err(
            |_| invalid(field, "a string of Unicode characters", "a string with a lone surrogate"),
        )
    }

    /// A string that says something.
    fn name(&self, field: Known) -> Result<Option<Text>, EventError> {
        if self.get(field) == Some("\"\"") {
            return Err(invalid(field, "a string that is not empty", "\"\""));
        }
        self.text(field)
    }

    fn boolean(&self, field: Known) -> Result<Option<bool>, EventError> {
        match self.get(field) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(value) => Err(invalid(field, "true or false", kind_of(value))),
        }
    }

    fn object(&self, field: Known) -> Result<Option<Span>, EventError> {
        match self.get(field) {
            None => Ok(None),
            Some(value) if value.starts_with('{') => Ok(self.known[field as usize]),
            Some(value) => Err(invalid(field, "an object", kind_of(value))),
        }
    }

    fn number(
        &self,
        field: Known,
        expected: &'static str,
    ) -> Result<Option<(f64, &'a str)>, EventError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        if kind_of(value) != "a number" {
            return Err(invalid(field, expected, kind_of(value)));
        }
        match value.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(Some((number.abs(), value))),
            _ => Err(invalid(field, expected, shown_number(value))),
        }
    }

    fn amount(&self, field: Known) -> Result<Option<f64>, EventError> {
        Ok(self
            .number(field, "a number of at least 0 and below 1.8e308")?
            .map(|(number, _)| number))
    }

    fn count(&self, field: Known) -> Result<Option<u64>, EventError> {
        const EXPECTED: &str = "a whole number of at least 0 and below 2^64";
        /// Where whole numbers and f64 part ways (2^53).
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if let Some(count) = self.get(field).and_then(|value| value.parse().ok()) {
            return Ok(Some(count));
        }
        let Some((number, text)) = self.number(field, EXPECTED)? else { return Ok(None) };
        match text.parse() {
            Ok(count) => Ok(Some(count)),
            // 7.0 and 7e0 are whole numbers too (RFC 8259 knows one kind of number).
            Err(_) if number.fract() == 0.0 && number <= EXACT => Ok(Some(number as u64)),
            Err(_) => Err(invalid(field, EXPECTED, shown_number(text))),
        }
    }

    fn timestamp(&self, raw: &[u8]) -> Result<Option<Timestamp>, EventError> {
        let Some(text) = self.text(Known::Timestamp)? else { return Ok(None) };
        let text = text.resolve(raw);
        text.parse().map(Some).map_err(|_| {
            invalid(
                Known::Timestamp,
                "an RFC 3339 time such as \"2026-01-31T12:00:00Z\"",
                shown(&text),
            )
        })
    }
}

impl Text {
    fn resolve(&self, raw: &[u8]) -> Cow<'_, str> {
        match self {
            Self::InPlace(span) => String::from_utf8_lossy(&raw[span.range()]).into_owned().into(),
            Self::Unescaped(text) => Cow::Borrowed(text),
        }
    }
}

fn invalid(
    field: Known,
    expected: &'static str,
    found: impl Into<Cow<'static, str>>,
) -> EventError {
    EventError::Invalid { field: field.name(), expected, found: found.into() }
}

fn syntax(error: &serde_json::Error) -> EventError {
    let text = error.to_string();
    // serde_json appends the place, which the message here already tells.
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

/// Whether valid JSON nests objects and arrays more deeply than `limit`.
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

#[cfg(test)]
mod tests;
