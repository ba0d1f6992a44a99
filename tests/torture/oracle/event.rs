//! Generated events. The seed and a number determine each event, so that every process can check
//! the events it reads.

use observer_core::{Event, Uuid};
use observer_pipeline::Principal;
use observer_pipeline::identity::Identity;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A strict receiver rejects one of this many events.
const POISON: u64 = 701;

/// Sources of the events.
pub(crate) const SOURCES: [&str; 3] = ["bot", "scenario", "autotune"];

/// Event as a producer sends it.
#[derive(Debug, Clone)]
pub(crate) struct GeneratedEvent {
    pub(crate) n: u64,
    pub(crate) body: String,
    /// Value of the header `Idempotency-Key`.
    pub(crate) key: Option<String>,
    /// Id that the observer must assign.
    pub(crate) id: Uuid,
}

/// Way to send an event. Events in batches have even numbers and single events odd ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendMode {
    Batch,
    Single,
}

impl SendMode {
    /// Returns the number of the event with this index among those of its mode.
    pub(crate) fn number(self, count: u64) -> u64 {
        count * 2 + u64::from(self == Self::Single)
    }
}

/// Numbers of events of each mode that producers have got.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SentEvents(pub(crate) [u64; 2]);

impl SentEvents {
    pub(crate) fn contains(self, n: u64) -> bool {
        let mode = if n.is_multiple_of(2) { SendMode::Batch } else { SendMode::Single };
        n / 2 < self.0[mode as usize]
    }
}

/// Returns whether strict receivers reject this event.
pub(crate) fn is_poison(n: u64) -> bool {
    n % POISON == POISON / 2
}

/// Generates an event.
pub(crate) fn event(seed: u64, n: u64) -> GeneratedEvent {
    let mut random = fastrand::Rng::with_seed(seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let kind =
        *random.choice(&["ok", "tests_failed", "gave_up", "timed_out"]).expect("there are kinds");
    let source = *random.choice(&SOURCES).expect("there are sources");
    let (uuid, cycle) =
        (Uuid::from_u128(random.u128(..)), format!(r#""cycle_id":"c{n}","sig_hash":"{seed:x}""#));
    // The events cover all sources of an identity. Events in batches have a UUID, since responses
    // to batches contain no ids.
    let (own, key) = match (n % 2, n / 2 % 4) {
        (1, 0) => (String::new(), Some(format!("key-{seed}-{n}"))),
        (1, 1) => (String::new(), None),
        (1, 2) => (format!(r#""id":"own-{n}","#), None),
        _ => (format!(r#""id":"{uuid}","#), None),
    };
    let length = if random.u8(..) == 0 { 20_000 } else { random.usize(..400) };
    let pad: String = std::iter::repeat_with(|| random.alphanumeric()).take(length).collect();
    let ok = kind == "ok";
    let body = format!(
        r#"{{{own}"source":"{source}",{cycle},"event_kind":"{kind}","ok":{ok},"turns":{},"extra":{{"n":{n},"pad":"{pad}"}}}}"#,
        random.u8(..)
    );
    let parsed = Event::parse(body.clone()).expect("the generated event is valid");
    // Without tokens, every caller may relay.
    let producer = Principal::anonymous().with_relay(true);
    let id = Identity::of(&producer, &parsed.into(), key.as_deref()).id;
    GeneratedEvent { n, body, key, id }
}

/// Event in the archive or in a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObservedEvent {
    pub(crate) seq: u64,
    pub(crate) n: u64,
}

/// Returns the source of the event in an envelope. No other value contains quotes.
pub(crate) fn source_of(line: &str) -> Option<&'static str> {
    let (_, rest) = line.split_once(r#""source":""#)?;
    SOURCES
        .into_iter()
        .find(|source| rest.strip_prefix(source).is_some_and(|rest| rest.starts_with('"')))
}

/// Parses an envelope and checks that it contains the generated event byte for byte.
pub(crate) fn read(seed: u64, line: &str) -> Result<ObservedEvent, String> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        id: &'a str,
        seq: u64,
        #[serde(borrow)]
        event: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Outcome {
        extra: Extra,
    }
    #[derive(Deserialize)]
    struct Extra {
        n: u64,
    }
    let invalid = |error: serde_json::Error| {
        format!("not an envelope of an event: {error}: {}", shortened(line))
    };
    let Envelope { id, seq, event: raw } = serde_json::from_str(line).map_err(invalid)?;
    let n = serde_json::from_str::<Outcome>(raw.get()).map_err(invalid)?.extra.n;
    let sent = event(seed, n);
    if raw.get() != sent.body {
        return Err(format!(
            "event {n} (seq {seq}) differs from what was sent: {}",
            shortened(line)
        ));
    }
    if id != sent.id.to_string() {
        return Err(format!("event {n} (seq {seq}) has the id {id} instead of {}", sent.id));
    }
    Ok(ObservedEvent { seq, n })
}

fn shortened(line: &str) -> String {
    line.chars().take(300).collect()
}
