//! Shapes in which providers and tools report usage.

use serde_json::{Value, json};

use crate::{Event, ServiceTier, Usage};

/// One shape of the fixture.
pub(super) struct Shape {
    pub(super) name: String,
    /// Members of the event.
    pub(super) place: Value,
    pub(super) expected: Usage,
    pub(super) is_unread: bool,
}

/// Returns the shapes of `tests/fixtures/usage-shapes.ndjson`.
pub(super) fn all() -> Vec<Shape> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/usage-shapes.ndjson");
    let lines = std::fs::read_to_string(path).unwrap();
    lines.lines().map(|line| shape(&serde_json::from_str(line).unwrap())).collect()
}

fn shape(line: &Value) -> Shape {
    let name = line["name"].as_str().unwrap().to_owned();
    let expect = &line["expect"];
    let known = [
        "input",
        "cached_input",
        "cache_creation_input",
        "cache_creation_1h_input",
        "output",
        "reasoning",
        "unsplit",
        "cost_usd",
        "service_tier",
        "local",
        "unread",
    ];
    for key in expect.as_object().unwrap().keys() {
        assert!(known.contains(&key.as_str()), "{name} expects {key}");
    }
    let count = |key: &str| expect[key].as_u64().unwrap_or(0);
    let expected = Usage {
        input: count("input"),
        cached_input: count("cached_input"),
        cache_creation_input: count("cache_creation_input"),
        cache_creation_1h_input: count("cache_creation_1h_input"),
        output: count("output"),
        reasoning: count("reasoning"),
        unsplit: count("unsplit"),
        cost_usd: expect["cost_usd"].as_f64(),
        service_tier: match expect["service_tier"].as_str() {
            None => ServiceTier::Standard,
            Some("batch") => ServiceTier::Batch,
            Some("flex") => ServiceTier::Flex,
            Some("priority") => ServiceTier::Priority,
            Some(other) => panic!("{name} expects the tier {other}"),
        },
        local: expect["local"].as_bool().unwrap_or(false),
    };
    let is_unread = expect["unread"].as_bool().unwrap_or(false);
    Shape { name, place: line["place"].clone(), expected, is_unread }
}

/// Returns an event with these members besides the required ones.
pub(super) fn event(members: &Value) -> Event {
    let mut event = json!({"source": "bot", "event_kind": "ok", "ok": true});
    for (key, value) in members.as_object().unwrap() {
        event[key] = value.clone();
    }
    Event::parse(event.to_string()).unwrap()
}

#[test]
fn usage_of_each_shape_is_read() {
    let shapes = all();
    let wrong: Vec<_> = shapes
        .iter()
        .filter_map(|Shape { name, place, expected, is_unread }| {
            let event = event(place);
            let found = event.usage().copied().unwrap_or_default();
            let is_right = is_close(&found, expected) && event.unread_usage() == *is_unread;
            (!is_right).then(|| {
                format!("{name}: {found:?}, unread {}, not {expected:?}", event.unread_usage())
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), shapes.len(), wrong.join("\n"));
}

/// Compares usage. Sums of costs are rounded.
pub(super) fn is_close(found: &Usage, expected: &Usage) -> bool {
    let are_close = match (found.cost_usd, expected.cost_usd) {
        (Some(found), Some(expected)) => (found - expected).abs() <= 1e-12 * expected.abs(),
        (found, expected) => found == expected,
    };
    are_close && Usage { cost_usd: None, ..*found } == Usage { cost_usd: None, ..*expected }
}
