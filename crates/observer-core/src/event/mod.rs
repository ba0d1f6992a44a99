//! Events: the bytes that a producer sent, and the fields that the observer reads.
//!
//! | module | content |
//! |---|---|
//! | `field` | the fields and their names |
//! | `fields` | the values of one event's fields |
//! | `key`, `members` | the parser |
//! | `other_fields` | the fields that the observer does not read |
//! | `submission` | an event or an envelope, as a producer sends it |
//! | `error` | the violations that the parser reports |

mod error;
mod field;
mod fields;
mod key;
mod members;
mod other_fields;
mod submission;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;
use jiff::Timestamp;

pub use self::error::EventError;
pub use self::field::Field;
use self::fields::{Fields, Span, Text};
use self::members::trimmed;
use self::other_fields::other_fields;
pub use self::submission::Submission;
use crate::Usage;

/// Outcome of one cycle of an agent, bot or job.
///
/// The event owns the producer's bytes unaltered. Fields that are read often are kept beside them
/// as ranges and small values, so reading an event never builds a tree. Unknown fields, the order
/// and repetition of keys inside `extra`, and numbers of any length remain as they were sent.
///
/// ```
/// use observer_core::Event;
///
/// let event = Event::parse(concat!(
///     r#"{"source":"bot","event_kind":"tests_failed","ok":false,"turns":7,"#,
///     r#""extra":{"big":123456789012345678901234567890}}"#,
/// ))?;
/// assert_eq!(event.source(), "bot");
/// assert_eq!(event.turns(), Some(7));
/// assert_eq!(event.extra(), Some(r#"{"big":123456789012345678901234567890}"#));
/// # Ok::<(), observer_core::EventError>(())
/// ```
pub struct Event {
    raw: Bytes,
    /// Set by [`parse`](Self::parse), or on first use.
    fields: OnceLock<Box<Fields>>,
}

impl Event {
    fn new(raw: Bytes, fields: Fields) -> Self {
        Self { raw, fields: Box::new(fields).into() }
    }

    /// Parses one JSON object.
    ///
    /// # Errors
    /// If the bytes are not a valid event; the error is the first violation, see [`EventError`].
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, EventError> {
        let raw = trimmed(bytes.into())?;
        let fields = Fields::parse(&raw)?;
        Ok(Self::new(raw, fields))
    }

    /// Creates an event from bytes that [`raw`](Self::raw) returned before, such as those in a log
    /// of accepted events.
    ///
    /// The bytes are not validated again, and parsed only when a field is first read. A component
    /// that only passes them on therefore pays nothing. If the bytes are not an event after all,
    /// the required strings are empty and the other fields are absent.
    ///
    /// ```
    /// use observer_core::Event;
    ///
    /// let event = Event::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#)?;
    /// let again = Event::from_parsed(event.raw().clone());
    /// assert_eq!(again.source(), "bot");
    /// # Ok::<(), observer_core::EventError>(())
    /// ```
    #[must_use]
    pub fn from_parsed(raw: Bytes) -> Self {
        Self { raw, fields: OnceLock::new() }
    }

    fn fields(&self) -> &Fields {
        self.fields.get_or_init(|| Box::new(Fields::parse(&self.raw).unwrap_or_default()))
    }

    /// Returns the producer's bytes: one JSON object, without white space around it.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Returns the bytes of [`raw`](Self::raw) and drops the parsed fields.
    #[must_use]
    pub fn into_raw(self) -> Bytes {
        self.raw
    }

    /// Returns the producer, such as `bot`.
    #[must_use]
    pub fn source(&self) -> &str {
        self.text(&self.fields().source)
    }

    /// Returns the outcome, such as `ok` or `tests_failed`.
    #[must_use]
    pub fn event_kind(&self) -> &str {
        self.text(&self.fields().event_kind)
    }

    /// Returns whether the cycle succeeded.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.fields().ok
    }

    /// Returns the identifier of the cycle that ended.
    #[must_use]
    pub fn cycle_id(&self) -> Option<&str> {
        self.optional(&self.fields().cycle_id)
    }

    /// Returns the hash of the problem that the cycle worked on. Further cycles on the same problem
    /// have the same hash.
    #[must_use]
    pub fn sig_hash(&self) -> Option<&str> {
        self.optional(&self.fields().sig_hash)
    }

    /// Returns the model, such as `gpt-oss:120b`.
    #[must_use]
    pub fn staffer_id(&self) -> Option<&str> {
        self.optional(&self.fields().staffer_id)
    }

    /// Returns the producer's identifier of this event, in whatever form it has.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.optional(&self.fields().id)
    }

    /// Returns the W3C trace context of the cycle as it was sent; see
    /// [`Traceparent::parse`](crate::Traceparent::parse).
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.optional(&self.fields().traceparent)
    }

    /// Returns the number of calls to the model.
    #[must_use]
    pub fn turns(&self) -> Option<u64> {
        self.fields().turns
    }

    /// Returns the duration of the cycle in milliseconds; finite and not negative.
    #[must_use]
    pub fn duration_ms(&self) -> Option<f64> {
        self.fields().duration_ms
    }

    /// Returns the time of the outcome by the producer's clock.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.fields().timestamp
    }

    /// Returns the opaque object, as the JSON text that was sent.
    #[must_use]
    pub fn extra(&self) -> Option<&str> {
        self.fields().extra.map(|span| self.slice(span))
    }

    /// Returns the fields that are not in [`Field`], each with its value as the JSON text that was
    /// sent. Every call parses the event again.
    ///
    /// ```
    /// use observer_core::Event;
    ///
    /// let event = Event::parse(r#"{"source":"bot","event_kind":"ok","ok":true,"team":"red"}"#)?;
    /// assert_eq!(event.other_fields(), [("team".into(), "\"red\"")]);
    /// # Ok::<(), observer_core::EventError>(())
    /// ```
    #[must_use]
    pub fn other_fields(&self) -> Vec<(Cow<'_, str>, &str)> {
        std::str::from_utf8(&self.raw).map(other_fields).unwrap_or_default()
    }

    /// Returns tokens and cost from `usage`, or else from `extra.usage`; see [`Usage`]. They are
    /// parsed on first use.
    #[must_use]
    pub fn usage(&self) -> Option<&Usage> {
        let fields = self.fields();
        fields
            .usage
            .get_or_init(|| {
                let own = fields.usage_field.map(|span| self.slice(span));
                own.and_then(Usage::parse)
                    .or_else(|| self.extra().and_then(Usage::parse_within_extra))
            })
            .as_ref()
    }

    /// Returns whether a field is present. `null` is absent, and so is usage in which
    /// [`Usage`] recognises nothing.
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        match field {
            Field::Source | Field::EventKind | Field::Ok => true,
            Field::CycleId => self.cycle_id().is_some(),
            Field::SigHash => self.sig_hash().is_some(),
            Field::StafferId => self.staffer_id().is_some(),
            Field::Turns => self.turns().is_some(),
            Field::DurationMs => self.duration_ms().is_some(),
            Field::Extra => self.extra().is_some(),
            Field::Id => self.id().is_some(),
            Field::Timestamp => self.timestamp().is_some(),
            Field::Traceparent => self.traceparent().is_some(),
            Field::Usage => self.usage().is_some(),
        }
    }

    fn optional<'a>(&'a self, text: &'a Option<Text>) -> Option<&'a str> {
        text.as_ref().map(|text| self.text(text))
    }

    fn text<'a>(&'a self, text: &'a Text) -> &'a str {
        match text {
            Text::InPlace(span) => self.slice(*span),
            Text::Unescaped(text) => text,
        }
    }

    fn slice(&self, span: Span) -> &str {
        std::str::from_utf8(&self.raw[span.range()])
            .expect("the parser validated the whole event as UTF-8")
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Event").field(&String::from_utf8_lossy(&self.raw)).finish()
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}
