//! Submissions of producers: an event, or an envelope around one.

use std::mem;

use bytes::Bytes;
use observer_redact::Redactor;
use uuid::Uuid;

use super::Event;
use super::error::EventError;
use super::field::Field;
use super::options::ParseOptions;
use super::parse::{Members, OnUnreadable, quoted, trimmed};
use super::redaction;
use super::warning::FieldWarning;

/// Event as a producer sends it, bare or in an envelope.
///
/// An envelope has an object `event` and no `source`. Of its other keys only `id` is read, which
/// gives the event its identity; so the envelopes that an observer writes can be sent again.
///
/// ```
/// use observer_core::Submission;
///
/// let bare = Submission::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#)?;
/// assert_eq!(bare.id, None);
///
/// let envelope = Submission::parse(concat!(
///     r#"{"id":"5f3c9b0e-6a53-5f0e-9e7e-0d8f1c2b3a49","seq":12,"#,
///     r#""event":{"source":"bot","event_kind":"ok","ok":true}}"#,
/// ))?;
/// assert!(envelope.id.is_some());
/// assert_eq!(envelope.event, bare.event);
/// # Ok::<(), observer_core::EventError>(())
/// ```
#[derive(Debug, PartialEq)]
pub struct Submission {
    /// The event.
    pub event: Event,
    /// Identity of the event, from its envelope.
    pub id: Option<Uuid>,
    /// Optional fields that can't be read, and are treated as absent, and redacted fields.
    pub warnings: Vec<FieldWarning>,
    /// Bytes of the event before [`trim`](Self::trim) replaced a part of them.
    pub untrimmed: Option<Bytes>,
}

impl Submission {
    /// Parses an event, or an envelope around one, with the default options.
    ///
    /// # Errors
    /// If the bytes are not a valid event; the error is the first violation, see [`EventError`].
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, EventError> {
        Self::parse_with(bytes, &ParseOptions::default())
    }

    /// Parses an event, or an envelope around one, and redacts it with the
    /// [`redactor`](ParseOptions::redactor).
    ///
    /// # Errors
    /// If the bytes are not a valid event; the error is the first violation, see [`EventError`].
    /// With [`strict`](ParseOptions::strict), what would be a warning is a violation.
    pub fn parse_with(bytes: impl Into<Bytes>, options: &ParseOptions) -> Result<Self, EventError> {
        let redactor = options.redactor.as_ref();
        let filter = redactor.map(Redactor::key_filter);
        let mut raw = trimmed(bytes.into())?;
        let mut members = Members::read_with(&raw, filter)?;
        let mut id = None;
        if let Some(inner) = members.enclosed_event() {
            members.reject_repeated_event()?;
            members.reject_repeated_identity()?;
            id = envelope_id(&members)?;
            raw = raw.slice(inner);
            members = Members::read_with(&raw, filter)?;
        }
        // Before the fields are read, so that no warning and no error has a secret.
        let redacted = redactor
            .filter(|redactor| members.may_have_secrets(redactor))
            .and_then(|redactor| redaction::redacted(redactor, members.input()));
        let mut found = Vec::new();
        if let Some(redacted) = redacted {
            raw = redacted.json.into();
            found = redacted.found;
            members = Members::read(&raw)?;
        }
        let mut warnings = Vec::new();
        let on_unreadable =
            if options.strict { OnUnreadable::Reject } else { OnUnreadable::Warn(&mut warnings) };
        let (fields, is_phase) = members.to_fields(&options.phases, on_unreadable)?;
        warnings.extend(redaction::warnings(&found));
        Ok(Self { event: Event::new(raw, fields, is_phase), id, warnings, untrimmed: None })
    }

    /// Returns the bytes of the event as the producer sent it, without its secrets, from which its
    /// identity is derived.
    #[must_use]
    pub fn content(&self) -> &Bytes {
        self.untrimmed.as_ref().unwrap_or_else(|| self.event.raw())
    }

    /// Trims the event to at most `max` bytes, as [`Event::trimmed`] does, with a warning on
    /// `extra`. Returns `false`, and changes nothing, if the event is still too large.
    ///
    /// ```
    /// use observer_core::Submission;
    ///
    /// let log = "x".repeat(1_000);
    /// let event = format!(
    ///     r#"{{"source":"bot","event_kind":"ok","ok":true,"extra":{{"log":"{log}"}}}}"#
    /// );
    /// let mut submission = Submission::parse(event.clone())?;
    /// assert!(submission.trim(200));
    /// assert!(submission.event.raw().len() <= 200);
    /// assert_eq!(submission.warnings[0].field, "extra");
    /// assert_eq!(submission.content(), event.as_bytes());
    /// # Ok::<(), observer_core::EventError>(())
    /// ```
    #[must_use]
    pub fn trim(&mut self, max: usize) -> bool {
        let size = self.event.raw().len();
        if size <= max {
            return true;
        }
        let Some(trimmed) = self.event.trimmed(max) else { return false };
        self.warnings.push(FieldWarning::new(
            Field::Extra,
            format!(
                "the event of {size} bytes exceeds the limit of {max} bytes; the value is replaced \
                 by its size and SHA-256"
            ),
        ));
        self.untrimmed = Some(mem::replace(&mut self.event, trimmed).into_raw());
        true
    }
}

fn envelope_id(envelope: &Members<'_>) -> Result<Option<Uuid>, EventError> {
    let invalid = |found| EventError::Invalid {
        field: Field::Id.as_str(),
        expected: "a UUID in an envelope",
        found,
    };
    if envelope.get(Field::Id).is_none() {
        return Ok(None);
    }
    // An empty id is a UUID as little as any other text is.
    if envelope.get(Field::Id) == Some("\"\"") {
        return Err(invalid("\"\"".into()));
    }
    let text = envelope.required_text(Field::Id)?;
    let text = text.as_str(envelope.input());
    Uuid::parse_str(text).map(Some).map_err(|_| invalid(quoted(text).into()))
}

impl From<Event> for Submission {
    fn from(event: Event) -> Self {
        Self { event, id: None, warnings: Vec::new(), untrimmed: None }
    }
}
