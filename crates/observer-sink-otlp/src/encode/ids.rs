//! Trace and span ids of an event.
//!
//! | id | derivation |
//! |---|---|
//! | trace | trace id of `traceparent`; else a hash of the cycle; else a hash of the event's id |
//! | span | hash of the event's id |
//! | parent | parent id of `traceparent`, or none |
//! | span of the model's calls | hash of the event's id and `/chat` |
//!
//! Each hash is a prefix of SHA-256: 16 bytes for a trace, 8 bytes for a span. Its input is:
//!
//! - for a cycle, `source` and `cycle_id` as netstrings: `3:bot,6:c-0001,`,
//! - for an event, its id in hyphenated lower case.
//!
//! So an event that is sent again has the same ids, and producers can compute the ids themselves.

use observer_core::{Envelope, Event, Traceparent, Uuid};
use sha2::{Digest, Sha256};

/// Flag `sampled` of W3C Trace Context.
const SAMPLED: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    pub(crate) parent: Option<[u8; 8]>,
    /// Flags of W3C Trace Context.
    pub(crate) flags: u8,
}

impl Ids {
    pub(crate) fn new(envelope: &Envelope) -> Self {
        let event = &envelope.event;
        let span = first(&Sha256::digest(text(envelope.id, &mut [0; 36])));
        match event.traceparent().and_then(Traceparent::parse) {
            Some(Traceparent { trace_id, parent_id, flags }) => {
                Self { trace: trace_id, span, parent: Some(parent_id), flags }
            }
            None => {
                Self { trace: trace_id(event, envelope.id), span, parent: None, flags: SAMPLED }
            }
        }
    }
}

/// Returns the id of the child span for the calls to the model.
pub(super) fn llm_span(id: Uuid) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(text(id, &mut [0; 36]));
    hash.update("/chat");
    first(&hash.finalize())
}

fn trace_id(event: &Event, id: Uuid) -> [u8; 16] {
    let Some(cycle_id) = event.cycle_id().filter(|cycle_id| !cycle_id.is_empty()) else {
        return first(&Sha256::digest(text(id, &mut [0; 36])));
    };
    let mut hash = Sha256::new();
    for part in [event.source(), cycle_id] {
        hash.update(part.len().to_string());
        hash.update(":");
        hash.update(part);
        hash.update(",");
    }
    first(&hash.finalize())
}

fn text(id: Uuid, buffer: &mut [u8; 36]) -> &[u8] {
    id.hyphenated().encode_lower(buffer).as_bytes()
}

fn first<const N: usize>(hash: &[u8]) -> [u8; N] {
    hash[..N].try_into().expect("SHA-256 has 32 bytes, and N is at most 16")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::envelope;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn ids_are_hashes_that_a_shell_can_compute() {
        let cycle = envelope(
            7,
            r#"{"source":"bot","event_kind":"ok","ok":true,"cycle_id":"c-0001","sig_hash":"s"}"#,
        );
        let ids = Ids::new(&cycle);
        // printf '3:bot,6:c-0001,' | sha256sum
        assert_eq!(hex(&ids.trace), "9db4b79fa08dc2f386585396bacd027f");
        // printf 00000000-0000-0000-0000-000000000007 | sha256sum
        assert_eq!(hex(&ids.span), "0d25a51a47b7f482");
        assert_eq!((ids.parent, ids.flags), (None, 1));
        for none in ["", r#""cycle_id":"","#] {
            let alone =
                envelope(7, &format!(r#"{{"source":"s",{none}"event_kind":"ok","ok":true}}"#));
            assert_eq!(hex(&Ids::new(&alone).trace)[..16], hex(&ids.span));
        }
    }

    #[test]
    fn valid_traceparent_sets_trace_parent_and_flags() {
        let ids = |traceparent: &str| {
            Ids::new(&envelope(
                1,
                &format!(
                    r#"{{"source":"s","event_kind":"k","ok":true,"traceparent":"{traceparent}"}}"#
                ),
            ))
        };
        let own = ids("");
        let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for good in [format!("00-{trace}-{parent}-00"), format!("cc-{trace}-{parent}-00-more")] {
            let ids = ids(&good);
            assert_eq!(
                (hex(&ids.trace), ids.parent.map(|id| hex(&id))),
                (trace.to_owned(), Some(parent.to_owned()))
            );
            assert_eq!(
                (ids.span, ids.flags),
                (own.span, 0),
                "the span is the event's, the flags are the producer's"
            );
        }
        assert_eq!(ids(&format!("00-{trace}-{}-01", "0".repeat(16))), own);
    }
}
