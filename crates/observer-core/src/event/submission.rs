//! Submissions of producers: an event, or an envelope around one.

use bytes::Bytes;
use uuid::Uuid;

use super::Event;
use super::error::EventError;
use super::field::Field;
use super::options::ParseOptions;
use super::parse::{Members, OnUnreadable, quoted, trimmed};
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
    /// Optional fields that can't be read, and are treated as absent.
    pub warnings: Vec<FieldWarning>,
}

impl Submission {
    /// Parses an event, or an envelope around one, with the default options.
    ///
    /// # Errors
    /// If the bytes are not a valid event; the error is the first violation, see [`EventError`].
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, EventError> {
        Self::parse_with(bytes, &ParseOptions::default())
    }

    /// Parses an event, or an envelope around one.
    ///
    /// # Errors
    /// If the bytes are not a valid event; the error is the first violation, see [`EventError`].
    /// With [`strict`](ParseOptions::strict), what would be a warning is a violation.
    pub fn parse_with(bytes: impl Into<Bytes>, options: &ParseOptions) -> Result<Self, EventError> {
        let mut raw = trimmed(bytes.into())?;
        let mut members = Members::read(&raw)?;
        let mut id = None;
        if let Some(inner) = members.enclosed_event() {
            members.reject_repeated_event()?;
            members.reject_repeated_identity()?;
            id = envelope_id(&members)?;
            raw = raw.slice(inner);
            members = Members::read(&raw)?;
        }
        let mut warnings = Vec::new();
        let on_unreadable =
            if options.strict { OnUnreadable::Reject } else { OnUnreadable::Warn(&mut warnings) };
        let (fields, is_phase) = members.to_fields(&options.phases, on_unreadable)?;
        Ok(Self { event: Event::new(raw, fields, is_phase), id, warnings })
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
        Self { event, id: None, warnings: Vec::new() }
    }
}
