//! Parsing of an event within the limit of a stored event.

use bytes::Bytes;
use observer_core::{Event, EventError, ParseOptions, Submission};
use serde::{Deserialize, Serialize};

/// Size up to which an uncompressed body is parsed on the runtime's thread, which takes about a
/// millisecond. Other bodies are parsed on the blocking pool.
pub(crate) const MAX_PARSED_INLINE: usize = 512 << 10;

/// Reaction to an event that is larger than the limit of a stored event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Oversize {
    /// The event is stored without its `extra`, with a warning. It is rejected (413) if it is still
    /// too large.
    #[default]
    Trim,
    /// The event is rejected (413).
    Reject,
}

/// Options of the events in a request. A clone allocates nothing.
#[derive(Debug, Clone)]
pub(crate) struct EventOptions {
    pub(crate) parse: ParseOptions,
    /// Size limit of a stored event.
    pub(crate) max_bytes: usize,
    pub(crate) oversize: Oversize,
}

/// Reason for which an event is rejected before ingest.
#[derive(Debug)]
pub(crate) enum RejectedEvent {
    Invalid(EventError),
    /// The event exceeds the limit, and was trimmed in vain if that is configured.
    TooLarge {
        max_bytes: usize,
        oversize: Oversize,
    },
}

impl EventOptions {
    /// Parses an event and trims it if it is too large to be stored.
    ///
    /// # Errors
    /// If the event is invalid, or too large and not trimmed.
    pub(crate) fn parse(&self, bytes: Bytes) -> Result<Submission, RejectedEvent> {
        let size = bytes.len();
        let mut submission =
            Submission::parse_with(bytes, &self.parse).map_err(RejectedEvent::Invalid)?;
        let event = &submission.event;
        // A redacted event may have grown.
        if size.max(event.raw().len()) <= self.max_bytes {
            return Ok(submission);
        }
        if event.raw().len() <= self.max_bytes {
            // An event stays in memory for a while, and must not keep a large envelope or a whole
            // batch alive.
            let copy = Bytes::copy_from_slice(event.raw());
            submission.event = Event::from_parsed(copy).with_phase(event.is_phase());
            return Ok(submission);
        }
        let Self { max_bytes, oversize, .. } = *self;
        let is_trimmed = oversize == Oversize::Trim && submission.trim(max_bytes);
        if is_trimmed {
            Ok(submission)
        } else {
            Err(RejectedEvent::TooLarge { max_bytes, oversize })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(oversize: Oversize) -> EventOptions {
        EventOptions { parse: ParseOptions::default(), max_bytes: 200, oversize }
    }

    fn event(extra: &str, more: &str) -> Bytes {
        format!(r#"{{"source":"s","event_kind":"k","ok":true,"extra":{extra}{more}}}"#).into()
    }

    #[test]
    fn event_of_exactly_the_limit_is_not_trimmed() {
        let rest = event("\"\"", "").len();
        for (padding, is_trimmed) in [(200 - rest, false), (201 - rest, true)] {
            let event = event(&format!("\"{}\"", "x".repeat(padding)), "");
            let submission = options(Oversize::Trim).parse(event.clone()).unwrap();
            assert_eq!(submission.untrimmed.is_some(), is_trimmed, "{padding}");
            assert_eq!(submission.content(), &event);
            let is_rejected = options(Oversize::Reject).parse(event).is_err();
            assert_eq!(is_rejected, is_trimmed, "{padding}");
        }
    }

    #[test]
    fn other_large_fields_are_not_trimmed() {
        let large = format!(r#","other":"{}""#, "x".repeat(300));
        for extra in ["{}".to_owned(), format!("[\"{}\"]", "x".repeat(300))] {
            let result = options(Oversize::Trim).parse(event(&extra, &large));
            assert!(matches!(result, Err(RejectedEvent::TooLarge { .. })), "{result:?}");
        }
    }

    #[test]
    fn small_event_does_not_keep_its_large_envelope_alive() {
        let inner = event("{}", "");
        let text = std::str::from_utf8(&inner).unwrap();
        let envelope = format!(r#"{{"note":"{}","event":{text}}}"#, "x".repeat(300));
        let submission = options(Oversize::Reject).parse(envelope.into()).unwrap();
        assert_eq!((submission.event.raw(), &submission.untrimmed), (&inner, &None));
        let raw = submission.event.into_raw().try_into_mut().expect("the bytes have one owner");
        assert_eq!(raw.capacity(), inner.len());
    }
}
