//! Why bytes are not an event.

use std::borrow::Cow;

use crate::MAX_DEPTH;

/// Why bytes are not an event. Its text is meant for the person who sent them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Nothing but white space.
    #[error("the body is empty; send one JSON object")]
    Empty,
    /// Longer than an event can be.
    #[error("an event of {length} bytes is too long")]
    TooLong {
        /// In bytes.
        length: usize,
    },
    /// JSON is UTF-8 (RFC 8259, section 8.1).
    #[error("not UTF-8: the byte at offset {offset} is not part of a character")]
    NotUtf8 {
        /// Of the first bad byte, from 0 at the first byte that is no white space.
        offset: usize,
    },
    /// Not JSON.
    #[error("not valid JSON at line {line}, column {column}: {reason}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
        /// What the parser expected there.
        reason: String,
    },
    /// Nested more deeply than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A key that has a meaning here stands there twice.
    #[error("the field `{field}` is there twice")]
    Repeated {
        /// Its name.
        field: &'static str,
    },
    /// JSON, but no object.
    #[error("an event is a JSON object, and this is {found}")]
    NotAnObject {
        /// What it is, with an article.
        found: &'static str,
    },
    /// Fields that every event has.
    #[error("missing {}; every event has `source`, `event_kind` and `ok`", quoted(.fields))]
    Missing {
        /// Their names.
        fields: Vec<&'static str>,
    },
    /// A known field that can't be read.
    #[error("the field `{field}` must be {expected}, and this is {found}")]
    Invalid {
        /// Its name.
        field: &'static str,
        /// What it has to be, with an article.
        expected: &'static str,
        /// What it is.
        found: Cow<'static, str>,
    },
}

impl EventError {
    /// Whether the bytes can't be read at all (400), as opposed to JSON that is no event (422).
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        match self {
            Self::Empty
            | Self::TooLong { .. }
            | Self::NotUtf8 { .. }
            | Self::Syntax { .. }
            | Self::TooDeep
            | Self::Repeated { .. } => true,
            Self::NotAnObject { .. } | Self::Missing { .. } | Self::Invalid { .. } => false,
        }
    }

    /// The field that is at fault, where it is one.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Repeated { field } | Self::Invalid { field, .. } => Some(field),
            Self::Missing { fields } => fields.first().copied(),
            _ => None,
        }
    }
}

/// `a`, `b` and `c`, each in backquotes.
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
