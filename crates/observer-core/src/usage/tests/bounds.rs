//! Bounds of the work.

use serde_json::{Value, json};

use super::shapes::event;

fn input(members: &Value) -> (u64, bool) {
    let event = event(members);
    (event.usage().map_or(0, |usage| usage.input), event.unread_usage())
}

/// Returns usage below this many objects.
fn nested(levels: usize) -> Value {
    (0..levels).fold(
        json!({ "prompt_tokens": 7, "completion_tokens": 1 }),
        |value, _| json!({ "wrapped": value }),
    )
}

#[test]
fn usage_is_read_down_to_the_fourth_level() {
    for levels in 0..=4 {
        assert_eq!(input(&json!({ "extra": nested(levels) })), (7, false), "{levels} levels");
        assert_eq!(input(&json!({ "usage": nested(levels) })), (7, false), "{levels} levels");
        assert_eq!(input(&json!({ "top": nested(levels.min(3)) })), (7, false), "{levels} levels");
    }
    for levels in [5, 6, 20, 60] {
        assert_eq!(input(&json!({ "extra": nested(levels) })), (0, true), "{levels} levels");
        assert_eq!(input(&json!({ "usage": nested(levels + 2) })), (0, true), "{levels} levels");
        let found = json!({ "usage": nested(0), "extra": nested(levels) });
        assert_eq!(input(&found), (7, false), "{levels} levels");
    }
}

#[test]
fn details_and_lists_are_no_levels() {
    let usage = json!({
        "prompt_tokens": 7,
        "prompt_tokens_details": { "cached_tokens": 5 },
        "completion_tokens": 1
    });
    let event = event(&json!({ "extra": { "a": { "b": [[{ "c": { "usage": usage } }]] } } }));
    assert_eq!(event.usage().map(|usage| (usage.input, usage.cached_input)), Some((7, 5)));
}

#[test]
fn deep_lists_end_the_search_and_not_the_program() {
    let list = (0..50).fold(json!([{ "prompt_tokens": 7 }]), |list, _| json!([list]));
    assert_eq!(input(&json!({ "extra": { "a": list, "usage": { "prompt_tokens": 3 } } })).0, 3);
}

#[test]
fn usage_after_too_many_members_is_unread() {
    let mut extra = serde_json::Map::new();
    for number in 0..9_000 {
        extra.insert(format!("a{number}"), json!(number));
    }
    extra.insert("usage".into(), json!({ "prompt_tokens": 7 }));
    assert_eq!(input(&json!({ "extra": extra })), (7, false));
    for number in 9_000..12_000 {
        extra.insert(format!("a{number}"), json!(number));
    }
    // The map is sorted: `usage` is the last member.
    assert_eq!(input(&json!({ "extra": extra })), (0, true));
    // What stands in `usage` needs no other place.
    let usage = json!({ "prompt_tokens": 3, "completion_tokens": 2 });
    assert_eq!(input(&json!({ "usage": usage, "extra": extra })), (3, false));
}

#[test]
fn usage_after_too_many_bytes_is_unread() {
    let usage = json!({ "prompt_tokens": 7 });
    let log = "x".repeat(1_000_000);
    assert_eq!(input(&json!({ "extra": { "log": log, "usage": usage } })), (7, false));
    let log = "ü".repeat(1_000_000);
    assert_eq!(input(&json!({ "extra": { "log": log, "usage": usage } })), (0, true));
}
