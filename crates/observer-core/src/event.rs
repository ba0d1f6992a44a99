//! One outcome event, kept as the bytes its producer sent.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use jiff::Timestamp;

use crate::Usage;
use crate::parse::others::others;

/// How deeply objects and arrays may be nested in an event.
pub const MAX_DEPTH: usize = 64;

/// One outcome of one cycle.
///
/// The event owns the producer's bytes unaltered; what is asked often is kept beside them as ranges
/// and small values. Unknown fields, the order and repetition of keys inside `extra` and numbers of
/// any length are therefore still there in [`raw`](Self::raw), and reading an event never builds a
/// tree of it.
///
/// ```
/// use observer_core::Event;
///
/// let event = Event::parse(
///     r#"{"source":"bot","event_kind":"tests_failed","ok":false,"turns":7,"extra":{"big":123456789012345678901234567890}}"#,
/// )?;
/// assert_eq!(event.source(), "bot");
/// assert_eq!(event.turns(), Some(7));
/// assert_eq!(event.extra(), Some(r#"{"big":123456789012345678901234567890}"#));
/// # Ok::<(), observer_core::EventError>(())
/// ```
pub struct Event {
    raw: Bytes,
    /// Read by the parser, or when first asked for.
    fields: OnceLock<Box<Fields>>,
}

/// What is asked of an event often.
#[derive(Default)]
pub(crate) struct Fields {
    pub(crate) source: Text,
    pub(crate) event_kind: Text,
    pub(crate) ok: bool,
    pub(crate) cycle_id: Option<Text>,
    pub(crate) sig_hash: Option<Text>,
    pub(crate) staffer_id: Option<Text>,
    pub(crate) id: Option<Text>,
    pub(crate) traceparent: Option<Text>,
    pub(crate) turns: Option<u64>,
    pub(crate) duration_ms: Option<f64>,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) extra: Option<Span>,
    pub(crate) usage_field: Option<Span>,
    pub(crate) usage: OnceLock<Option<Usage>>,
}

/// A part of the raw bytes. Events are far smaller than 4 GiB; the parser refuses others.
#[derive(Clone, Copy, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) fn new(range: Range<usize>) -> Self {
        let narrow = |at: usize| u32::try_from(at).expect("the parser refuses events past 4 GiB");
        Self { start: narrow(range.start), end: narrow(range.end) }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A string of the event: where it stands, or unescaped where it can't be read in place.
#[derive(Clone)]
pub(crate) enum Text {
    InPlace(Span),
    Unescaped(Box<str>),
}

impl Default for Text {
    fn default() -> Self {
        Self::InPlace(Span::default())
    }
}

impl Event {
    pub(crate) fn new(raw: Bytes, fields: Fields) -> Self {
        Self { raw, fields: Box::new(fields).into() }
    }

    /// An event out of bytes that [`raw`](Self::raw) gave before, such as those in a log of events
    /// that were taken in. They are not checked again, and are read when a field is first asked
    /// for; so this costs nothing to those who only pass the bytes on.
    ///
    /// Of bytes that are no event after all, the strings are empty and the rest is absent.
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
        self.fields.get_or_init(|| Box::new(Fields::of(&self.raw).unwrap_or_default()))
    }

    /// The producer's own bytes: one JSON object, without the white space around it.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The bytes of [`raw`](Self::raw), without the rest.
    #[must_use]
    pub fn into_raw(self) -> Bytes {
        self.raw
    }

    /// Who reports, such as `bot`.
    #[must_use]
    pub fn source(&self) -> &str {
        self.text(&self.fields().source)
    }

    /// The outcome, such as `ok` or `tests_failed`.
    #[must_use]
    pub fn event_kind(&self) -> &str {
        self.text(&self.fields().event_kind)
    }

    /// Whether the cycle succeeded.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.fields().ok
    }

    /// Which cycle ended.
    #[must_use]
    pub fn cycle_id(&self) -> Option<&str> {
        self.optional(&self.fields().cycle_id)
    }

    /// The hash of the problem that the cycle worked on: the same problem tried again has the same
    /// one.
    #[must_use]
    pub fn sig_hash(&self) -> Option<&str> {
        self.optional(&self.fields().sig_hash)
    }

    /// The model that was used, such as `gpt-oss:120b`.
    #[must_use]
    pub fn staffer_id(&self) -> Option<&str> {
        self.optional(&self.fields().staffer_id)
    }

    /// The producer's own name for this event, whatever its form.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.optional(&self.fields().id)
    }

    /// W3C trace context of the cycle, as sent.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.optional(&self.fields().traceparent)
    }

    /// How many calls to the model the cycle made.
    #[must_use]
    pub fn turns(&self) -> Option<u64> {
        self.fields().turns
    }

    /// How long the cycle took, in milliseconds; finite and not negative.
    #[must_use]
    pub fn duration_ms(&self) -> Option<f64> {
        self.fields().duration_ms
    }

    /// When it happened, by the producer's clock.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.fields().timestamp
    }

    /// The opaque object, as the JSON text that was sent.
    #[must_use]
    pub fn extra(&self) -> Option<&str> {
        self.fields().extra.map(|span| self.slice(span))
    }

    /// The fields that this type has no method for, each with its value as the JSON text that was
    /// sent; read anew each time.
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
        std::str::from_utf8(&self.raw).map(others).unwrap_or_default()
    }

    /// Tokens and cost, parsed when first asked for; `None` where the event tells nothing of them.
    ///
    /// They are looked for in `usage`, then in `extra.usage`, see [`Usage`].
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
            .expect("the parser checked the whole event for UTF-8")
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
