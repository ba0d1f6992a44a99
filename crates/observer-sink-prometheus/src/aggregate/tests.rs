use std::sync::Arc;

use observer_core::Event;

use super::*;
use crate::config::Limits;
use crate::testing::{count, envelope, expect, exported, plain, starting};

fn limited(limits: Limits) -> Aggregate {
    Aggregate::new(&PrometheusConfig::new().with_limits(limits))
}

fn unlimited() -> Aggregate {
    limited(Limits::default())
}

#[test]
fn usage_of_every_api_is_counted_in_the_same_terms() {
    let mut aggregate = unlimited();
    let event = |model: &str, ok: bool, turns: u32, usage: &str| {
        format!(
            r#"{{"source":"bot","event_kind":"k","ok":{ok},"staffer_id":"{model}","turns":{turns},"extra":{{"usage":{usage}}}}}"#
        )
    };
    count(
        &mut aggregate,
        [
            event(
                "claude",
                true,
                3,
                r#"{"input_tokens":10,"cache_read_input_tokens":80,"cache_creation_input_tokens":7,"output_tokens":5,"cost_usd":0.25}"#,
            ),
            event("claude", false, 4, r#"{"input_tokens":3,"output_tokens":2,"cost_usd":0.125}"#),
            event(
                "gpt",
                true,
                1,
                r#"{"prompt_tokens":100,"prompt_tokens_details":{"cached_tokens":60},"completion_tokens":9,"cost_usd":1}"#,
            ),
            event(
                "gpt",
                true,
                2,
                r#"{"input_tokens":50,"input_tokens_details":{"cached_tokens":20},"output_tokens":4}"#,
            ),
            event("llama", true, 5, r#"{"prompt_eval_count":1000,"eval_count":200}"#),
        ],
    );
    let samples = exported(&aggregate);
    expect(
        &samples,
        &[
            (r#"observer_input_tokens_total{model="claude"}"#, 100.0),
            (r#"observer_cached_input_tokens_total{model="claude"}"#, 80.0),
            (r#"observer_output_tokens_total{model="claude"}"#, 7.0),
            (r#"observer_cost_usd_total{model="claude"}"#, 0.375),
            (r#"observer_model_calls_total{model="claude"}"#, 7.0),
            (r#"observer_model_cycles_total{model="claude",ok="true"}"#, 1.0),
            (r#"observer_model_cycles_total{model="claude",ok="false"}"#, 1.0),
            (r#"observer_input_tokens_total{model="gpt"}"#, 150.0),
            (r#"observer_cached_input_tokens_total{model="gpt"}"#, 80.0),
            (r#"observer_output_tokens_total{model="gpt"}"#, 13.0),
            (r#"observer_cost_usd_total{model="gpt"}"#, 1.0),
            (r#"observer_input_tokens_total{model="llama"}"#, 1000.0),
            (r#"observer_cached_input_tokens_total{model="llama"}"#, 0.0),
            (r#"observer_output_tokens_total{model="llama"}"#, 200.0),
            (r#"observer_cost_usd_total{model="llama"}"#, 0.0),
            ("observer_unpriced_events_total", 2.0),
        ],
    );
    assert_eq!(
        starting(&samples, "observer_input_tokens_total").len(),
        3,
        "reserved models without counts are not exported"
    );
}

#[test]
fn usage_without_a_model_is_counted_under_unknown_and_not_as_a_cycle() {
    let mut aggregate = unlimited();
    count(
        &mut aggregate,
        [
            r#"{"source":"s","event_kind":"k","ok":true,"usage":{"prompt_tokens":7,"completion_tokens":1}}"#,
            r#"{"source":"s","event_kind":"k","ok":true,"staffer_id":"","turns":2}"#,
            r#"{"source":"s","event_kind":"k","ok":true}"#,
        ],
    );
    let samples = exported(&aggregate);
    expect(
        &samples,
        &[
            (r#"observer_input_tokens_total{model="unknown"}"#, 7.0),
            (r#"observer_model_calls_total{model="unknown"}"#, 2.0),
            ("observer_unpriced_events_total", 1.0),
            (r#"observer_label_overflow_total{label="model"}"#, 0.0),
        ],
    );
    assert_eq!(starting(&samples, "observer_model_cycles_total"), []);

    count(&mut aggregate, [r#"{"source":"s","event_kind":"k","ok":true,"staffer_id":"unknown"}"#]);
    expect(
        &exported(&aggregate),
        &[(r#"observer_model_cycles_total{model="unknown",ok="true"}"#, 1.0)],
    );
}

#[test]
fn events_with_a_cost_or_without_tokens_are_not_unpriced() {
    let mut aggregate = unlimited();
    count(
        &mut aggregate,
        [
            r#"{"source":"s","event_kind":"k","ok":true,"usage":{"cost_usd":0}}"#,
            r#"{"source":"s","event_kind":"k","ok":true,"usage":{"prompt_tokens":0,"completion_tokens":0}}"#,
            r#"{"source":"s","event_kind":"k","ok":true,"usage":{"prompt_tokens":5,"cost_usd":0}}"#,
        ],
    );
    expect(&exported(&aggregate), &[("observer_unpriced_events_total", 0.0)]);
}

#[test]
fn durations_and_last_event_are_counted_by_source() {
    let mut aggregate = unlimited();
    aggregate
        .apply(&envelope(1, r#"{"source":"a","event_kind":"k","ok":true,"duration_ms":1500}"#));
    aggregate
        .apply(&envelope(2, r#"{"source":"a","event_kind":"k","ok":true,"duration_ms":250.5}"#));
    aggregate.apply(&envelope(3, plain("b", "k", true)));
    aggregate.apply(&envelope(4, r#"{"source":"a","event_kind":"k","ok":true}"#));
    expect(
        &exported(&aggregate),
        &[
            (r#"observer_cycle_duration_seconds_count{source="a"}"#, 2.0),
            (r#"observer_cycle_duration_seconds_sum{source="a"}"#, 1.7505),
            (r#"observer_cycle_duration_seconds_count{source="b"}"#, 0.0),
            (r#"observer_last_event_timestamp_seconds{source="a"}"#, 1_767_225_604.0),
            (r#"observer_last_event_timestamp_seconds{source="b"}"#, 1_767_225_603.0),
        ],
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
            (r#"observer_cycle_duration_seconds_count{source="bot"}"#, 0.0),
            (r#"observer_corrections_total{source="bot"}"#, 0.0),
            ("observer_unpriced_events_total", 0.0),
        ],
    );
    assert_eq!(starting(&samples, "observer_events_total"), []);
    assert_eq!(starting(&samples, "observer_model_"), []);
    assert_eq!(starting(&samples, "observer_cost_usd_total"), []);
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
            (r#"observer_cycle_duration_seconds_count{source="bot"}"#, 0.0),
            (r#"observer_label_overflow_total{label="source"}"#, 1.0),
            (r#"observer_label_overflow_total{label="event_kind"}"#, 0.0),
            ("observer_unpriced_events_total", 0.0),
        ],
    );
    for name in ["observer_events_total", "observer_model_", "observer_last_event"] {
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

#[test]
fn phases_are_limited_in_number() {
    let limits = Limits { event_series: 3, sources: 2, ..Limits::default() };
    let mut aggregate = limited(limits);
    let phase = |(source, kind): (&str, &str)| Envelope {
        event: Event::from_parsed(
            format!(r#"{{"source":"{source}","event_kind":"{kind}"}}"#).into(),
        )
        .with_phase(true),
        ..Arc::into_inner(envelope(1, plain("s", "k", true))).unwrap()
    };
    for pair in [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "x"), ("a", "x")] {
        aggregate.apply(&phase(pair));
    }
    let samples = exported(&aggregate);
    assert_eq!(
        starting(&samples, "observer_phases_total"),
        [
            (r#"observer_phases_total{source="a",event_kind="x"}"#, 2.0),
            (r#"observer_phases_total{source="a",event_kind="y"}"#, 1.0),
            (r#"observer_phases_total{source="b",event_kind="other"}"#, 1.0),
            (r#"observer_phases_total{source="b",event_kind="x"}"#, 1.0),
            (r#"observer_phases_total{source="other",event_kind="other"}"#, 1.0),
        ]
    );
    expect(
        &samples,
        &[
            (r#"observer_label_overflow_total{label="source"}"#, 1.0),
            (r#"observer_label_overflow_total{label="event_kind"}"#, 2.0),
        ],
    );
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
    let mut names: Vec<_> = samples.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            r#"observer_cached_input_tokens_total{model="gpt-5"}"#,
            r#"observer_corrections_total{source="bot"}"#,
            r#"observer_cost_usd_total{model="gpt-5"}"#,
            r#"observer_cycle_duration_seconds_count{source="bot"}"#,
            r#"observer_cycle_duration_seconds_sum{source="bot"}"#,
            r#"observer_events_total{source="bot",event_kind="ok",ok="false"}"#,
            r#"observer_events_total{source="bot",event_kind="ok",ok="true"}"#,
            r#"observer_events_total{source="bot",event_kind="tests_failed",ok="false"}"#,
            r#"observer_events_total{source="bot",event_kind="tests_failed",ok="true"}"#,
            r#"observer_input_tokens_total{model="gpt-5"}"#,
            r#"observer_label_overflow_total{label="event_kind"}"#,
            r#"observer_label_overflow_total{label="model"}"#,
            r#"observer_label_overflow_total{label="source"}"#,
            r#"observer_model_calls_total{model="gpt-5"}"#,
            r#"observer_model_cycles_total{model="gpt-5",ok="false"}"#,
            r#"observer_model_cycles_total{model="gpt-5",ok="true"}"#,
            r#"observer_output_tokens_total{model="gpt-5"}"#,
            r#"observer_phases_total{source="bot",event_kind="started"}"#,
            "observer_unpriced_events_total",
        ]
    );

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
fn values_beyond_the_limits_are_counted_under_other_and_as_overflow() {
    let mut aggregate =
        limited(Limits { sources: 1, event_kinds: 2, models: 1, ..Limits::default() });
    let event = |source: &str, kind: &str, model: &str| {
        serde_json::json!({"source": source, "event_kind": kind, "ok": true, "staffer_id": model, "turns": 1})
            .to_string()
    };
    count(
        &mut aggregate,
        [
            event("a", "x", "m"),
            event("b", "y", "m"),
            event("b", "z", "n"),
            event("a", "z", "n"),
            event("a", "x", "m"),
        ],
    );
    let samples = exported(&aggregate);
    expect(
        &samples,
        &[
            (r#"observer_events_total{source="a",event_kind="x",ok="true"}"#, 2.0),
            (r#"observer_events_total{source="other",event_kind="y",ok="true"}"#, 1.0),
            (r#"observer_events_total{source="other",event_kind="other",ok="true"}"#, 1.0),
            (r#"observer_events_total{source="a",event_kind="other",ok="true"}"#, 1.0),
            (r#"observer_label_overflow_total{label="source"}"#, 2.0),
            (r#"observer_label_overflow_total{label="event_kind"}"#, 2.0),
            (r#"observer_label_overflow_total{label="model"}"#, 2.0),
            (r#"observer_model_cycles_total{model="m",ok="true"}"#, 3.0),
            (r#"observer_model_cycles_total{model="other",ok="true"}"#, 2.0),
            (r#"observer_model_calls_total{model="other"}"#, 2.0),
            (r#"observer_last_event_timestamp_seconds{source="other"}"#, 1_767_225_603.0),
        ],
    );
    let total: f64 =
        starting(&samples, "observer_events_total").iter().map(|(_, value)| value).sum();
    assert_eq!(total, 5.0);
}

#[test]
fn value_other_of_a_producer_shares_the_series_and_is_not_an_overflow() {
    let mut aggregate = limited(Limits { sources: 1, ..Limits::default() });
    count(
        &mut aggregate,
        [plain("other", "other", true), plain("a", "k", true), plain("b", "other", true)],
    );
    expect(
        &exported(&aggregate),
        &[
            (r#"observer_events_total{source="other",event_kind="other",ok="true"}"#, 2.0),
            (r#"observer_label_overflow_total{label="source"}"#, 1.0),
            (r#"observer_label_overflow_total{label="event_kind"}"#, 0.0),
        ],
    );
}

#[test]
fn long_values_are_not_merged_with_a_shorter_one() {
    let mut aggregate = limited(Limits { label_bytes: 4, ..Limits::default() });
    count(
        &mut aggregate,
        [plain("abcd", "k", true), plain("abcde", "k", true), plain("abcdf", "k", true)],
    );
    expect(
        &exported(&aggregate),
        &[
            (r#"observer_events_total{source="abcd",event_kind="k",ok="true"}"#, 1.0),
            (r#"observer_events_total{source="other",event_kind="k",ok="true"}"#, 2.0),
            (r#"observer_label_overflow_total{label="source"}"#, 2.0),
        ],
    );
}

#[test]
fn pairs_are_limited_and_known_pairs_keep_their_series() {
    let limits = Limits { event_series: 8, ..Limits::default() };
    let config = PrometheusConfig::new()
        .with_known_sources(["bot"])
        .with_known_event_kinds(["ok"])
        .with_limits(limits);
    let mut aggregate = Aggregate::new(&config);
    let mut events = Vec::new();
    for source in 0..50 {
        for kind in 0..50 {
            events.push(plain(&format!("s{source}"), &format!("k{kind}"), true));
        }
    }
    events.push(plain("bot", "ok", true));
    count(&mut aggregate, &events);
    let samples = exported(&aggregate);
    let series = starting(&samples, "observer_events_total");
    let (other, own): (Vec<_>, Vec<_>) =
        series.iter().partition(|(name, _)| name.contains(r#"event_kind="other""#));
    assert_eq!((own.len(), other.len()), (8 + 2, 2 * 50));
    assert_eq!(series.iter().map(|(_, value)| value).sum::<f64>(), 2501.0);
    expect(&samples, &[(r#"observer_events_total{source="bot",event_kind="ok",ok="true"}"#, 1.0)]);
    let overflow = samples[r#"observer_label_overflow_total{label="event_kind"}"#];
    assert_eq!(overflow, other.iter().map(|(_, value)| value).sum::<f64>());
}

#[test]
fn million_sources_create_a_bounded_number_of_series() {
    let mut aggregate = unlimited();
    for n in 0..1_000_000 {
        aggregate.apply(&envelope(
            n + 1,
            format!(r#"{{"source":"s{n}","event_kind":"k{n}","ok":false,"staffer_id":"m{n}"}}"#),
        ));
    }
    let samples = exported(&aggregate);
    assert_eq!(starting(&samples, r#"observer_last_event_timestamp_seconds{"#).len(), 101);
    assert_eq!(starting(&samples, "observer_model_calls_total{").len(), 101);
    assert_eq!(starting(&samples, "observer_events_total{").len(), 2 * 101);
    expect(
        &samples,
        &[
            (r#"observer_events_total{source="other",event_kind="other",ok="false"}"#, 999_900.0),
            (r#"observer_label_overflow_total{label="source"}"#, 999_900.0),
        ],
    );
    assert_eq!(
        (aggregate.sources.len(), aggregate.event_kinds.len(), aggregate.models.len()),
        (101, 101, 102)
    );
    assert_eq!(
        (aggregate.by_source.len(), aggregate.by_model.len(), aggregate.pairs.rows().len()),
        (101, 102, 101)
    );
}

#[test]
fn counter_stays_at_its_maximum() {
    let mut aggregate = unlimited();
    let tokens = u64::MAX / 2 + 1;
    let event = format!(
        r#"{{"source":"s","event_kind":"k","ok":true,"staffer_id":"m",
            "usage":{{"prompt_tokens":{tokens}}}}}"#
    );
    count(&mut aggregate, [&event, &event]);
    assert_eq!(aggregate.by_model.last().unwrap().input, u64::MAX);
}

#[test]
fn counts_of_real_runs_equal_the_sums_of_their_fields() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/agent-runs.ndjson");
    let lines = std::fs::read_to_string(path).unwrap();
    let mut aggregate = unlimited();
    count(&mut aggregate, lines.lines());

    let events: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let model = events[0]["staffer_id"].as_str().unwrap();
    assert!(events.iter().all(|event| event["source"] == "bot" && event["staffer_id"] == model));
    let usage = |name: &str| -> u64 {
        events.iter().map(|event| event["extra"]["usage"][name].as_u64().unwrap()).sum()
    };
    let input = usage("input_tokens")
        + usage("cache_read_input_tokens")
        + usage("cache_creation_input_tokens");
    // Costs in picodollars, as integers, whose addition is exact.
    let cost: i128 = events
        .iter()
        .map(|event| (event["extra"]["usage"]["cost_usd"].as_f64().unwrap() * 1e12).round() as i128)
        .sum();
    let turns: u64 = events.iter().map(|event| event["turns"].as_u64().unwrap()).sum();
    let milliseconds: u64 = events.iter().map(|event| event["duration_ms"].as_u64().unwrap()).sum();
    let failed = events.iter().filter(|event| event["ok"] == false).count();
    assert!(failed > 0 && input > 100_000_000, "the fixture lacks failures or tokens");

    let samples = exported(&aggregate);
    expect(
        &samples,
        &[
            (&format!("observer_input_tokens_total{{model={model:?}}}"), input as f64),
            (
                &format!("observer_cached_input_tokens_total{{model={model:?}}}"),
                usage("cache_read_input_tokens") as f64,
            ),
            (
                &format!("observer_output_tokens_total{{model={model:?}}}"),
                usage("output_tokens") as f64,
            ),
            (&format!("observer_model_calls_total{{model={model:?}}}"), turns as f64),
            (
                &format!("observer_model_cycles_total{{model={model:?},ok=\"false\"}}"),
                failed as f64,
            ),
            (
                &format!("observer_model_cycles_total{{model={model:?},ok=\"true\"}}"),
                (events.len() - failed) as f64,
            ),
            (r#"observer_cycle_duration_seconds_count{source="bot"}"#, events.len() as f64),
            (r#"observer_cycle_duration_seconds_sum{source="bot"}"#, milliseconds as f64 / 1000.0),
            ("observer_unpriced_events_total", 0.0),
        ],
    );
    let counted = samples[&format!("observer_cost_usd_total{{model={model:?}}}")];
    assert!((counted - cost as f64 / 1e12).abs() < 1e-9, "{counted}");
}
