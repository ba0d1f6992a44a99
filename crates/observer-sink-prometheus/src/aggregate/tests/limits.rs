//! Limits on the number of series.

use std::sync::Arc;

use observer_core::Envelope;

use super::*;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn event(source: &str, kind: &str, model: &str) -> String {
    serde_json::json!({
        "source": source, "event_kind": kind, "ok": true, "staffer_id": model, "turns": 1,
    })
    .to_string()
}

/// Counts events that are received at a time, in seconds since the start of 2026.
fn count_at(
    aggregate: &mut Aggregate,
    seconds: u64,
    events: impl IntoIterator<Item = impl Into<String>>,
) {
    for raw in events {
        apply(aggregate, &envelope(seconds, raw));
    }
}

#[test]
fn values_beyond_the_limits_are_counted_under_other_and_as_overflow() {
    let mut aggregate =
        limited(Limits { sources: 1, event_kinds: 3, models: 1, ..Limits::default() });
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
            (r#"observer_model_cycles_total{source="a",model="m",ok="true"}"#, 2.0),
            (r#"observer_model_cycles_total{source="other",model="m",ok="true"}"#, 1.0),
            (r#"observer_model_cycles_total{source="a",model="other",ok="true"}"#, 1.0),
            (r#"observer_model_calls_total{source="other",model="other"}"#, 1.0),
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
    for source in 0..40 {
        for kind in 0..40 {
            events.push(plain(&format!("s{source}"), &format!("k{kind}"), true));
        }
    }
    events.push(plain("bot", "ok", true));
    for hour in 0..2 {
        count_at(&mut aggregate, hour * HOUR, &events);
    }
    let samples = exported(&aggregate);
    let series = starting(&samples, "observer_events_total");
    let (other, own): (Vec<_>, Vec<_>) =
        series.iter().partition(|(name, _)| name.contains(r#"event_kind="other""#));
    assert_eq!((own.len(), other.len()), (8 + 2, 2 * 40));
    assert_eq!(series.iter().map(|(_, value)| value).sum::<f64>(), 2.0 * 1601.0);
    expect(&samples, &[(r#"observer_events_total{source="bot",event_kind="ok",ok="true"}"#, 2.0)]);
    let overflow = samples[r#"observer_label_overflow_total{label="event_kind"}"#];
    assert_eq!(overflow, other.iter().map(|(_, value)| value).sum::<f64>());
}

#[test]
fn pairs_of_source_and_model_are_limited() {
    let mut aggregate = limited(Limits { source_models: 4, ..Limits::default() });
    let mut events = Vec::new();
    for source in ["a", "b", "c"] {
        for model in ["x", "y"] {
            events.push(event(source, "k", model));
        }
    }
    count_at(&mut aggregate, 0, &events);
    count_at(&mut aggregate, HOUR, &events);
    let samples = exported(&aggregate);
    assert_eq!(
        starting(&samples, "observer_model_calls_total"),
        [
            (r#"observer_model_calls_total{source="a",model="x"}"#, 2.0),
            (r#"observer_model_calls_total{source="a",model="y"}"#, 2.0),
            (r#"observer_model_calls_total{source="b",model="other"}"#, 2.0),
            (r#"observer_model_calls_total{source="b",model="x"}"#, 1.0),
            (r#"observer_model_calls_total{source="b",model="y"}"#, 1.0),
            (r#"observer_model_calls_total{source="c",model="other"}"#, 4.0),
        ]
    );
    expect(&samples, &[(r#"observer_label_overflow_total{label="model"}"#, 6.0)]);
}

#[test]
fn phases_are_limited_in_number() {
    let limits = Limits { event_series: 5, sources: 3, ..Limits::default() };
    let mut aggregate = limited(limits);
    let phase = |(source, kind): (&str, &str)| {
        let raw = format!(r#"{{"source":"{source}","event_kind":"{kind}"}}"#);
        let event = Event::from_parsed(raw.into()).with_phase(true);
        let plain = envelope(1, plain("s", "k", true));
        Arc::new(Envelope { event, ..Arc::into_inner(plain).unwrap() })
    };
    for pair in [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "x"), ("a", "x")] {
        apply(&mut aggregate, &phase(pair));
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

/// Each value of an evicted source, event kind or model disappears from every metric, and appears
/// again at zero.
#[test]
fn evicted_value_disappears_from_every_metric_and_later_starts_at_zero() {
    for label in ["source", "event_kind", "model"] {
        let limits = match label {
            "source" => Limits { sources: 1, ..Limits::default() },
            "event_kind" => Limits { event_kinds: 1, ..Limits::default() },
            _ => Limits { models: 1, ..Limits::default() },
        };
        let with = |value: &str| {
            let of = |other: &str| if other == label { value } else { "same" }.to_owned();
            event(&of("source"), &of("event_kind"), &of("model"))
        };
        let mut aggregate = limited(limits);
        count_at(&mut aggregate, 0, [with("old"), with("old"), with("new")]);
        let old = |aggregate: &Aggregate| {
            let samples = exported(aggregate);
            samples
                .into_iter()
                .filter(|(name, _)| name.contains(&format!(r#"{label}="old""#)))
                .collect::<Vec<_>>()
        };
        assert!(old(&aggregate).iter().any(|(_, value)| *value == 2.0), "{label}");
        count_at(&mut aggregate, 30 * DAY, [with("new")]);
        assert_eq!(old(&aggregate), [], "{label}");
        let new = exported(&aggregate);
        let counted = |name: &str| new.iter().filter(|(other, _)| other.starts_with(name)).count();
        assert!(counted("observer_events_total") >= 2, "{label}");
        count_at(&mut aggregate, 90 * DAY, [with("old")]);
        count_at(&mut aggregate, 90 * DAY + HOUR, [with("old")]);
        let again = old(&aggregate);
        assert!(
            !again.is_empty()
                && again.iter().all(|(name, value)| {
                    *value <= 1.0 || name.starts_with("observer_last_event")
                }),
            "{label}: {again:?}"
        );
    }
}

#[test]
fn burst_of_junk_hides_no_name_that_was_there_before_or_recurs() {
    let mut aggregate = unlimited();
    let real: Vec<_> = (0..30).map(|n| event(&format!("s{n}"), "ok", &format!("m{n}"))).collect();
    let recurring = event("nightly", "timeout", "new-model");
    count_at(&mut aggregate, 0, real.iter().chain([&recurring]));
    let junk: Vec<_> =
        (0..10_000).map(|n| event(&format!("j{n}"), &format!("k{n}"), &format!("x{n}"))).collect();
    let late = event("weekly", "late", "newer-model");
    count_at(&mut aggregate, HOUR, &junk);
    count_at(&mut aggregate, HOUR, [&late]);
    count_at(&mut aggregate, 2 * HOUR, real.iter().chain([&recurring, &late]));
    let samples = exported(&aggregate);
    for n in 0..30 {
        expect(
            &samples,
            &[
                (
                    &format!(r#"observer_events_total{{source="s{n}",event_kind="ok",ok="true"}}"#),
                    2.0,
                ),
                (&format!(r#"observer_model_calls_total{{source="s{n}",model="m{n}"}}"#), 2.0),
            ],
        );
    }
    expect(
        &samples,
        &[
            (r#"observer_events_total{source="nightly",event_kind="timeout",ok="true"}"#, 2.0),
            (r#"observer_events_total{source="weekly",event_kind="late",ok="true"}"#, 1.0),
            (r#"observer_model_calls_total{source="weekly",model="newer-model"}"#, 1.0),
        ],
    );
}

#[test]
fn ever_new_values_create_a_bounded_number_of_series() {
    let mut aggregate = unlimited();
    for n in 0..100_000 {
        let raw =
            format!(r#"{{"source":"s{n}","event_kind":"k{n}","ok":false,"staffer_id":"m{n}"}}"#);
        apply(&mut aggregate, &envelope(n + 1, raw));
    }
    let samples = exported(&aggregate);
    assert_eq!(starting(&samples, r#"observer_last_event_timestamp_seconds{"#).len(), 51);
    assert_eq!(starting(&samples, "observer_model_calls_total{").len(), 50);
    assert_eq!(starting(&samples, "observer_events_total{").len(), 2 * 51);
    expect(
        &samples,
        &[
            (r#"observer_events_total{source="other",event_kind="other",ok="false"}"#, 99_950.0),
            (r#"observer_label_overflow_total{label="source"}"#, 99_950.0),
        ],
    );
    let rows = (
        aggregate.sources.rows().len(),
        aggregate.events.rows().len(),
        aggregate.cycles.rows().len(),
    );
    assert_eq!(rows, (51, 51, 51));
}
