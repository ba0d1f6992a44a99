//! Warnings about fields that were not stored or read as they were sent.

use std::borrow::Cow;

use super::field::Field;

/// Warning about a field of an event that is accepted nevertheless. It is meant for the producer.
///
/// ```
/// use observer_core::Submission;
///
/// let event = r#"{"source":"bot","event_kind":"ok","ok":true,"turns":-1}"#;
/// let submission = Submission::parse(event)?;
/// assert_eq!(submission.event.turns(), None);
/// assert_eq!(submission.warnings[0].field, "turns");
/// assert_eq!(
///     submission.warnings[0].detail,
///     "-1 is not a whole number from 0 to 2^53; the field is treated as absent"
/// );
/// # Ok::<(), observer_core::EventError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldWarning {
    /// Name of the field, which is one of [`Field`], or [`OTHER`](Self::OTHER).
    pub field: &'static str,
    /// Problem and consequence, with an excerpt of the value.
    pub detail: Cow<'static, str>,
}

impl FieldWarning {
    /// Stands for the fields that are not in [`Field`].
    pub const OTHER: &str = "other";

    /// Creates a warning about a field.
    pub fn new(field: Field, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.as_str(), detail: detail.into() }
    }
}
