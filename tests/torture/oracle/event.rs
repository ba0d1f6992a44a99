//! Events that follow from the seed and a number, so that whoever meets one can say what it must
//! be.

use observer_core::{Event, Uuid};
use observer_pipeline::identity::Identity;
use serde::Deserialize;
use serde_json::value::RawValue;

/// One of this many is refused by a receiver that is picky.
const POISON: u64 = 701;

/// An event as a producer sends it.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) n: u64,
    pub(crate) body: String,
    /// What goes into the header `Idempotency-Key`.
    pub(crate) key: Option<String>,
    /// The id that it has to get.
    pub(crate) id: Uuid,
}

/// How an event is sent. Events of batches have even numbers, so both kinds can be counted for
/// themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Batch,
    Single,
}

impl Way {
    pub(crate) fn number(self, count: u64) -> u64 {
        count * 2 + u64::from(self == Self::Single)
    }
}

pub(crate) fn is_poison(n: u64) -> bool {
    n % POISON == POISON / 2
}

pub(crate) fn event(seed: u64, n: u64) -> Sent {
    let mut random = fastrand::Rng::with_seed(seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let kind =
        *random.choice(&["ok", "tests_failed", "gave_up", "timed_out"]).expect("there are kinds");
    let source = *random.choice(&["bot", "scenario", "autotune"]).expect("there are sources");
    let (uuid, cycle) =
        (Uuid::from_u128(random.u128(..)), format!(r#""cycle_id":"c{n}","sig_hash":"{seed:x}""#));
    // Each way of having an identity; events of batches bring a UUID, since answers to batches tell
    // no ids.
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
    let parsed = Event::parse(body.clone()).expect("it is an event");
    let id = Identity::of(&parsed, None, key.as_deref()).id;
    Sent { n, body, key, id }
}

/// What a line of the archive, or of a delivery, is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) seq: u64,
    pub(crate) n: u64,
}

/// Read an envelope, and see that it holds what was sent, byte for byte.
pub(crate) fn read(seed: u64, line: &str) -> Result<Seen, String> {
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
    let is_none = |error: serde_json::Error| {
        format!("this is no envelope of an event: {error}: {}", shortened(line))
    };
    let Envelope { id, seq, event: raw } = serde_json::from_str(line).map_err(is_none)?;
    let n = serde_json::from_str::<Outcome>(raw.get()).map_err(is_none)?.extra.n;
    let sent = event(seed, n);
    if raw.get() != sent.body {
        return Err(format!("event {n} (seq {seq}) is not what was sent: {}", shortened(line)));
    }
    if id != sent.id.to_string() {
        return Err(format!("event {n} (seq {seq}) has the id {id}, and has to have {}", sent.id));
    }
    Ok(Seen { seq, n })
}

fn shortened(line: &str) -> String {
    line.chars().take(300).collect()
}
