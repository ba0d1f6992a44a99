use super::*;
use crate::config::Limits;
use crate::testing::{count, exported, plain, starting};

fn some_state(config: &PrometheusConfig) -> State {
    let mut aggregate = Aggregate::new(config);
    for source in ["a", "b", "other", "multi\nline \"quoted\" \u{0} 🦀"] {
        for kind in ["x", "y"] {
            let event = serde_json::json!({
                "source": source, "event_kind": kind, "ok": kind == "x", "staffer_id": format!("m-{source}"),
                "turns": 2, "duration_ms": 1234.567, "usage": {"prompt_tokens": u64::MAX / 8, "cost_usd": 0.1},
            });
            count(&mut aggregate, [event.to_string()]);
        }
    }
    count(
        &mut aggregate,
        [
            r#"{"source":"a","event_kind":"x","ok":true,"usage":{"eval_count":5}}"#,
            r#"{"source":"a","event_kind":"started"}"#,
            r#"{"source":"b","event_kind":"started"}"#,
            r#"{"source":"b","event_kind":"x","ok":true,"replaces":"r"}"#,
        ],
    );
    State { aggregate, position: Some(Position { epoch: 3, seq: u64::MAX }) }
}

#[test]
fn state_survives_a_round_trip_exactly() {
    let config = PrometheusConfig::new().with_limits(Limits { sources: 2, ..Limits::default() });
    let state = some_state(&config);
    let restored = decode(&encode(&state), &config).unwrap();
    assert_eq!(restored.omitted, 0);
    assert_eq!(restored.state.position, state.position);
    assert_eq!(exported(&restored.state.aggregate), exported(&state.aggregate));
    assert_eq!(restored.state.aggregate.by_model, state.aggregate.by_model);
    assert_eq!(encode(&restored.state), encode(&state));
}

#[test]
fn changed_or_missing_byte_is_detected() {
    let config = PrometheusConfig::new();
    let bytes = encode(&some_state(&config));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(decode(&changed, &config).is_err(), "byte {at}");
        assert!(decode(&bytes[..at], &config).is_err(), "cut at {at}");
    }
}

/// Versions before the first phase and correction read the snapshot, too.
#[test]
fn snapshot_without_phases_and_corrections_has_no_word_of_them() {
    let config = PrometheusConfig::new();
    let mut aggregate = Aggregate::new(&config);
    count(&mut aggregate, [plain("a", "x", true)]);
    let text = String::from_utf8(encode(&State { aggregate, position: None })).unwrap();
    assert!(!text.contains("phases") && !text.contains("corrections"), "{text}");
}

#[track_caller]
fn rejected(bytes: impl AsRef<[u8]>, expected: &str) {
    assert_eq!(decode(bytes.as_ref(), &PrometheusConfig::new()).unwrap_err().to_string(), expected);
}

#[test]
fn unreadable_snapshots_are_rejected_with_a_reason() {
    let with_checksum = |body: &str| {
        format!("observer-prometheus 1 {:08x}\n{body}", crc32c::crc32c(body.as_bytes()))
    };
    rejected("", "not a snapshot of event metrics");
    rejected("PNG\n", "not a snapshot of event metrics");
    rejected("observer-prometheus one\n", "not a snapshot of event metrics");
    rejected(
        "observer-prometheus 2 anything\n\0",
        "unknown version 2 of the format; this program reads version 1",
    );
    rejected("observer-prometheus 1 00000000\n{}", "the checksum does not match");
    rejected(with_checksum("{}"), "the contents do not match the format");
    let dangling = r#"{"position":null,"event_kinds":["other"],"sources":[],"models":[],"pairs":[[0,0,1,1]],"unpriced":0,"overflow":{"source":0,"event_kind":0,"model":0}}"#;
    rejected(with_checksum(dangling), "a count refers to a missing label value");
}

#[test]
fn values_beyond_lower_limits_are_omitted_and_not_added_to_other() {
    let mut before = Aggregate::new(&PrometheusConfig::new());
    count(
        &mut before,
        [
            plain("a", "x", true),
            plain("b", "x", true),
            plain("c", "y", true),
            plain("a", "y", true),
        ],
    );
    let bytes = encode(&State { aggregate: before, position: None });

    let limits = Limits { sources: 2, ..Limits::default() };
    let config = PrometheusConfig::new()
        .with_known_sources(["c"])
        .with_limits(Limits { sources: 1, ..limits });
    let restored = decode(&bytes, &config).unwrap();
    // The source b and its one pair are omitted.
    assert_eq!(restored.omitted, 2);
    let samples = exported(&restored.state.aggregate);
    assert_eq!(
        starting(&samples, "observer_events_total")
            .iter()
            .filter(|(_, value)| *value > 0.0)
            .collect::<Vec<_>>(),
        [
            &(r#"observer_events_total{source="a",event_kind="x",ok="true"}"#, 1.0),
            &(r#"observer_events_total{source="a",event_kind="y",ok="true"}"#, 1.0),
            &(r#"observer_events_total{source="c",event_kind="y",ok="true"}"#, 1.0),
        ]
    );
}

#[test]
fn newly_known_values_are_zero_beside_restored_counts() {
    let mut before = Aggregate::new(&PrometheusConfig::new());
    count(&mut before, [plain("a", "x", true)]);
    let bytes = encode(&State { aggregate: before, position: None });

    // The limit allows one pair besides the known ones; the restored pair gets it.
    let config = PrometheusConfig::new()
        .with_known_sources(["bot"])
        .with_known_event_kinds(["ok", "failed"])
        .with_known_models(["m"])
        .with_limits(Limits { event_series: 2, ..Limits::default() });
    let restored = decode(&bytes, &config).unwrap();
    assert_eq!(restored.omitted, 0);
    let samples = exported(&restored.state.aggregate);
    assert_eq!(samples[r#"observer_events_total{source="a",event_kind="x",ok="true"}"#], 1.0);
    assert_eq!(samples[r#"observer_events_total{source="bot",event_kind="ok",ok="true"}"#], 0.0);
    assert_eq!(samples[r#"observer_model_calls_total{model="m"}"#], 0.0);
    assert_eq!(starting(&samples, "observer_events_total").len(), 2 * 2 + 2);
    // With higher limits, the restored sources have the newly known kinds as well.
    let restored = decode(&bytes, &config.with_limits(Limits::default())).unwrap();
    let samples = exported(&restored.state.aggregate);
    assert_eq!(samples[r#"observer_events_total{source="a",event_kind="failed",ok="false"}"#], 0.0);
}
