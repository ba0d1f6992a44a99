//! Usage of real runs.

use std::path::PathBuf;

use serde_json::Value;

use crate::Event;

/// Returns the runs that `OBSERVER_TEST_RUNS` names, or those of the fixture.
fn runs() -> String {
    let fixture = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/agent-runs.ndjson"
    ));
    let path = std::env::var_os("OBSERVER_TEST_RUNS").map_or(fixture, PathBuf::from);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn usage_of_real_runs_is_that_of_their_fields() {
    let mut inputs = 0;
    for run in runs().lines() {
        let json: Value = serde_json::from_str(run).unwrap();
        let usage = &json["extra"]["usage"];
        let count = |name: &str| usage[name].as_u64().unwrap_or(0);
        // A run has the names of one API, so the sum is right for both.
        let (read, written) =
            (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
        let input = count("prompt_tokens") + count("input_tokens") + read + written;
        let output = count("completion_tokens") + count("output_tokens");

        let event = Event::parse(run.to_owned()).unwrap();
        let found = event.usage().unwrap();
        assert_eq!((found.input, found.output), (input, output), "{run}");
        assert_eq!((found.cached_input, found.cache_creation_input), (read, written), "{run}");
        // serde_json rounds some numbers in the last digit.
        let (cost, expected) = (found.cost_usd.unwrap(), usage["cost_usd"].as_f64().unwrap());
        assert!((cost - expected).abs() <= expected * f64::EPSILON, "{run}");
        assert!(!event.unread_usage(), "{run}");
        inputs += input;
    }
    assert!(inputs > 100_000_000, "the runs lack tokens");
}
