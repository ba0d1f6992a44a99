//! Identity of events: two events with the same identity are duplicates.
//!
//! | the producer sends | identity | id of the event |
//! |---|---|---|
//! | an idempotency key | the key | UUIDv5 of `3:key,` and the key |
//! | an envelope's id, or an `id` that is a UUID | that UUID | the same UUID |
//! | any other `id` that is not empty | `source` and `id` | UUIDv5 of `2:id,`, `source` and `id` |
//! | a `cycle_id` that is not empty, in an outcome | the cycle and its outcome | UUIDv5 of `5:cycle,` and four parts |
//! | none of these | none: each event is new | UUIDv7 |
//!
//! The four parts of the identity of a cycle are `source`, `cycle_id`, `sig_hash` and `event_kind`.
//! A phase has no such identity: each heartbeat of a cycle is an event of its own.
//!
//! Before hashing, each part is written as a netstring (`3:bot,` for `bot`, the length in bytes),
//! and a missing part as `-,`. So different lists of parts have different encodings. The UUIDv5
//! (RFC 9562, section 5.5) is computed in the [`NAMESPACE`].

use observer_core::{Event, Uuid};
use sha1::{Digest, Sha1};
use uuid::Builder;

/// Namespace of the ids that are derived from what a producer sends.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6f62_7365_7276_4572_8a5d_1f0c_93b7_41e2);

/// Identity by which a repeated event is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Id of the event.
    pub id: Uuid,
    /// Origin of the identity.
    pub origin: Origin,
}

/// Origin of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An idempotency key. The same key with another body is an error.
    Key,
    /// An id in the event or its envelope.
    Id,
    /// The cycle and its outcome.
    Cycle,
    /// None: each event is new.
    None,
}

impl Identity {
    /// Returns the identity of an event, which may have an idempotency key, or an envelope with an
    /// id.
    #[must_use]
    pub fn of(event: &Event, envelope_id: Option<Uuid>, key: Option<&str>) -> Self {
        if let Some(key) = key {
            return Self { id: hashed("key", &[Some(key)]), origin: Origin::Key };
        }
        let own = event.id().filter(|id| !id.is_empty());
        if let Some(id) = envelope_id.or_else(|| own.and_then(|id| Uuid::parse_str(id).ok())) {
            return Self { id, origin: Origin::Id };
        }
        if let Some(id) = own {
            return Self {
                id: hashed("id", &[Some(event.source()), Some(id)]),
                origin: Origin::Id,
            };
        }
        let cycle_id = event.cycle_id().filter(|id| !id.is_empty() && !event.is_phase());
        if let Some(cycle_id) = cycle_id {
            let parts =
                [Some(event.source()), Some(cycle_id), event.sig_hash(), Some(event.event_kind())];
            return Self { id: hashed("cycle", &parts), origin: Origin::Cycle };
        }
        Self { id: Uuid::now_v7(), origin: Origin::None }
    }
}

/// Computes a UUIDv5 like `Uuid::new_v5`. This runs for each event, so it uses a SHA-1 with
/// hardware support.
fn hashed(kind: &str, parts: &[Option<&str>]) -> Uuid {
    let mut name = Vec::with_capacity(160);
    name.extend_from_slice(NAMESPACE.as_bytes());
    for part in std::iter::once(&Some(kind)).chain(parts) {
        match part {
            Some(part) => {
                name.extend_from_slice(part.len().to_string().as_bytes());
                name.push(b':');
                name.extend_from_slice(part.as_bytes());
            }
            None => name.push(b'-'),
        }
        name.push(b',');
    }
    let mut id = [0; 16];
    id.copy_from_slice(&Sha1::digest(&name)[..16]);
    Builder::from_sha1_bytes(id).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Identity {
        Identity::of(&Event::parse(json.to_owned()).unwrap(), None, None)
    }

    /// The vectors were computed by a program in another language. Clients test themselves against
    /// them.
    #[test]
    fn identities_match_the_golden_vectors() {
        let text = include_str!("../../../../tests/fixtures/identity-vectors.json");
        let fixture: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(fixture["namespace"], NAMESPACE.to_string());
        let vectors = fixture["vectors"].as_array().unwrap();
        assert!(vectors.len() > 10);
        for vector in vectors {
            let sent =
                observer_core::Submission::parse(vector["event"].as_str().unwrap().to_owned())
                    .unwrap();
            let identity = Identity::of(&sent.event, sent.id, vector["idempotency_key"].as_str());
            assert_eq!(vector["id"], identity.id.to_string(), "{}", vector["what"]);
        }
    }

    #[test]
    fn phases_of_a_cycle_are_events_of_their_own() {
        let heartbeat = r#"{"source":"bot","cycle_id":"c","event_kind":"heartbeat"}"#;
        assert_eq!(of(heartbeat).origin, Origin::None);
        assert_ne!(of(heartbeat).id, of(heartbeat).id);
        let outcome = r#"{"source":"bot","cycle_id":"c","event_kind":"ok","ok":true}"#;
        assert_eq!(of(outcome).id, of(outcome).id);
    }

    #[test]
    fn cycle_and_outcome_form_an_identity() {
        let base =
            of(r#"{"source":"bot","cycle_id":"c","sig_hash":"s","event_kind":"ok","ok":true}"#);
        assert_eq!(base.origin, Origin::Cycle);
        assert_eq!(base.id, Uuid::new_v5(&NAMESPACE, b"5:cycle,3:bot,1:c,1:s,2:ok,"));
        assert_eq!(
            base,
            of(concat!(
                r#"{"ok":true,"sig_hash":"s","turns":3,"#,
                r#""source":"bot","cycle_id":"c","event_kind":"ok"}"#
            ))
        );
        for other in [
            r#"{"source":"bot","cycle_id":"c","sig_hash":"t","event_kind":"ok","ok":true}"#,
            r#"{"source":"bot","cycle_id":"c","event_kind":"ok","ok":true}"#,
            r#"{"source":"bot","cycle_id":"c","sig_hash":"","event_kind":"ok","ok":true}"#,
            r#"{"source":"bot","cycle_id":"c1:s","sig_hash":"","event_kind":"ok","ok":true}"#,
        ] {
            assert_ne!(base.id, of(other).id, "{other}");
        }
    }

    #[test]
    fn uuid_is_used_as_is_and_other_ids_are_scoped_by_source() {
        let uuid = "5f3c9b0e-6a53-5f0e-9e7e-0d8f1c2b3a49";
        let own = of(&format!(r#"{{"source":"a","event_kind":"ok","ok":true,"id":"{uuid}"}}"#));
        assert_eq!(own.id.to_string(), uuid);
        let a = of(r#"{"source":"a","event_kind":"ok","ok":true,"id":"7"}"#);
        let b = of(r#"{"source":"b","event_kind":"ok","ok":true,"id":"7"}"#);
        assert_ne!(a.id, b.id);
        assert_eq!(a.id, Uuid::new_v5(&NAMESPACE, b"2:id,1:a,1:7,"));
    }

    #[test]
    fn idempotency_key_takes_precedence_and_events_without_identity_are_new() {
        let event =
            Event::parse(r#"{"source":"a","event_kind":"ok","ok":true,"id":"7","cycle_id":"c"}"#)
                .unwrap();
        let keyed = Identity::of(&event, Some(Uuid::nil()), Some("k"));
        assert_eq!(
            (keyed.origin, keyed.id),
            (Origin::Key, Uuid::new_v5(&NAMESPACE, b"3:key,1:k,"))
        );
        assert_eq!(Identity::of(&event, Some(Uuid::nil()), None).id, Uuid::nil());
        let nothing = r#"{"source":"a","event_kind":"ok","ok":true,"cycle_id":"","id":""}"#;
        assert_eq!(of(nothing).origin, Origin::None);
        assert_ne!(of(nothing).id, of(nothing).id);
    }
}
