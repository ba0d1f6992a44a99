//! From bytes to the [`Fields`] of an event, in one pass and without a tree.
//!
//! | module | content |
//! |---|---|
//! | `key`, `members` | the members of the outermost object |
//! | `number`, `timestamp`, `labels` | values that have more than one form |
//! | `unreadable` | reports on optional fields that can't be read |
//!
//! The parser is strict where a field is required and lenient where it is optional. An optional
//! field that can't be read is absent, and [`OnUnreadable`] decides what else happens. Everything
//! else is the same when an event is parsed for the first time and when accepted bytes are read
//! again, so both read the same values.

mod key;
mod labels;
mod members;
mod number;
mod timestamp;
mod unreadable;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

use jiff::Timestamp;

pub(super) use self::key::Key;
pub(super) use self::members::{Members, each_by_serde, trimmed};
pub(super) use self::unreadable::{OnUnreadable, quoted};
use self::unreadable::{Unreadable, type_of};
use super::error::EventError;
use super::field::Field;
use super::fields::{Fields, Span, Text};
use super::options::Phases;
use crate::Traceparent;

/// Longest duration of a cycle: 100 years of 365.25 days, in milliseconds.
const MAX_DURATION_MS: f64 = 3_155_760_000_000.0;

/// Highest cost of a cycle in US dollars.
const MAX_COST_USD: f64 = 1e12;

impl Fields {
    /// Reads bytes that were accepted before. Required fields that can't be read are empty.
    pub(super) fn read_again(raw: &[u8]) -> Self {
        let Ok(members) = Members::read(raw) else { return Self::default() };
        let required = Self {
            source: members.required_text(Field::Source).unwrap_or_default(),
            event_kind: members.required_text(Field::EventKind).unwrap_or_default(),
            ok: members.boolean(Field::Ok).ok().flatten(),
            ..Self::default()
        };
        members.read_optional(required, OnUnreadable::Ignore).unwrap_or_default()
    }
}

impl<'a> Members<'a> {
    /// Reads the fields of a new event. Returns whether it is a phase, too.
    pub(super) fn into_fields(
        self,
        phases: &Phases,
        on_unreadable: OnUnreadable<'_>,
    ) -> Result<(Fields, bool), EventError> {
        self.reject_deep_nesting()?;
        self.reject_repeated_identity()?;
        let is_phase = match self.required_text(Field::EventKind) {
            Ok(kind) => phases.contains(kind.as_str(self.input())),
            Err(_) => false,
        };
        let missing: Vec<_> = Field::REQUIRED
            .into_iter()
            .filter(|field| self.get(*field).is_none() && !(is_phase && *field == Field::Ok))
            .map(Field::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(EventError::Missing { fields: missing });
        }
        let required = Fields {
            source: self.required_text(Field::Source)?,
            event_kind: self.required_text(Field::EventKind)?,
            // The value that a phase has is not used.
            ok: self
                .boolean(Field::Ok)
                .or_else(|error| if is_phase { Ok(None) } else { Err(error) })?,
            ..Fields::default()
        };
        Ok((self.read_optional(required, on_unreadable)?, is_phase))
    }

    /// Adds the optional fields. Without [`OnUnreadable::Reject`], it does not fail.
    fn read_optional(
        &self,
        required: Fields,
        on_unreadable: OnUnreadable<'_>,
    ) -> Result<Fields, EventError> {
        let mut reader = Reader { members: self, on_unreadable };
        Ok(Fields {
            cycle_id: reader.text(Field::CycleId)?,
            sig_hash: reader.text(Field::SigHash)?,
            staffer_id: reader.text(Field::StafferId)?,
            turns: reader.count(Field::Turns)?,
            duration_ms: reader.duration_ms()?,
            extra: reader.object(Field::Extra)?,
            id: reader.text(Field::Id)?,
            timestamp: reader.timestamp()?,
            traceparent: reader.traceparent()?,
            usage_field: reader.object(Field::Usage)?,
            cost_usd: reader.cost_usd()?,
            attempt: reader.count(Field::Attempt)?,
            replaces: reader.replaces()?,
            labels: reader.labels()?,
            usage: OnceLock::new(),
            ..required
        })
    }

    /// Returns a string that is not empty.
    pub(super) fn required_text(&self, field: Field) -> Result<Text, EventError> {
        let invalid = |expected, found: &'static str| EventError::Invalid {
            field: field.as_str(),
            expected,
            found: found.into(),
        };
        match self.get(field) {
            None => Err(EventError::Missing { fields: vec![field.as_str()] }),
            Some("\"\"") => Err(invalid("a string that is not empty", "\"\"")),
            Some(value) if value.starts_with('"') => {
                text(value, self.range(field)).ok_or_else(|| {
                    invalid("a string of Unicode characters", "a string with a lone surrogate")
                })
            }
            Some(value) => Err(invalid("a string", type_of(value))),
        }
    }

    fn boolean(&self, field: Field) -> Result<Option<bool>, EventError> {
        match self.get(field) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(value) => Err(EventError::Invalid {
                field: field.as_str(),
                expected: "true or false",
                found: type_of(value).into(),
            }),
        }
    }
}

/// Reader of optional fields.
struct Reader<'m, 'a, 'w> {
    members: &'m Members<'a>,
    on_unreadable: OnUnreadable<'w>,
}

impl<'a> Reader<'_, 'a, '_> {
    /// Returns the JSON text of a field and its range; `None` if the field is absent or repeated.
    fn value(&mut self, field: Field) -> Result<Option<(&'a str, Range<usize>)>, EventError> {
        if self.members.is_repeated(field) {
            self.on_unreadable.report(|| Unreadable::Repeated(field))?;
            return Ok(None);
        }
        Ok(self.members.get(field).map(|value| (value, self.members.range(field))))
    }

    /// Reads a field by a function that returns `None` for a value that it can't read.
    fn read<T>(
        &mut self,
        field: Field,
        expected: &'static str,
        read: impl FnOnce(&'a str, Range<usize>) -> Option<T>,
    ) -> Result<Option<T>, EventError> {
        let Some((value, range)) = self.value(field)? else { return Ok(None) };
        let read = read(value, range);
        if read.is_none() {
            self.on_unreadable.report(|| Unreadable::Value { field, expected, value })?;
        }
        Ok(read)
    }

    fn text(&mut self, field: Field) -> Result<Option<Text>, EventError> {
        self.read(field, "a string of Unicode characters", text_or_number)
    }

    fn replaces(&mut self) -> Result<Option<Text>, EventError> {
        let input = self.members.input();
        self.read(Field::Replaces, "the id of an event", |value, range| {
            text_or_number(value, range).filter(|text| !text.as_str(input).is_empty())
        })
    }

    fn traceparent(&mut self) -> Result<Option<Text>, EventError> {
        let input = self.members.input();
        let expected = "a W3C traceparent such as \
                        \"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"";
        self.read(Field::Traceparent, expected, |value, range| {
            text_or_number(value, range)
                .filter(|text| Traceparent::parse(text.as_str(input)).is_some())
        })
    }

    fn count(&mut self, field: Field) -> Result<Option<u64>, EventError> {
        self.read(field, "a whole number from 0 to 2^53", |value, _| number::count(value))
    }

    fn duration_ms(&mut self) -> Result<Option<f64>, EventError> {
        let expected = "a number of milliseconds from 0 to 3155760000000 (100 years)";
        self.read(Field::DurationMs, expected, |value, _| number::amount(value, MAX_DURATION_MS))
    }

    fn cost_usd(&mut self) -> Result<Option<f64>, EventError> {
        let expected = "a number of US dollars from 0 to 1e12";
        self.read(Field::CostUsd, expected, |value, _| number::amount(value, MAX_COST_USD))
    }

    fn timestamp(&mut self) -> Result<Option<Timestamp>, EventError> {
        let expected = "a time from 1970 to 2262, in ISO 8601 or as a Unix time";
        self.read(Field::Timestamp, expected, |value, _| timestamp::timestamp(value))
    }

    fn object(&mut self, field: Field) -> Result<Option<Span>, EventError> {
        self.read(field, "an object", |value, range| {
            value.starts_with('{').then(|| Span::new(range))
        })
    }

    fn labels(&mut self) -> Result<Vec<(Text, Text)>, EventError> {
        let Some(span) = self.object(Field::Labels)? else { return Ok(Vec::new()) };
        let input = self.members.input();
        let (labels, unreadable) = labels::read(input, span.range());
        if let Some(unreadable) = unreadable {
            self.on_unreadable.report(|| Unreadable::Labels(unreadable))?;
        }
        Ok(labels)
    }
}

/// Returns the string of a JSON value; `None` for another type or a lone surrogate.
fn unquoted(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?;
    if value.contains('\\') {
        serde_json::from_str(value).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(&inner[..inner.len() - 1]))
    }
}

/// Returns the string of the JSON value in a range.
fn text(value: &str, range: Range<usize>) -> Option<Text> {
    Some(match unquoted(value)? {
        Cow::Borrowed(_) => Text::InPlace(Span::new(range.start + 1..range.end - 1)),
        Cow::Owned(text) => Text::Unescaped(text.into()),
    })
}

/// Returns the string of the JSON value in a range, or the text of a number.
fn text_or_number(value: &str, range: Range<usize>) -> Option<Text> {
    if number::is_number(value) {
        Some(Text::InPlace(Span::new(range)))
    } else {
        text(value, range)
    }
}
