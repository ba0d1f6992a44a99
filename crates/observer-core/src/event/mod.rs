//! Events: the bytes that a producer sent, and the fields that the observer reads.
//!
//! | module | content |
//! |---|---|
//! | `field` | the fields and their names |
//! | `fields` | the values of one event's fields |
//! | `parse` | the parser |
//! | `options` | the options of the parser |
//! | `other_fields` | the fields that the observer does not read |
//! | `redaction` | redaction of secrets in `extra`, `labels` and other fields |
//! | `submission` | an event or an envelope, as a producer sends it |
//! | `trim` | replacement of an `extra` that is too large |
//! | `error`, `warning` | the violations and warnings that the parser reports |

mod error;
mod field;
mod fields;
mod options;
mod other_fields;
mod parse;
mod redaction;
mod submission;
#[cfg(test)]
mod tests;
mod trim;
mod warning;

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;
use jiff::Timestamp;
use observer_redact::{Redacted, Redactor};

pub use self::error::EventError;
pub use self::field::Field;
use self::fields::{Fields, Span, Text};
pub use self::options::{ParseOptions, Phases};
use self::other_fields::other_fields;
use self::parse::{Members, OnUnreadable, trimmed};
pub use self::submission::Submission;
pub use self::warning::FieldWarning;
use crate::usage::{Others, Places, Usage, UsageReading};

/// Outcome of one cycle of an agent, bot or job, or a phase that the cycle reached before it.
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
    /// `None`: the default phases decide.
    is_phase: Option<bool>,
    /// Set by [`parse`](Self::parse), or on first use.
    fields: OnceLock<Box<Fields>>,
}

impl Event {
    fn new(raw: Bytes, fields: Box<Fields>, is_phase: bool) -> Self {
        Self { raw, is_phase: Some(is_phase), fields: fields.into() }
    }

    /// Parses one JSON object with the default [`ParseOptions`]. [`Submission::parse_with`] takes
    /// other options, and returns warnings.
    ///
    /// # Errors
    /// If the bytes are not a valid event; the error is the first violation, see [`EventError`].
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, EventError> {
        let raw = trimmed(bytes.into())?;
        let (fields, is_phase) =
            Members::read(&raw)?.to_fields(&Phases::default(), OnUnreadable::Ignore)?;
        Ok(Self::new(raw, fields, is_phase))
    }

    /// Creates an event from bytes that [`raw`](Self::raw) returned before, such as those in a log
    /// of accepted events.
    ///
    /// The bytes are not validated again, and parsed only when a field is first read. A component
    /// that only passes them on therefore pays nothing. The fields are those that the parser read
    /// before. [`with_phase`](Self::with_phase) says whether the event is a phase; without it, the
    /// default [`Phases`] decide. If the bytes are not an event after all, required strings are empty
    /// and other fields absent.
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
        Self { raw, is_phase: None, fields: OnceLock::new() }
    }

    /// Sets whether the event is a phase, for an event that was parsed with other phases than the
    /// default ones.
    ///
    /// ```
    /// use observer_core::Event;
    ///
    /// let raw = r#"{"source":"bot","event_kind":"queued"}"#;
    /// let event = Event::from_parsed(raw.into()).with_phase(true);
    /// assert!(event.is_phase());
    /// ```
    #[must_use]
    pub fn with_phase(self, is_phase: bool) -> Self {
        Self { is_phase: Some(is_phase), ..self }
    }

    /// Returns an event with the same bytes whose fields are not parsed yet. It shares the bytes.
    #[must_use]
    pub fn unparsed(&self) -> Self {
        Self { raw: self.raw.clone(), is_phase: self.is_phase, fields: OnceLock::new() }
    }

    /// Returns the event in at most `max` bytes: unchanged if it is small enough, else with `extra`
    /// replaced by `{"observer":{"trimmed_bytes":…,"sha256":"…"}}`, which has the length and the
    /// SHA-256 of the replaced bytes. Returns `None` if that is still too large.
    ///
    /// ```
    /// use observer_core::Event;
    ///
    /// let large = "x".repeat(1_000);
    /// let event = Event::parse(format!(
    ///     r#"{{"source":"bot","event_kind":"ok","ok":true,"extra":{{"log":"{large}"}},"id":"7"}}"#
    /// ))?;
    /// let trimmed = event.trimmed(200).unwrap();
    /// assert!(trimmed.extra().unwrap().starts_with(r#"{"observer":{"trimmed_bytes":1010,"#));
    /// assert_eq!(trimmed.id(), Some("7"));
    /// # Ok::<(), observer_core::EventError>(())
    /// ```
    #[must_use]
    pub fn trimmed(&self, max: usize) -> Option<Self> {
        if self.raw.len() <= max {
            return Some(self.unparsed());
        }
        let raw = Bytes::from(trim::without_extra(std::str::from_utf8(&self.raw).ok()?, max)?);
        Some(Self { raw, is_phase: self.is_phase, fields: OnceLock::new() })
    }

    /// Returns the JSON text of the event without the secrets in `extra`, in `labels` and in unknown
    /// fields; `None` if there are none. The place of each secret is the name of the field, or
    /// [`FieldWarning::OTHER`].
    ///
    /// [`ParseOptions::redactor`] does the same while an event is parsed.
    ///
    /// ```
    /// use observer_core::Event;
    /// use observer_core::redact::Redactor;
    ///
    /// let event = Event::parse(
    ///     r#"{"source":"s","event_kind":"ok","ok":true,"labels":{"token":"t-1"},"id":"7"}"#,
    /// )?;
    /// let redacted = event.redacted(&Redactor::default()).unwrap();
    /// assert!(redacted.json.contains(r#""labels":{"token":"[redacted:token]"},"id":"7""#));
    /// assert_eq!(redacted.found[0].place, "labels");
    /// # Ok::<(), observer_core::EventError>(())
    /// ```
    #[must_use]
    pub fn redacted(&self, redactor: &Redactor) -> Option<Redacted<&'static str>> {
        redaction::redacted(redactor, std::str::from_utf8(&self.raw).ok()?)
    }

    fn fields(&self) -> &Fields {
        self.fields.get_or_init(|| Fields::read_again(&self.raw))
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

    /// Returns whether the cycle succeeded; `None` for a phase, whatever the producer sent.
    #[must_use]
    pub fn ok(&self) -> Option<bool> {
        let ok = self.fields().ok?;
        (!self.is_phase()).then_some(ok)
    }

    /// Returns whether the event reports the progress of a cycle and not its outcome; see
    /// [`Phases`].
    #[must_use]
    pub fn is_phase(&self) -> bool {
        self.is_phase.unwrap_or_else(|| Phases::default().contains(self.event_kind()))
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

    /// Returns the W3C trace context of the cycle, which
    /// [`Traceparent::parse`](crate::Traceparent::parse) accepts.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.optional(&self.fields().traceparent)
    }

    /// Returns the number of calls to the model, at most 2^53.
    #[must_use]
    pub fn turns(&self) -> Option<u64> {
        self.fields().turns
    }

    /// Returns the duration of the cycle in milliseconds, from 0 to 100 years.
    #[must_use]
    pub fn duration_ms(&self) -> Option<f64> {
        self.fields().duration_ms
    }

    /// Returns the time of the outcome by the producer's clock, in the years from 1970 to 2262.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.fields().timestamp
    }

    /// Returns the cost of the cycle in US dollars from the field `cost_usd`, from 0 to 10^12.
    /// [`usage`](Self::usage) has the cost wherever it was sent.
    #[must_use]
    pub fn cost_usd(&self) -> Option<f64> {
        self.fields().cost_usd
    }

    /// Returns the number of the attempt at the problem, at most 2^53.
    #[must_use]
    pub fn attempt(&self) -> Option<u64> {
        self.fields().attempt
    }

    /// Returns the id of the outcome that this one corrects; never empty.
    #[must_use]
    pub fn replaces(&self) -> Option<&str> {
        self.optional(&self.fields().replaces)
    }

    /// Returns the labels by name and value, in the order of the event. No name occurs twice.
    ///
    /// ```
    /// use observer_core::Event;
    ///
    /// let event = Event::parse(
    ///     r#"{"source":"ci","event_kind":"ok","ok":true,"labels":{"branch":"main","shard":7}}"#,
    /// )?;
    /// assert!(event.labels().eq([("branch", "main"), ("shard", "7")]));
    /// # Ok::<(), observer_core::EventError>(())
    /// ```
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields().labels.iter().map(|(name, value)| (self.text(name), self.text(value)))
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

    /// Returns tokens and cost from `usage`, from fields that the observer does not know, and from
    /// `extra`, in this order of precedence; see [`Usage`]. A cost in the field `cost_usd`
    /// overrides every other. They are read on first use.
    ///
    /// ```
    /// use observer_core::Event;
    ///
    /// let event = Event::parse(concat!(
    ///     r#"{"source":"bot","event_kind":"ok","ok":true,"extra":{"response":{"model":"gpt-5","#,
    ///     r#""usage":{"prompt_tokens":90,"completion_tokens":"7"}},"totalCostUSD":0.25}}"#,
    /// ))?;
    /// let usage = event.usage().unwrap();
    /// assert_eq!((usage.input, usage.output, usage.cost_usd), (90, 7, Some(0.25)));
    /// # Ok::<(), observer_core::EventError>(())
    /// ```
    #[must_use]
    pub fn usage(&self) -> Option<&Usage> {
        self.usage_reading().usage.as_ref()
    }

    /// Returns whether numbers under names like those of tokens or cost were not understood, so
    /// that [`usage`](Self::usage) may lack them. They are looked for on first use of either.
    ///
    /// ```
    /// use observer_core::Event;
    ///
    /// let event = |extra: &str| {
    ///     let event = r#"{"source":"bot","event_kind":"ok","ok":true,"extra":"#;
    ///     Event::parse(format!("{event}{extra}}}"))
    /// };
    /// assert!(event(r#"{"planning_tokens":512}"#)?.unread_usage());
    /// assert!(!event(r#"{"max_tokens":512,"prompt_tokens":7}"#)?.unread_usage());
    /// # Ok::<(), observer_core::EventError>(())
    /// ```
    #[must_use]
    pub fn unread_usage(&self) -> bool {
        self.usage_reading().is_unread
    }

    /// Reads tokens and cost on first use.
    fn usage_reading(&self) -> &UsageReading {
        let fields = self.fields();
        fields.usage.get_or_init(|| {
            let places = Places {
                usage: fields.usage_field.map(|span| self.slice(span)),
                others: fields.has_others.then(|| Others {
                    object: std::str::from_utf8(&self.raw).unwrap_or_default(),
                    is_other: |name| Field::from_name(name).is_none(),
                }),
                extra: self.extra(),
            };
            UsageReading::of(&places, fields.cost_usd)
        })
    }

    /// Returns whether a field is present. `null` is absent, and so are a value that can't be read,
    /// usage in which [`Usage`] finds nothing it knows, and an object without labels.
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        match field {
            Field::Source | Field::EventKind => true,
            Field::Ok => self.ok().is_some(),
            Field::CycleId => self.cycle_id().is_some(),
            Field::SigHash => self.sig_hash().is_some(),
            Field::StafferId => self.staffer_id().is_some(),
            Field::Turns => self.turns().is_some(),
            Field::DurationMs => self.duration_ms().is_some(),
            Field::Extra => self.extra().is_some(),
            Field::Id => self.id().is_some(),
            Field::Timestamp => self.timestamp().is_some(),
            Field::Traceparent => self.traceparent().is_some(),
            // The field `cost_usd` is no usage.
            Field::Usage => self.usage_reading().is_reported,
            Field::CostUsd => self.cost_usd().is_some(),
            Field::Attempt => self.attempt().is_some(),
            Field::Replaces => self.replaces().is_some(),
            Field::Labels => self.labels().next().is_some(),
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
