//! Totals by source, model and outcome.

use observer_core::{Pricing, RateQuery, Rates};

use super::*;

/// Returns the series of a name and the labels of one source and model.
fn of(name: &str, model: &str, more: &str) -> String {
    format!(r#"observer_{name}{{source="bot",model="{model}"{more}}}"#)
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
    for (name, model, ok, value) in [
        ("input_tokens_total", "claude", "true", 97.0),
        ("input_tokens_total", "claude", "false", 3.0),
        ("cached_input_tokens_total", "claude", "true", 80.0),
        ("cached_input_tokens_total", "claude", "false", 0.0),
        ("cache_creation_input_tokens_total", "claude", "true", 7.0),
        ("output_tokens_total", "claude", "true", 5.0),
        ("output_tokens_total", "claude", "false", 2.0),
        ("model_cycles_total", "claude", "true", 1.0),
        ("model_cycles_total", "claude", "false", 1.0),
        ("input_tokens_total", "gpt", "true", 150.0),
        ("cached_input_tokens_total", "gpt", "true", 80.0),
        ("output_tokens_total", "gpt", "true", 13.0),
        ("model_cycles_total", "gpt", "false", 0.0),
        ("input_tokens_total", "llama", "true", 1000.0),
        ("cached_input_tokens_total", "llama", "true", 0.0),
        ("output_tokens_total", "llama", "true", 200.0),
    ] {
        expect(&samples, &[(&of(name, model, &format!(r#",ok="{ok}""#)), value)]);
    }
    for (model, ok, reported) in
        [("claude", "true", 0.25), ("claude", "false", 0.125), ("gpt", "true", 1.0)]
    {
        let series = of("cost_usd_total", model, &format!(r#",ok="{ok}",basis="reported""#));
        expect(&samples, &[(&series, reported)]);
    }
    expect(
        &samples,
        &[
            (&of("model_calls_total", "claude", ""), 7.0),
            (&of("model_calls_total", "llama", ""), 5.0),
            (r#"observer_unpriced_events_total{model="claude"}"#, 0.0),
            (r#"observer_unpriced_events_total{model="gpt"}"#, 1.0),
        ],
    );
    assert_eq!(
        starting(&samples, "observer_input_tokens_total").len(),
        3 * 2,
        "reserved models without counts are not exported"
    );
}

#[test]
fn cycles_of_one_model_are_counted_for_each_source() {
    let mut aggregate = unlimited();
    count(
        &mut aggregate,
        ["a", "b", "a"].map(|source| {
            format!(
                r#"{{"source":"{source}","event_kind":"k","ok":true,"staffer_id":"m","turns":2}}"#
            )
        }),
    );
    expect(
        &exported(&aggregate),
        &[
            (r#"observer_model_cycles_total{source="a",model="m",ok="true"}"#, 2.0),
            (r#"observer_model_cycles_total{source="b",model="m",ok="true"}"#, 1.0),
            (r#"observer_model_calls_total{source="a",model="m"}"#, 4.0),
            (r#"observer_model_calls_total{source="b",model="m"}"#, 2.0),
        ],
    );
}

#[test]
fn usage_without_a_model_is_counted_under_unknown_and_not_as_a_cycle() {
    let mut aggregate = unlimited();
    count(
        &mut aggregate,
        [
            r#"{"source":"bot","event_kind":"k","ok":true,"usage":{"prompt_tokens":7,"completion_tokens":1}}"#,
            r#"{"source":"bot","event_kind":"k","ok":true,"staffer_id":"","turns":2}"#,
            r#"{"source":"bot","event_kind":"k","ok":true}"#,
        ],
    );
    let samples = exported(&aggregate);
    let unknown: Vec<_> =
        samples.iter().filter(|(name, _)| name.contains(r#"model="unknown""#)).collect();
    let expected = [
        (&of("input_tokens_total", "unknown", r#",ok="true""#), &7.0),
        (&of("model_calls_total", "unknown", ""), &2.0),
        (&of("output_tokens_total", "unknown", r#",ok="true""#), &1.0),
        (&r#"observer_unpriced_events_total{model="unknown"}"#.to_owned(), &1.0),
    ];
    assert_eq!(unknown, expected, "series of the value unknown show no zeros");
    expect(&samples, &[(r#"observer_label_overflow_total{label="model"}"#, 0.0)]);

    count(
        &mut aggregate,
        [r#"{"source":"bot","event_kind":"k","ok":true,"staffer_id":"unknown"}"#],
    );
    expect(&exported(&aggregate), &[(&of("model_cycles_total", "unknown", r#",ok="true""#), 1.0)]);
}

/// Pricing of one model, of 1 US dollar per token of input and 2 per token of output.
#[derive(Debug)]
struct OneModel;

impl Pricing for OneModel {
    fn rates(&self, query: &RateQuery<'_>) -> Option<Rates> {
        let mut rates = Rates::default();
        (rates.input, rates.output) = (1.0, 2.0);
        (query.model == "priced").then_some(rates)
    }
}

#[test]
fn costs_are_counted_by_their_basis_and_events_without_one_by_model() {
    let mut aggregate = unlimited();
    let event = |model: &str, ok: bool, usage: &str| {
        format!(
            r#"{{"source":"bot","event_kind":"k","ok":{ok},"staffer_id":"{model}","usage":{usage}}}"#
        )
    };
    let tokens = r#"{"prompt_tokens":3,"completion_tokens":4}"#;
    let both = r#"{"prompt_tokens":3,"completion_tokens":4,"cost_usd":0.5}"#;
    let events = [
        event("priced", true, tokens),
        event("priced", true, both),
        event("priced", false, tokens),
        event("dear", true, tokens),
        event("dear", true, tokens),
        event("dear", true, both),
        event("dear", true, r#"{"prompt_tokens":0,"completion_tokens":0}"#),
        event("dear", true, r#"{"cost_usd":0}"#),
    ];
    for (seq, raw) in (1..).zip(events) {
        aggregate.apply(&Reading::new(&envelope(seq, raw), &OneModel));
    }
    let samples = exported(&aggregate);
    let cost = |model: &str, ok: bool, basis: &str| {
        samples[&of("cost_usd_total", model, &format!(r#",ok="{ok}",basis="{basis}""#))]
    };
    assert_eq!((cost("priced", true, "priced"), cost("priced", true, "reported")), (11.0, 0.5));
    assert_eq!((cost("priced", false, "priced"), cost("priced", false, "reported")), (11.0, 0.0));
    assert_eq!((cost("dear", true, "priced"), cost("dear", true, "reported")), (0.0, 0.5));
    expect(
        &samples,
        &[
            (r#"observer_unpriced_events_total{model="priced"}"#, 0.0),
            (r#"observer_unpriced_events_total{model="dear"}"#, 2.0),
        ],
    );
}

#[test]
fn usage_that_is_not_understood_is_counted_by_source() {
    let mut aggregate = unlimited();
    count(
        &mut aggregate,
        [
            r#"{"source":"bot","event_kind":"k","ok":true,"usage":{"tokens_somehow":7}}"#,
            r#"{"source":"bot","event_kind":"k","ok":true,"usage":{"prompt_tokens":7}}"#,
            r#"{"source":"job","event_kind":"k","ok":true}"#,
            r#"{"source":"bot","event_kind":"started","usage":{"tokens_somehow":7}}"#,
        ],
    );
    expect(
        &exported(&aggregate),
        &[
            (r#"observer_unread_usage_events_total{source="bot"}"#, 1.0),
            (r#"observer_unread_usage_events_total{source="job"}"#, 0.0),
        ],
    );
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
    let samples = exported(&aggregate);
    for ok in [false, true] {
        let events: Vec<_> = events.iter().filter(|event| event["ok"] == ok).collect();
        let usage = |name: &str| -> u64 {
            events.iter().map(|event| event["extra"]["usage"][name].as_u64().unwrap()).sum()
        };
        let input = usage("input_tokens")
            + usage("cache_read_input_tokens")
            + usage("cache_creation_input_tokens");
        assert!(!events.is_empty() && input > 10_000_000, "the fixture lacks outcomes or tokens");
        let by_ok = |name: &str| of(name, model, &format!(r#",ok="{ok}""#));
        expect(
            &samples,
            &[
                (&by_ok("input_tokens_total"), input as f64),
                (&by_ok("cached_input_tokens_total"), usage("cache_read_input_tokens") as f64),
                (
                    &by_ok("cache_creation_input_tokens_total"),
                    usage("cache_creation_input_tokens") as f64,
                ),
                (&by_ok("output_tokens_total"), usage("output_tokens") as f64),
                (&by_ok("model_cycles_total"), events.len() as f64),
            ],
        );
        // Costs in picodollars, as integers, whose addition is exact.
        let picodollars = |event: &&serde_json::Value| {
            (event["extra"]["usage"]["cost_usd"].as_f64().unwrap() * 1e12).round() as i128
        };
        let cost: i128 = events.iter().map(picodollars).sum();
        let basis = format!(r#",ok="{ok}",basis="reported""#);
        let counted = samples[&of("cost_usd_total", model, &basis)];
        assert!((counted - cost as f64 / 1e12).abs() < 1e-9, "{counted}");
    }
    let sum =
        |name: &str| -> u64 { events.iter().map(|event| event[name].as_u64().unwrap()).sum() };
    expect(
        &samples,
        &[
            (&of("model_calls_total", model, ""), sum("turns") as f64),
            (&of("cycle_duration_seconds_count", model, ""), events.len() as f64),
            (&of("cycle_duration_seconds_sum", model, ""), sum("duration_ms") as f64 / 1000.0),
            (&format!("observer_unpriced_events_total{{model={model:?}}}"), 0.0),
        ],
    );
}
