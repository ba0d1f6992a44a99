mod limits;
mod models;

use super::*;
use crate::config::Limits;
use crate::testing::{apply, count, envelope, expect, exported, plain, starting};

fn limited(limits: Limits) -> Aggregate {
    Aggregate::new(&PrometheusConfig::new().with_limits(limits))
}

fn unlimited() -> Aggregate {
    limited(Limits::default())
}

#[test]
fn durations_are_counted_by_source_and_model_and_last_events_by_source() {
    let mut aggregate = unlimited();
    for (seconds, raw) in [
        (1, r#"{"source":"a","event_kind":"k","ok":true,"duration_ms":1500,"staffer_id":"m"}"#),
        (2, r#"{"source":"a","event_kind":"k","ok":false,"duration_ms":250.5,"staffer_id":"m"}"#),
        (3, r#"{"source":"b","event_kind":"k","ok":true,"duration_ms":80}"#),
        (4, r#"{"source":"a","event_kind":"k","ok":true,"staffer_id":"n"}"#),
        (5, r#"{"source":"c","event_kind":"k","ok":true}"#),
    ] {
        apply(&mut aggregate, &envelope(seconds, raw));
    }
    let samples = exported(&aggregate);
    assert_eq!(
        starting(&samples, "observer_cycle_duration_seconds"),
        [
            (r#"observer_cycle_duration_seconds_count{source="a",model="m"}"#, 2.0),
            (r#"observer_cycle_duration_seconds_count{source="a",model="n"}"#, 0.0),
            (r#"observer_cycle_duration_seconds_count{source="b",model="unknown"}"#, 1.0),
            (r#"observer_cycle_duration_seconds_sum{source="a",model="m"}"#, 1.7505),
            (r#"observer_cycle_duration_seconds_sum{source="a",model="n"}"#, 0.0),
            (r#"observer_cycle_duration_seconds_sum{source="b",model="unknown"}"#, 0.08),
        ]
    );
    assert_eq!(
        starting(&samples, "observer_last_event_timestamp_seconds"),
        [
            (r#"observer_last_event_timestamp_seconds{source="a"}"#, 1_767_225_604.0),
            (r#"observer_last_event_timestamp_seconds{source="b"}"#, 1_767_225_603.0),
            (r#"observer_last_event_timestamp_seconds{source="c"}"#, 1_767_225_605.0),
        ]
    );
}

#[test]
fn phases_count_in_their_own_metric_and_as_the_last_event() {
    let more = r#""staffer_id":"m","turns":2,"duration_ms":1500,"cost_usd":3"#;
    let mut aggregate = unlimited();
    count(
        &mut aggregate,
        [
            format!(r#"{{"source":"bot","event_kind":"started",{more}}}"#),
            format!(r#"{{"source":"bot","event_kind":"heartbeat","ok":true,{more}}}"#),
            r#"{"source":"bot","event_kind":"heartbeat","ok":false,"replaces":"x"}"#.to_owned(),
        ],
    );
    let samples = exported(&aggregate);
    expect(
        &samples,
        &[
            (r#"observer_phases_total{source="bot",event_kind="started"}"#, 1.0),
            (r#"observer_phases_total{source="bot",event_kind="heartbeat"}"#, 2.0),
            (r#"observer_last_event_timestamp_seconds{source="bot"}"#, 1_767_225_603.0),
            (r#"observer_corrections_total{source="bot"}"#, 0.0),
        ],
    );
    assert_counted_by_no_model(&samples);
    assert_eq!(starting(&samples, "observer_events_total"), []);
}

#[test]
fn corrections_count_in_their_own_metric_alone() {
    let mut aggregate = limited(Limits { sources: 1, ..Limits::default() });
    let correction = |source: &str| {
        format!(
            r#"{{"source":"{source}","event_kind":"ok","ok":true,"replaces":"x","staffer_id":"m",
                "turns":2,"duration_ms":1500,"cost_usd":3,"usage":{{"input_tokens":5}}}}"#
        )
    };
    count(&mut aggregate, [correction("bot"), correction("bot"), correction("late")]);
    let samples = exported(&aggregate);
    expect(
        &samples,
        &[
            (r#"observer_corrections_total{source="bot"}"#, 2.0),
            (r#"observer_corrections_total{source="other"}"#, 1.0),
            (r#"observer_label_overflow_total{label="source"}"#, 1.0),
            (r#"observer_label_overflow_total{label="event_kind"}"#, 0.0),
        ],
    );
    assert_counted_by_no_model(&samples);
    for name in ["observer_events_total", "observer_last_event"] {
        assert_eq!(starting(&samples, name), []);
    }

    count(&mut aggregate, [r#"{"source":"bot","event_kind":"ok","ok":true,"replaces":""}"#]);
    expect(
        &exported(&aggregate),
        &[
            (r#"observer_corrections_total{source="bot"}"#, 2.0),
            (r#"observer_events_total{source="bot",event_kind="ok",ok="true"}"#, 1.0),
        ],
    );
}

#[track_caller]
fn assert_counted_by_no_model(samples: &std::collections::BTreeMap<String, f64>) {
    assert!(samples.keys().all(|name| !name.contains("model=")), "{samples:#?}");
}

#[test]
fn label_values_with_equal_concatenation_are_distinct_series() {
    let mut aggregate = unlimited();
    count(&mut aggregate, [plain("ab", "c", true), plain("a", "bc", true), plain("a", "bc", true)]);
    expect(
        &exported(&aggregate),
        &[
            (r#"observer_events_total{source="ab",event_kind="c",ok="true"}"#, 1.0),
            (r#"observer_events_total{source="a",event_kind="bc",ok="true"}"#, 2.0),
        ],
    );
}

#[test]
fn known_series_are_zero_from_the_start_also_for_a_new_source() {
    let config = PrometheusConfig::new()
        .with_known_sources(["bot"])
        .with_known_event_kinds(["ok", "tests_failed", "started"])
        .with_known_models(["gpt-5"]);
    let mut aggregate = Aggregate::new(&config);
    let samples = exported(&aggregate);
    assert!(samples.values().all(|value| *value == 0.0), "{samples:#?}");
    let mut expected: Vec<_> = [
        r#"corrections_total{source="bot"}"#,
        r#"cycle_duration_seconds_count{source="bot",model="gpt-5"}"#,
        r#"cycle_duration_seconds_sum{source="bot",model="gpt-5"}"#,
        r#"events_total{source="bot",event_kind="ok",ok="false"}"#,
        r#"events_total{source="bot",event_kind="ok",ok="true"}"#,
        r#"events_total{source="bot",event_kind="tests_failed",ok="false"}"#,
        r#"events_total{source="bot",event_kind="tests_failed",ok="true"}"#,
        r#"label_overflow_total{label="event_kind"}"#,
        r#"label_overflow_total{label="model"}"#,
        r#"label_overflow_total{label="source"}"#,
        r#"model_calls_total{source="bot",model="gpt-5"}"#,
        r#"phases_total{source="bot",event_kind="started"}"#,
        r#"unpriced_events_total{model="gpt-5"}"#,
        r#"unread_usage_events_total{source="bot"}"#,
    ]
    .map(str::to_owned)
    .into();
    for ok in ["false", "true"] {
        for name in [
            "cache_creation_input_tokens",
            "cached_input_tokens",
            "input_tokens",
            "model_cycles",
            "output_tokens",
            "reasoning_tokens",
        ] {
            expected.push(format!(r#"{name}_total{{source="bot",model="gpt-5",ok="{ok}"}}"#));
        }
        for basis in ["priced", "reported"] {
            expected.push(format!(
                r#"cost_usd_total{{source="bot",model="gpt-5",ok="{ok}",basis="{basis}"}}"#
            ));
        }
    }
    let mut expected: Vec<_> =
        expected.into_iter().map(|name| format!("observer_{name}")).collect();
    expected.sort_unstable();
    assert_eq!(samples.into_keys().collect::<Vec<_>>(), expected);

    count(&mut aggregate, [plain("new", "ok", true)]);
    expect(
        &exported(&aggregate),
        &[
            (r#"observer_events_total{source="new",event_kind="ok",ok="true"}"#, 1.0),
            (r#"observer_events_total{source="new",event_kind="ok",ok="false"}"#, 0.0),
            (r#"observer_events_total{source="new",event_kind="tests_failed",ok="false"}"#, 0.0),
            (r#"observer_phases_total{source="new",event_kind="started"}"#, 0.0),
            (r#"observer_corrections_total{source="new"}"#, 0.0),
        ],
    );
}

#[test]
fn counter_stays_at_its_maximum() {
    let mut counter = u64::MAX - 1;
    increase(&mut counter, 2);
    assert_eq!(counter, u64::MAX);
}
