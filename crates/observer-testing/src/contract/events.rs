//! Events that the suite sends.

use std::ops::RangeInclusive;
use std::sync::Arc;

use observer_core::{Envelope, Event, Timestamp, Uuid};

/// Epoch in which all clauses begin.
pub(crate) const EPOCH: u64 = 1;

/// 2026-01-01 as a Unix time. All events lie within one hour, so that a sink with one file a day
/// writes one file.
const START: i64 = 1_767_225_600;

/// Returns ordinary events with these sequence numbers.
pub(crate) fn events(seqs: RangeInclusive<u64>) -> Vec<Arc<Envelope>> {
    seqs.map(|seq| envelope(EPOCH, seq, plain(seq))).collect()
}

/// Returns events of an epoch. The same numbers denote other events in another epoch.
pub(crate) fn events_of(epoch: u64, seqs: RangeInclusive<u64>) -> Vec<Arc<Envelope>> {
    seqs.map(|seq| envelope(epoch, seq, plain(seq))).collect()
}

pub(crate) fn envelope(epoch: u64, seq: u64, raw: impl Into<String>) -> Arc<Envelope> {
    let second = START + i64::try_from(seq % 3600).expect("the number is less than 3600");
    Arc::new(Envelope {
        id: Uuid::from_u128(
            (0x019b_75f5 << 96) | (0x7000 << 64) | (0x8000 << 48) | u128::from(epoch << 32 | seq),
        ),
        seq,
        received_at: Timestamp::from_second(second).expect("the time is in range"),
        event: Event::parse(raw.into()).expect("the suite sends valid events"),
    })
}

fn plain(seq: u64) -> String {
    let ok = !seq.is_multiple_of(3);
    let kind = if ok { "ok" } else { "tests_failed" };
    format!(
        concat!(
            r#"{{"source":"contract","event_kind":"{}","ok":{},"cycle_id":"c-{}","#,
            r#""sig_hash":"h-{}","staffer_id":"model","turns":{},"duration_ms":{},"extra":{{"n":{}}}}}"#,
        ),
        kind,
        ok,
        seq,
        seq % 7,
        seq % 5,
        seq * 10,
        seq,
    )
}

/// Returns events with the smallest and the largest valid values of each field. The last one has
/// about `max_bytes` of `extra`.
pub(crate) fn extremes(max_bytes: usize) -> Vec<Arc<Envelope>> {
    let with = |rest: &str| format!(r#"{{"source":"contract","event_kind":"ok","ok":true{rest}}}"#);
    let deep = format!(r#","extra":{{"deep":{}1{}}}"#, "[".repeat(60), "]".repeat(60));
    let long = format!(r#","cycle_id":"{}""#, "long ".repeat(2_000));
    let large = format!(r#","extra":{{"text":"{}"}}"#, "large ".repeat(max_bytes / 6));
    let raws = [
        r#"{"source":"s","event_kind":"k","ok":false}"#.to_owned(),
        "{\"source\" :\t\"contract\",\r\n \"event_kind\":\n\"ok\", \"ok\":true }".to_owned(),
        with(r#","cycle_id":"Grüße 你好 🦀 \ud83e\udd80 e\u0301 שלום","staffer_id":"模型/😀""#),
        with(concat!(
            r#","cycle_id":"\u0000\u0001\b\f\n\r\t\u001f\u007f\"\\\/ \u2028\u2029""#,
            r#","sig_hash":"a,b;c='d'<e>&{f}%00""#,
        )),
        with("\u{2c}\"cycle_id\":\"\u{7f}\u{85}\u{a0}\u{2028}\u{2029}\u{feff}\u{fffd}\u{10ffff}\""),
        with(r#","turns":0,"duration_ms":0"#),
        with(r#","turns":9007199254740992,"duration_ms":3155760000000,"attempt":9007199254740992"#),
        with(concat!(
            r#","duration_ms":5e-324,"extra":{"n":[-0,0.1e-400,"#,
            "123456789012345678901234567890,-9223372036854775808]}",
        )),
        with(r#","usage":{"prompt_tokens":0,"completion_tokens":0,"cost_usd":0.000001}"#),
        with(concat!(
            r#","timestamp":"1970-01-01T00:00:00Z","#,
            r#""traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01""#,
        )),
        with(r#","timestamp":"2262-12-31T23:59:59.999999999Z""#),
        with(concat!(
            r#","cycle_id":null,"turns":null,"extra":{},"#,
            r#""unknown":[{"a":null},1.0,"x"],"Zwölf":{"é":"\u00e9"}"#,
        )),
        with(r#","extra":{"a":1,"a":2,"":"","z":1,"b":true}"#),
        with(r#","turns":18446744073709551615,"duration_ms":1.7976931348623157e308,"extra":[]"#),
        with(r#","cost_usd":1e12,"replaces":"\u0000'🦀","labels":{"":"","a.b-c":"x","n":1e999}"#),
        with(r#","turns":1,"turns":2,"id":{},"timestamp":"","usage":"n/a","labels":{"a":[]}"#),
        r#"{"source":"contract","event_kind":"started","duration_ms":5,"turns":3}"#.to_owned(),
        r#"{"source":"contract","event_kind":"heartbeat","ok":false}"#.to_owned(),
        with(&deep),
        with(&long),
        with(&large),
    ];
    (1..).zip(raws).map(|(seq, raw)| envelope(EPOCH, seq, raw)).collect()
}
