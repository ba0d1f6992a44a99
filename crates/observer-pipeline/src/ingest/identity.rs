//! Identity of events: two events with the same identity are duplicates.
//!
//! The first row that applies is the identity of an event. `P` is the name of the access token. A
//! caller *may relay* if its token has the scope `relay`, or if it is anonymous and there are no
//! tokens.
//!
//! | the producer sends | anonymous | token `P` |
//! |---|---|---|
//! | an idempotency key | UUIDv5 of `key`, key | UUIDv5 of `key-of`, `P`, key |
//! | an envelope's id, and may relay | that UUID | that UUID |
//! | a phase with an `id` | UUIDv5 of `phase`, –, four parts | UUIDv5 of `phase`, `P`, four parts |
//! | an `id` that is a UUID of version 5, and may not relay | UUIDv5 of `id`, `source`, UUID | UUIDv5 of `id-of`, `P`, –, UUID |
//! | any other `id` that is a UUID | that UUID | UUIDv5 of `id-of`, `P`, –, UUID |
//! | any other `id` | UUIDv5 of `id`, `source`, `id` | UUIDv5 of `id-of`, `P`, `source`, `id` |
//! | an outcome with a `cycle_id` | UUIDv5 of `outcome`, –, bytes | UUIDv5 of `outcome`, `P`, bytes |
//! | none of these | UUIDv7 | UUIDv7 |
//!
//! - The ids of events are UUIDs of version 5. So an anonymous caller beside tokens can't take the id
//!   of a token's event by sending it as an `id`.
//! - An envelope's id from a caller that may not relay counts as the `id` of the event, in its
//!   canonical form: lower case with hyphens.
//! - The four parts of a phase are `source`, `id`, `event_kind` and the bytes of the event. Phases
//!   have no identity without an `id`.
//! - An empty `id` or `cycle_id` counts as none.
//! - The bytes are those of the event as it was sent, without its envelope and without white space
//!   around it. So an identical retry is a duplicate, and a second attempt in the same cycle is
//!   another event.
//!
//! Before hashing, each part is written as a netstring (`3:bot,` for `bot`, the length in bytes),
//! and a missing part (– in the table) as `-,`. So different lists of parts have different
//! encodings. The UUIDv5 (RFC 9562, section 5.5) is computed in the [`NAMESPACE`].

use observer_core::{Event, Submission, Uuid};
use sha1::{Digest, Sha1};
use uuid::{Builder, Version};

use crate::ingest::principal::Principal;

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
    /// The id of an envelope, which is adopted.
    Envelope,
    /// An `id` of the producer.
    Id,
    /// The bytes of an outcome with a `cycle_id`.
    Outcome,
    /// None: each event is new.
    None,
}

impl Identity {
    /// Returns the identity of what a principal submitted, possibly with an idempotency key.
    #[must_use]
    pub fn of(principal: &Principal, submission: &Submission, key: Option<&str>) -> Self {
        let (event, name) = (&submission.event, principal.name());
        if let Some(key) = key {
            let id = match name {
                None => derived("key", &[Some(key.as_bytes())]),
                Some(name) => derived("key-of", &[Some(name.as_bytes()), Some(key.as_bytes())]),
            };
            return Self { id, origin: Origin::Key };
        }
        if let Some(id) = submission.id.filter(|_| principal.may_relay()) {
            return Self { id, origin: Origin::Envelope };
        }
        if let Some(own) = OwnId::of(submission) {
            return Self { id: own.of_principal(principal, submission), origin: Origin::Id };
        }
        if !event.is_phase() && event.cycle_id().is_some_and(|cycle_id| !cycle_id.is_empty()) {
            let parts = [name.map(str::as_bytes), Some(submission.content())];
            return Self { id: derived("outcome", &parts), origin: Origin::Outcome };
        }
        Self { id: Uuid::now_v7(), origin: Origin::None }
    }
}

/// Identity that an event had before identities contained principals and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FormerIdentity {
    pub(crate) id: Uuid,
    /// True if it counts for the same content only: it didn't contain the bytes of a phase, whose
    /// identity contains them now.
    pub(crate) needs_same_content: bool,
}

impl FormerIdentity {
    /// Returns the former identity of a submission; `None` if it is the same, or can't be
    /// recognised.
    pub(crate) fn of(
        identity: Identity,
        submission: &Submission,
        key: Option<&str>,
    ) -> Option<Self> {
        let event = &submission.event;
        let former = |id, needs_same_content| Self { id, needs_same_content };
        let found = match identity.origin {
            Origin::Key => former(derived("key", &[Some(key?.as_bytes())]), false),
            Origin::Id => former(OwnId::of(submission)?.former(event), event.is_phase()),
            Origin::Envelope | Origin::Outcome | Origin::None => return None,
        };
        (found.id != identity.id).then_some(found)
    }
}

/// `id` of an event, or the id of its envelope in place of it.
#[derive(Clone, Copy)]
enum OwnId<'a> {
    /// `id` that is a UUID, with its text.
    Uuid(Uuid, &'a str),
    /// Id of an envelope.
    Envelope(Uuid),
    Text(&'a str),
}

impl<'a> OwnId<'a> {
    fn of(submission: &'a Submission) -> Option<Self> {
        if let Some(id) = submission.id {
            return Some(Self::Envelope(id));
        }
        let text = submission.event.id().filter(|id| !id.is_empty())?;
        Some(Uuid::parse_str(text).map_or(Self::Text(text), |id| Self::Uuid(id, text)))
    }

    /// Returns the id of a principal's event.
    fn of_principal(self, principal: &Principal, submission: &Submission) -> Uuid {
        let event = &submission.event;
        let name = principal.name().map(str::as_bytes);
        let source = Some(event.source().as_bytes());
        let mut canonical = [0; 36];
        if event.is_phase() {
            let id = match self {
                Self::Uuid(_, text) | Self::Text(text) => text,
                Self::Envelope(id) => id.hyphenated().encode_lower(&mut canonical),
            };
            let kind = Some(event.event_kind().as_bytes());
            let parts = [name, source, Some(id.as_bytes()), kind, Some(submission.content())];
            return derived("phase", &parts);
        }
        match (self, name) {
            // The identities of tokens have version 5, too.
            (Self::Uuid(id, _) | Self::Envelope(id), None)
                if !principal.may_relay() && id.get_version() == Some(Version::Sha1) =>
            {
                let id = id.hyphenated().encode_lower(&mut canonical);
                derived("id", &[source, Some(id.as_bytes())])
            }
            (own, None) => own.former(event),
            (Self::Uuid(id, _) | Self::Envelope(id), Some(_)) => {
                let id = id.hyphenated().encode_lower(&mut canonical);
                derived("id-of", &[name, None, Some(id.as_bytes())])
            }
            (Self::Text(id), Some(_)) => derived("id-of", &[name, source, Some(id.as_bytes())]),
        }
    }

    /// Returns the id that an event had before identities contained principals.
    fn former(self, event: &Event) -> Uuid {
        match self {
            Self::Uuid(id, _) | Self::Envelope(id) => id,
            Self::Text(id) => {
                derived("id", &[Some(event.source().as_bytes()), Some(id.as_bytes())])
            }
        }
    }
}

/// Computes a UUIDv5 like `Uuid::new_v5`. This runs for each event, so it uses a SHA-1 with
/// hardware support, and copies nothing.
fn derived(kind: &str, parts: &[Option<&[u8]>]) -> Uuid {
    let mut hash = Sha1::new();
    hash.update(NAMESPACE.as_bytes());
    for part in std::iter::once(&Some(kind.as_bytes())).chain(parts) {
        match part {
            Some(part) => {
                hash.update(Decimal::of(part.len()).as_bytes());
                hash.update(b":");
                hash.update(part);
                hash.update(b",");
            }
            None => hash.update(b"-,"),
        }
    }
    let mut id = [0; 16];
    id.copy_from_slice(&hash.finalize()[..16]);
    Builder::from_sha1_bytes(id).into_uuid()
}

/// Number as decimal digits.
struct Decimal {
    digits: [u8; 20],
    first: usize,
}

impl Decimal {
    fn of(mut number: usize) -> Self {
        let (mut digits, mut first) = ([0; 20], 20);
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { digits, first };
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[self.first..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Identity {
        of_principal(&Principal::anonymous(), json)
    }

    fn of_principal(principal: &Principal, json: &str) -> Identity {
        let sent = Submission::parse(json.to_owned()).unwrap();
        Identity::of(principal, &sent, None)
    }

    /// The vectors were computed by a program in another language. Clients test themselves against
    /// them.
    #[test]
    fn identities_match_the_golden_vectors() {
        let text = include_str!("../../../../tests/fixtures/identity-vectors.json");
        let fixture: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(fixture["namespace"], NAMESPACE.to_string());
        let vectors = fixture["vectors"].as_array().unwrap();
        let mut kinds = std::collections::BTreeSet::new();
        for vector in vectors {
            let what = &vector["what"];
            let sent = Submission::parse(vector["event"].as_str().unwrap().to_owned()).unwrap();
            let principal =
                vector["token"].as_str().map_or(Principal::anonymous(), Principal::token);
            let principal = principal.with_relay(vector["relay"].as_bool().unwrap());
            assert_eq!(vector["phase"], sent.event.is_phase(), "{what}");
            let key = vector["idempotency_key"].as_str();
            let identity = Identity::of(&principal, &sent, key);
            match (vector["id"].as_str(), vector["name"].as_str()) {
                (None, None) => assert_eq!(identity.origin, Origin::None, "{what}"),
                (Some(id), None) => assert_eq!(id, identity.id.to_string(), "{what}"),
                (id, Some(name)) => {
                    assert_eq!(id, Some(&*identity.id.to_string()), "{what}");
                    assert_eq!(identity.id, Uuid::new_v5(&NAMESPACE, name.as_bytes()), "{what}");
                    let kind = name.split([':', ',']).nth(1).unwrap().to_owned();
                    kinds.insert((kind, principal.name().is_some()));
                }
            }
        }
        let all = [
            ("id", false),
            ("id-of", true),
            ("key", false),
            ("key-of", true),
            ("outcome", false),
            ("outcome", true),
            ("phase", false),
            ("phase", true),
        ];
        assert!(kinds.iter().map(|(kind, token)| (&**kind, *token)).eq(all), "{kinds:?}");
    }

    #[test]
    fn each_attempt_in_a_cycle_is_an_event_of_its_own() {
        let head = r#""source":"bot","cycle_id":"c3","sig_hash":"s3","event_kind":"tests_failed""#;
        let first = format!(r#"{{{head},"ok":false,"staffer_id":"m1","turns":5}}"#);
        let identity = of(&first);
        assert_eq!((identity.origin, identity), (Origin::Outcome, of(&format!(" {first}\n"))));
        for other in [
            format!(
                r#"{{{head},"ok":false,"staffer_id":"m2","turns":40,"usage":{{"cost_usd":3.2}}}}"#
            ),
            format!(r#"{{{head},"ok":false,"staffer_id":"m1","turns":6}}"#),
            format!(r#"{{{head},"ok":false,"staffer_id":"m1", "turns":5}}"#),
            format!(r#"{{{head},"ok":false,"turns":5,"staffer_id":"m1"}}"#),
        ] {
            assert_ne!(identity.id, of(&other).id, "{other}");
        }
        let envelope = format!(r#"{{"seq":7,"event":{first}}}"#);
        assert_eq!(identity, of(&envelope), "an envelope without an id plays no part");
    }

    #[test]
    fn phases_have_an_identity_with_an_id_only() {
        let phase = |id: &str, kind: &str, turns: u32| {
            of(&format!(
                concat!(
                    r#"{{"source":"bot","cycle_id":"c","sig_hash":"s","event_kind":"{}","#,
                    r#""ok":true,"turns":{}{}}}"#
                ),
                kind, turns, id
            ))
        };
        assert_eq!(phase("", "heartbeat", 1).origin, Origin::None);
        for id in [r#","id":"7""#, r#","id":"5f3c9b0e-6a53-5f0e-9e7e-0d8f1c2b3a49""#] {
            let started = phase(id, "started", 1);
            assert_eq!((started.origin, started), (Origin::Id, phase(id, "started", 1)));
            let others = [phase(id, "progress", 1), phase(id, "started", 2), phase(id, "ok", 1)];
            assert!(others.iter().all(|other| other.id != started.id), "{others:?}");
        }
    }

    #[test]
    fn uuid_is_used_as_is_and_other_ids_are_scoped_by_source() {
        let uuid = "5f3c9b0e-6a53-5f0e-9e7e-0d8f1c2b3a49";
        let event =
            |id: &str| format!(r#"{{"source":"a","event_kind":"ok","ok":true,"id":"{id}"}}"#);
        let with_id = |id: &str| of(&event(id));
        let relay = Principal::anonymous().with_relay(true);
        assert_eq!(of_principal(&relay, &event(uuid)).id.to_string(), uuid);
        assert_eq!(with_id(uuid), with_id(&uuid.to_uppercase()));
        // Version 5 is that of the ids of events, which may belong to a token.
        assert_ne!(with_id(uuid).id.to_string(), uuid);
        let random = uuid.replacen("-5f0e-", "-4f0e-", 1);
        assert_eq!(with_id(&random).id.to_string(), random);
        let b = of(r#"{"source":"b","event_kind":"ok","ok":true,"id":"7"}"#);
        assert_ne!(with_id("7").id, b.id);
        assert_eq!(with_id("7").id, Uuid::new_v5(&NAMESPACE, b"2:id,1:a,1:7,"));
    }

    #[test]
    fn idempotency_key_takes_precedence_and_events_without_identity_are_new() {
        let event =
            Event::parse(r#"{"source":"a","event_kind":"ok","ok":true,"id":"7","cycle_id":"c"}"#)
                .unwrap();
        let sent = Submission { id: Some(Uuid::nil()), ..Submission::from(event) };
        let relay = Principal::anonymous().with_relay(true);
        let keyed = Identity::of(&relay, &sent, Some("k"));
        assert_eq!(
            (keyed.origin, keyed.id),
            (Origin::Key, Uuid::new_v5(&NAMESPACE, b"3:key,1:k,"))
        );
        assert_eq!(Identity::of(&relay, &sent, None).id, Uuid::nil());
        let nothing = r#"{"source":"a","event_kind":"ok","ok":true,"cycle_id":"","id":""}"#;
        assert_eq!(of(nothing).origin, Origin::None);
        assert_ne!(of(nothing).id, of(nothing).id);
    }

    #[test]
    fn principal_can_not_take_the_identity_of_another() {
        let (a, b) = (Principal::token("a"), Principal::token("b"));
        let key = |principal: &Principal, key| {
            let event = Event::parse(r#"{"source":"s","event_kind":"ok","ok":true}"#).unwrap();
            Identity::of(principal, &event.into(), Some(key)).id
        };
        let with = |id: &str| {
            format!(r#"{{"source":"s","event_kind":"ok","ok":true,"id":"{id}","cycle_id":"c"}}"#)
        };
        let cycle = r#"{"source":"s","event_kind":"ok","ok":true,"cycle_id":"c"}"#;
        let of_b = [
            key(&b, "k"),
            of_principal(&b, &with("7")).id,
            of_principal(&b, &with(&Uuid::nil().to_string())).id,
            of_principal(&b, cycle).id,
        ];
        let mut of_a = vec![
            key(&a, "k"),
            key(&a, "1:b,1:k"),
            of_principal(&a, &with("7")).id,
            of_principal(&a, &with(&Uuid::nil().to_string())).id,
            of_principal(&a, cycle).id,
        ];
        for id in of_b {
            of_a.push(of_principal(&a, &with(&id.to_string())).id);
            let envelope = format!(r#"{{"id":"{id}","event":{cycle}}}"#);
            let taken = of_principal(&a, &envelope);
            assert_eq!(taken, of_principal(&a, &with(&id.to_string())));
            of_a.push(taken.id);
            let relayed = of_principal(&a.clone().with_relay(true), &envelope);
            assert_eq!((relayed.id, relayed.origin), (id, Origin::Envelope));
        }
        assert!(of_a.iter().all(|id| !of_b.contains(id)), "{of_a:?} {of_b:?}");
    }
}
