//! Optional fields that can't be read, and what the parser does about them.

use super::super::error::EventError;
use super::super::field::Field;
use super::super::warning::FieldWarning;
use super::labels::UnreadableLabels;

/// Reaction to an optional field that can't be read.
pub(in super::super) enum OnUnreadable<'w> {
    /// The field is absent.
    Ignore,
    /// The field is absent, with a warning.
    Warn(&'w mut Vec<FieldWarning>),
    /// The event is invalid.
    Reject,
}

impl OnUnreadable<'_> {
    /// Reports a field that can't be read.
    pub(super) fn report<'a>(
        &mut self,
        unreadable: impl FnOnce() -> Unreadable<'a>,
    ) -> Result<(), EventError> {
        match self {
            Self::Ignore => Ok(()),
            Self::Warn(warnings) => {
                warnings.push(unreadable().into_warning());
                Ok(())
            }
            Self::Reject => Err(unreadable().into_error()),
        }
    }
}

/// Optional field that can't be read.
pub(super) enum Unreadable<'a> {
    Repeated(Field),
    Value {
        field: Field,
        /// Accepted values, with an article.
        expected: &'static str,
        /// JSON text of the value.
        value: &'a str,
    },
    Labels(UnreadableLabels<'a>),
}

impl Unreadable<'_> {
    fn into_warning(self) -> FieldWarning {
        match self {
            Self::Repeated(field) => {
                FieldWarning::new(field, "occurs twice; the field is treated as absent")
            }
            Self::Value { field, expected, value } => {
                let detail =
                    format!("{} is not {expected}; the field is treated as absent", excerpt(value));
                FieldWarning::new(field, detail)
            }
            Self::Labels(UnreadableLabels { first, problem, others }) => {
                let absent = match others {
                    0 => "it is".to_owned(),
                    _ => format!("{} labels are", others + 1),
                };
                let detail =
                    format!("the label {} {problem}; {absent} treated as absent", excerpt(first));
                FieldWarning::new(Field::Labels, detail)
            }
        }
    }

    fn into_error(self) -> EventError {
        match self {
            Self::Repeated(field) => EventError::Repeated { field: field.as_str() },
            Self::Value { field, expected, value } => EventError::Invalid {
                field: field.as_str(),
                expected,
                found: excerpt(value).into(),
            },
            Self::Labels(UnreadableLabels { first, .. }) => EventError::Invalid {
                field: Field::Labels.as_str(),
                expected: "an object of strings, each with a name of its own",
                found: format!("one with {}", excerpt(first)).into(),
            },
        }
    }
}

/// Returns the type of a JSON value, with an article.
pub(super) fn type_of(json: &str) -> &'static str {
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
pub(in super::super) fn quoted(text: &str) -> String {
    let (start, ellipsis) = truncated(text);
    format!("{start:?}{ellipsis}")
}

/// Returns a JSON text for a message: truncated, and without invisible characters.
pub(in super::super) fn excerpt(json: &str) -> String {
    let (start, ellipsis) = truncated(json);
    let mut text = String::with_capacity(start.len() + ellipsis.len());
    for character in start.chars() {
        match character {
            // Line breaks and tabs are white space between tokens.
            '\n' | '\r' | '\t' => text.push(' '),
            '"' | '\'' | '\\' => text.push(character),
            _ => text.extend(character.escape_debug()),
        }
    }
    text + ellipsis
}

/// Returns the first 60 characters of a text, and an ellipsis if it is longer.
fn truncated(text: &str) -> (&str, &'static str) {
    const MAX_CHARS: usize = 60;
    text.char_indices().nth(MAX_CHARS).map_or((text, ""), |(end, _)| (&text[..end], "…"))
}
