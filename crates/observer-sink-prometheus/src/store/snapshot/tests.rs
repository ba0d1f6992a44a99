use std::sync::Arc;

use observer_core::{Envelope, NoPrices, Position};
use proptest::prelude::*;

use super::*;
use crate::aggregate::Aggregate;
use crate::aggregate::reading::Reading;
use crate::config::Limits;
use crate::testing::{apply, count, envelope, exported, plain, starting};

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
    assert_eq!((restored.omitted, restored.upgraded_from), (0, None));
    assert_eq!(restored.state.position, state.position);
    assert_eq!(exported(&restored.state.aggregate), exported(&state.aggregate));
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

#[track_caller]
fn rejected(bytes: impl AsRef<[u8]>, expected: &str) {
    assert_eq!(decode(bytes.as_ref(), &PrometheusConfig::new()).unwrap_err().to_string(), expected);
}

#[test]
fn unreadable_snapshots_are_rejected_with_a_reason() {
    rejected("", "not a snapshot of event metrics");
    rejected("PNG\n", "not a snapshot of event metrics");
    rejected("observer-prometheus one\n", "not a snapshot of event metrics");
    rejected("observer-prometheus 2\n{}", "not a snapshot of event metrics");
    rejected(with_header(0, b"{}"), "not a snapshot of event metrics");
    rejected(
        "observer-prometheus 3 anything\n\0",
        "version 3 of the format is newer than version 2",
    );
    rejected("observer-prometheus 2 00000000\n{}", "the checksum does not match");
    rejected("observer-prometheus 1 00000000\n{}", "the checksum does not match");
    rejected(with_header(1, b"{}"), "the contents do not match the format");
    rejected(with_header(2, b"{}"), "the contents do not match the format");
    let empty = concat!(
        r#"{"position":null,"sources":[],"event_kinds":[["other",0]],"models":[],"events":[],"#,
        r#""phases":[],"cycles":[],"overflow":{"source":0,"event_kind":0,"model":0}}"#,
    );
    assert!(decode(&with_header(2, empty.as_bytes()), &PrometheusConfig::new()).is_ok());
    for (with, expected) in [
        (r#""events":[[0,0,0,1,1]]"#, "a count refers to a missing label value"),
        (r#""phases":[[0,0,0,1]]"#, "a count refers to a missing label value"),
        (r#""events":[],"more":1"#, "the contents do not match the format"),
        (
            r#""events":[],"candidates":{"events":[[1,"AAA="]]}"#,
            "the contents do not match the format",
        ),
        (
            r#""events":[],"candidates":{"events":[[1,"?"]]}"#,
            "the contents do not match the format",
        ),
    ] {
        let (key, _) = with.split_once('[').unwrap();
        let body = empty.replace(&format!("{key}[]"), with);
        assert_ne!(body, empty);
        rejected(with_header(2, body.as_bytes()), expected);
    }
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

    let config = PrometheusConfig::new()
        .with_known_sources(["c"])
        .with_limits(Limits { sources: 1, ..Limits::default() });
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
    let calls = r#"observer_model_calls_total{source="bot",model="m"}"#;
    assert_eq!(samples[calls], 0.0);
    assert_eq!(starting(&samples, "observer_events_total").len(), 2 * 2 + 2);
    // With higher limits, the restored sources have the newly known kinds as well.
    let restored = decode(&bytes, &config.with_limits(Limits::default())).unwrap();
    let samples = exported(&restored.state.aggregate);
    assert_eq!(samples[r#"observer_events_total{source="a",event_kind="failed",ok="false"}"#], 0.0);
}

const VERSION_0_1: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/fixtures/v0.1/observer-data/sinks/prometheus/metrics.snapshot"
);

#[test]
fn snapshot_of_version_0_1_continues_all_totals_that_need_no_further_label() {
    let bytes = std::fs::read(VERSION_0_1).unwrap();
    let config = PrometheusConfig::new();
    let restored = decode(&bytes, &config).unwrap();
    assert_eq!((restored.omitted, restored.upgraded_from), (0, Some(1)));
    let state = restored.state;
    assert_eq!(state.position.map(|position| position.seq), Some(109));
    let samples = exported(&state.aggregate);
    let events = starting(&samples, "observer_events_total");
    assert_eq!(events.iter().map(|(_, count)| count).sum::<f64>(), 109.0);
    assert_eq!(
        samples[r#"observer_events_total{source="job",event_kind="timeout",ok="false"}"#],
        1.0
    );
    assert_eq!(
        samples[r#"observer_last_event_timestamp_seconds{source="bot"}"#],
        1_795_802_527.665_546
    );
    assert!(samples[r#"observer_label_overflow_total{label="event_kind"}"#] > 0.0);
    assert!(samples.keys().all(|name| !name.contains("model=")), "{samples:#?}");

    // It is written in the present version.
    let again = decode(&encode(&state), &config).unwrap();
    assert_eq!((again.omitted, again.upgraded_from), (0, None));
    assert_eq!(exported(&again.state.aggregate), samples);
}

/// Values of an upgraded snapshot are idle from its last event on.
#[test]
fn values_of_version_0_1_are_evicted_30_days_after_its_last_event() {
    let bytes = std::fs::read(VERSION_0_1).unwrap();
    let config = PrometheusConfig::new()
        .with_limits(Limits { sources: 4, ..Limits::default() })
        .with_known_sources(["bot"]);
    for (days, expected) in [(29, false), (31, true)] {
        let mut aggregate = decode(&bytes, &config).unwrap().state.aggregate;
        let last = 1_795_802_527 - 1_767_225_600;
        for source in ["x", "x", "y"] {
            // The fourth of four sources, then one too many.
            for hour in 0..2 {
                let seconds = last + hour * 3600;
                apply(&mut aggregate, &envelope(seconds, plain(source, "ok", true)));
            }
        }
        apply(&mut aggregate, &envelope(last + days * 86_400, plain("y", "ok", true)));
        let samples = exported(&aggregate);
        let y = r#"observer_events_total{source="y",event_kind="ok",ok="true"}"#;
        assert_eq!(samples.contains_key(y), expected, "{days} days");
    }
}

/// Returns events by numbers that select their source, kind, model and time.
fn events() -> impl Strategy<Value = Vec<Arc<Envelope>>> {
    let step = prop_oneof![5 => Just(0_u64), 3 => 600..4000_u64, 1 => 86_400..3_000_000_u64];
    let event = (0..6_u8, 0..6_u8, 0..6_u8, any::<bool>(), step);
    proptest::collection::vec(event, 1..60).prop_map(|events| {
        let mut now = 0;
        let event = |(source, kind, model, ok, step)| {
            now += step;
            let raw = format!(
                r#"{{"source":"s{source}","event_kind":"k{kind}","ok":{ok},
                    "staffer_id":"m{model}","turns":1,"cost_usd":0.1}}"#
            );
            envelope(now, raw)
        };
        events.into_iter().map(event).collect()
    })
}

proptest! {
    #[test]
    fn counting_after_a_restart_equals_counting_without_one(events in events(), at in 0_usize..60) {
        let limits = Limits { sources: 3, event_kinds: 3, models: 3, event_series: 8, ..Limits::default() };
        let config = PrometheusConfig::new()
            .with_known_event_kinds(["k0"])
            .with_limits(Limits { source_models: 4, ..limits });
        let mut aggregate = Aggregate::new(&config);
        let (before, after) = events.split_at(at.min(events.len()));
        let count = |aggregate: &mut Aggregate, events: &[Arc<Envelope>]| {
            events.iter().for_each(|event| aggregate.apply(&Reading::new(event, &NoPrices)));
        };
        count(&mut aggregate, before);
        let bytes = encode(&State { aggregate: aggregate.clone(), position: None });
        let mut restored = decode(&bytes, &config).unwrap();
        prop_assert_eq!(restored.omitted, 0);
        count(&mut aggregate, after);
        count(&mut restored.state.aggregate, after);
        prop_assert_eq!(exported(&restored.state.aggregate), exported(&aggregate));
        let state = State { aggregate, position: None };
        prop_assert_eq!(encode(&restored.state), encode(&state));
    }
}
