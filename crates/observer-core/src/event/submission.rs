//! Submissions of producers: an event, or an envelope around one.

use bytes::Bytes;
use uuid::Uuid;

use super::Event;
use super::error::EventError;
use super::field::Field;
use super::members::{Members, quoted, trimmed};

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
}

impl Submission {
    /// Parses an event, or an envelope around one.
    ///
    /// # Errors
    /// If the bytes are not a valid event; the error is the first violation, see [`EventError`].
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, EventError> {
        let raw = trimmed(bytes.into())?;
        let members = Members::read(&raw)?;
        let Some(inner) = members.enclosed_event() else {
            let fields = members.into_fields(&raw)?;
            return Ok(Self { event: Event::new(raw, fields), id: None });
        };
        members.reject_repeated_event()?;
        members.reject_repeated_fields()?;
        let id = match members.text(Field::Id)? {
            None => None,
            Some(text) => {
                let text = text.resolve(&raw);
                Some(Uuid::parse_str(&text).map_err(|_| EventError::Invalid {
                    field: Field::Id.as_str(),
                    expected: "a UUID in an envelope",
                    found: quoted(&text).into(),
                })?)
            }
        };
        Ok(Self { event: Event::parse(raw.slice(inner))?, id })
    }
}

impl From<Event> for Submission {
    fn from(event: Event) -> Self {
        Self { event, id: None }
    }
}
