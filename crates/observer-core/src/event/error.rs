//! Violations that the parser of events reports.

use std::borrow::Cow;

use super::field::Field;
use crate::scan::MAX_DEPTH;

/// Reason why bytes are not an event. The message is meant for the producer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The body is empty or white space.
    #[error("the body is empty; send one JSON object")]
    Empty,
    /// The event is 4 GiB or longer.
    #[error("an event of {length} bytes is too long")]
    TooLong {
        /// Length in bytes.
        length: usize,
    },
    /// The bytes are not UTF-8, which JSON is (RFC 8259, section 8.1).
    #[error("not UTF-8: the byte at offset {offset} is not part of a character")]
    NotUtf8 {
        /// Offset of the first invalid byte, from 0 at the first byte that is not white space.
        offset: usize,
    },
    /// The text is UTF-16.
    #[error("the text is UTF-16, and JSON is UTF-8; convert it before it is sent")]
    Utf16,
    /// More than one JSON value.
    #[error("another JSON value follows at line {line}, column {column}")]
    Several {
        /// Line of the second value, from 1.
        line: usize,
        /// Column of the second value in bytes, from 1.
        column: usize,
    },
    /// The text is not JSON.
    #[error("not valid JSON at line {line}, column {column}: {reason}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
        /// Message of the JSON parser.
        reason: String,
    },
    /// Objects and arrays are nested more deeply than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A field occurs twice.
    #[error("the field `{field}` is there twice")]
    Repeated {
        /// Name of the field.
        field: &'static str,
    },
    /// The JSON value is not an object.
    #[error("an event is a JSON object, and this is {found}")]
    NotAnObject {
        /// Type of the value, with an article.
        found: &'static str,
    },
    /// Fields are missing that every outcome has.
    #[error("missing {}; every event has `source`, `event_kind` and `ok`", quoted(.fields))]
    Missing {
        /// Names of the fields, at least one.
        fields: Vec<&'static str>,
    },
    /// A field has a value of the wrong type or out of range.
    #[error("the field `{field}` must be {expected}, and this is {found}")]
    Invalid {
        /// Name of the field.
        field: &'static str,
        /// Accepted values, with an article.
        expected: &'static str,
        /// Excerpt of the value, or its type.
        found: Cow<'static, str>,
    },
}

impl EventError {
    /// Returns whether the bytes are not JSON that could be an event (status 400), as opposed to
    /// JSON whose content is invalid (status 422).
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        match self {
            Self::Empty
            | Self::TooLong { .. }
            | Self::NotUtf8 { .. }
            | Self::Utf16
            | Self::Several { .. }
            | Self::Syntax { .. }
            | Self::TooDeep => true,
            // The parser names the field, or the member `event` of an envelope.
            Self::Repeated { field } => Field::from_name(field.as_bytes())
                .is_none_or(|field| Field::UNREPEATABLE.contains(&field)),
            Self::NotAnObject { .. } | Self::Missing { .. } | Self::Invalid { .. } => false,
        }
    }

    /// Returns the field that is at fault, if there is one; the first of several.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Repeated { field } | Self::Invalid { field, .. } => Some(field),
            Self::Missing { fields } => fields.first().copied(),
            _ => None,
        }
    }
}

/// Joins names to a text like "`a`, `b` and `c`".
fn quoted(names: &[&str]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        text.push_str(match index {
            0 => "",
            _ if index + 1 == names.len() => " and ",
            _ => ", ",
        });
        text.push('`');
        text.push_str(name);
        text.push('`');
    }
    text
}
