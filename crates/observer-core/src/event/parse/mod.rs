//! From bytes to the [`Fields`] of an event, in one pass and without a tree.
//!
//! | module | content |
//! |---|---|
//! | `key`, `members` | the members of the outermost object |
//! | `timestamp`, `labels` | values that have more than one form |
//! | `unreadable` | reports on optional fields that can't be read |
//!
//! The parser is strict where a field is required and lenient where it is optional. An optional
//! field that can't be read is absent, and [`OnUnreadable`] decides what else happens. Everything
//! else is the same when an event is parsed for the first time and when accepted bytes are read
//! again, so both read the same values.

mod key;
mod labels;
mod members;
mod timestamp;
mod unreadable;

use std::borrow::Cow;
use std::ops::Range;

pub(super) use self::key::Key;
pub(super) use self::members::{Members, each_by_serde, trimmed};
pub(super) use self::unreadable::{OnUnreadable, excerpt, quoted};
use self::unreadable::{Unreadable, type_of};
use super::error::EventError;
use super::field::Field;
use super::fields::{Fields, Span, Text};
use super::options::Phases;
use crate::scalar::{self, MAX_COST_USD, unquoted};
use crate::{Traceparent, Usage};

/// Longest duration of a cycle: 100 years of 365.25 days, in milliseconds.
const MAX_DURATION_MS: f64 = 3_155_760_000_000.0;

impl Fields {
    /// Reads bytes that were accepted before. Required fields that can't be read are empty.
    pub(super) fn read_again(raw: &[u8]) -> Box<Self> {
        let mut fields = Box::<Self>::default();
        let Ok(members) = Members::read(raw) else { return fields };
        fields.source = members.required_text(Field::Source).unwrap_or_default();
        fields.event_kind = members.required_text(Field::EventKind).unwrap_or_default();
        fields.ok = members.boolean(Field::Ok).ok().flatten();
        members
            .read_optional(&mut fields, OnUnreadable::Ignore)
            .expect("unreadable fields are ignored");
        fields
    }
}

impl Members<'_> {
    /// Reads the fields of a new event. Returns whether it is a phase, too.
    pub(super) fn to_fields(
        &self,
        phases: &Phases,
        on_unreadable: OnUnreadable<'_>,
    ) -> Result<(Box<Fields>, bool), EventError> {
        self.reject_deep_nesting()?;
        self.reject_repeated_identity()?;
        let source = self.required_text(Field::Source);
        let event_kind = self.required_text(Field::EventKind);
        let is_phase =
            event_kind.as_ref().is_ok_and(|kind| phases.contains(kind.as_str(self.input())));
        let ok = if is_phase {
            // The value that a phase has is not used.
            Ok(self.boolean(Field::Ok).ok().flatten())
        } else {
            self.boolean(Field::Ok)
        };
        let is_missing =
            |field: &Field| self.get(*field).is_none() && !(is_phase && *field == Field::Ok);
        if Field::REQUIRED.iter().any(is_missing) {
            let missing = Field::REQUIRED.into_iter().filter(is_missing);
            return Err(EventError::Missing { fields: missing.map(Field::as_str).collect() });
        }
        let mut fields = Box::<Fields>::default();
        (fields.source, fields.event_kind, fields.ok) = (source?, event_kind?, ok?);
        self.read_optional(&mut fields, on_unreadable)?;
        Ok((fields, is_phase))
    }

    /// Reads the optional fields. It fails with [`OnUnreadable::Reject`] alone.
    fn read_optional(
        &self,
        fields: &mut Fields,
        mut on_unreadable: OnUnreadable<'_>,
    ) -> Result<(), EventError> {
        fields.has_others = self.has_others();
        for field in Field::OPTIONAL {
            if self.is_repeated(field) {
                on_unreadable.report(|| Unreadable::Repeated(field))?;
            } else if let Some(value) = self.get(field)
                && let Err(unreadable) = fields.read(field, self.input(), value, self.range(field))
            {
                on_unreadable.report(|| unreadable)?;
            }
        }
        Ok(())
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

impl Fields {
    /// Reads the value of an optional field, which is the JSON text in a range of `input`.
    fn read<'a>(
        &mut self,
        field: Field,
        input: &'a str,
        value: &'a str,
        range: Range<usize>,
    ) -> Result<(), Unreadable<'a>> {
        let accepted = match field {
            Field::CycleId => set(&mut self.cycle_id, text_or_number(value, range), TEXT),
            Field::SigHash => set(&mut self.sig_hash, text_or_number(value, range), TEXT),
            Field::StafferId => set(&mut self.staffer_id, text_or_number(value, range), TEXT),
            Field::Id => set(&mut self.id, text_or_number(value, range), TEXT),
            Field::Turns => set(&mut self.turns, scalar::count(value), COUNT),
            Field::Attempt => set(&mut self.attempt, scalar::count(value), COUNT),
            Field::Extra => set(&mut self.extra, object(value, range), OBJECT),
            Field::Usage => {
                // A list is read only if there is usage in it.
                let is_list = value.starts_with('[') && Usage::parse(value).is_some();
                let span = if is_list { Some(Span::new(range)) } else { object(value, range) };
                set(&mut self.usage_field, span, OBJECT)
            }
            Field::DurationMs => set(
                &mut self.duration_ms,
                scalar::amount(value, MAX_DURATION_MS),
                "a number of milliseconds from 0 to 3155760000000 (100 years)",
            ),
            Field::CostUsd => set(
                &mut self.cost_usd,
                scalar::amount(value, MAX_COST_USD),
                "a number of US dollars from 0 to 1e12",
            ),
            Field::Timestamp => set(
                &mut self.timestamp,
                timestamp::timestamp(value),
                "a time from 1970 to 2262, in ISO 8601 or as a Unix time",
            ),
            Field::Traceparent => set(
                &mut self.traceparent,
                text_or_number(value, range)
                    .filter(|text| Traceparent::parse(text.as_str(input)).is_some()),
                "a W3C traceparent such as \
                 \"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"",
            ),
            Field::Replaces => set(
                &mut self.replaces,
                text_or_number(value, range).filter(|text| !text.as_str(input).is_empty()),
                "the id of an event",
            ),
            Field::Labels if value.starts_with('{') => {
                let (labels, unreadable) = labels::read(input, range);
                self.labels = labels;
                return unreadable.map_or(Ok(()), |unreadable| Err(Unreadable::Labels(unreadable)));
            }
            Field::Labels => Err(OBJECT),
            Field::Source | Field::EventKind | Field::Ok => Ok(()),
        };
        accepted.map_err(|expected| Unreadable::Value { field, expected, value })
    }
}

/// Accepted values of several fields.
const TEXT: &str = "a string of Unicode characters";
const COUNT: &str = "a whole number from 0 to 2^53";
const OBJECT: &str = "an object";

/// Sets a field. Returns the accepted values as an error if there is no value.
fn set<T>(
    field: &mut Option<T>,
    value: Option<T>,
    accepted: &'static str,
) -> Result<(), &'static str> {
    *field = value;
    if field.is_some() { Ok(()) } else { Err(accepted) }
}

fn object(value: &str, range: Range<usize>) -> Option<Span> {
    value.starts_with('{').then(|| Span::new(range))
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
    if scalar::is_number(value) {
        Some(Text::InPlace(Span::new(range)))
    } else {
        text(value, range)
    }
}
