//! Rules that decide between readings and between places.

use std::sync::Arc;

use serde_json::{Value, json};

use super::shapes::event;
use crate::{ServiceTier, Usage};

/// Asserts input, cached input and output of an object in `usage`.
#[track_caller]
fn check(usage: &Value, expected: (u64, u64, u64)) {
    let found = Usage::parse(&usage.to_string()).unwrap_or_default();
    assert_eq!((found.input, found.cached_input, found.output), expected, "{usage}");
}

#[test]
fn total_decides_whether_parts_are_within_or_beside() {
    for (cached, reasoning) in
        [("cached_tokens", "reasoning_tokens"), ("cache_read_input_tokens", "thoughtsTokenCount")]
    {
        for (total, expected) in
            [(150, (100, 40, 50)), (190, (140, 40, 50)), (170, (100, 40, 70)), (210, (140, 40, 70))]
        {
            let usage = json!({
                "input_tokens": 100, cached: 40, "output_tokens": 50, reasoning: 20,
                "total_tokens": total,
            });
            check(&usage, expected);
        }
    }
}

#[test]
fn names_decide_without_a_total() {
    for (usage, expected) in [
        (json!({"input_tokens": 100, "cached_tokens": 40, "output_tokens": 1}), (100, 40, 1)),
        (json!({"input_tokens": 100, "cache_read_input_tokens": 40}), (140, 40, 0)),
        (json!({"prompt_tokens": 100, "cache_read_input_tokens": 40}), (100, 40, 0)),
        (json!({"input": 100, "cache_read": 40}), (140, 40, 0)),
        (json!({"input": 100, "output": 5}), (100, 0, 5)),
        // More cached tokens than input tokens can't be within the input.
        (json!({"input_tokens": 100, "cached_tokens": 400}), (500, 400, 0)),
        (json!({"output_tokens": 5, "reasoning_tokens": 20}), (0, 0, 25)),
        // Tokens that missed the cache tell what the input includes.
        (
            json!({"input_tokens": 100, "cached_tokens": 40, "uncached_input_tokens": 60}),
            (100, 40, 0),
        ),
        (
            json!({"input_tokens": 60, "cached_tokens": 40, "uncached_input_tokens": 60}),
            (100, 40, 0),
        ),
        (json!({"uncached_input_tokens": 60, "cached_tokens": 40}), (100, 40, 0)),
    ] {
        check(&usage, expected);
    }
}

#[test]
fn total_stands_in_for_a_missing_count() {
    check(&json!({"prompt_tokens": 100, "total_tokens": 130}), (100, 0, 30));
    check(&json!({"completion_tokens": 30, "total_tokens": 130}), (100, 0, 30));
    check(
        &json!({"promptTokenCount": 100, "thoughtsTokenCount": 9, "totalTokenCount": 109}),
        (100, 0, 9),
    );
    // A total that is neither is no evidence.
    check(&json!({"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 7}), (100, 0, 5));
}

#[test]
fn numbers_out_of_range_are_unread() {
    let max = 1_u64 << 53;
    check(&json!({"prompt_tokens": max, "completion_tokens": 1e6}), (max, 0, 1_000_000));
    for number in [json!(max + 1), json!(-1), json!(1.5), json!("1.5"), json!(1e300)] {
        let event = event(&json!({"usage": {"prompt_tokens": number, "completion_tokens": 2}}));
        assert_eq!(event.usage().map(|usage| (usage.input, usage.output)), Some((0, 2)));
        assert!(event.unread_usage(), "{number}");
    }
    for number in ["1,234", "1 234", "~5", "12k", "5 tokens", "NaN", "-inf"] {
        let event = event(&json!({"usage": {"prompt_tokens": number, "completion_tokens": 2}}));
        assert_eq!(event.usage().map(|usage| (usage.input, usage.output)), Some((0, 2)));
        assert!(event.unread_usage(), "{number}");
    }
    for cost in [json!(-1), json!(1e13), json!("-0.5"), json!("NaN"), json!("0,25"), json!("5 USD")]
    {
        let event = event(&json!({"usage": {"prompt_tokens": 1, "cost": cost}}));
        assert_eq!(event.usage().and_then(|usage| usage.cost_usd), None);
        assert!(event.unread_usage(), "{cost}");
    }
    for other in [json!("many"), json!("gpt-5"), json!("n/a"), json!(null), json!(true), json!([])]
    {
        let event = event(&json!({"usage": {"prompt_tokens": other, "completion_tokens": 2}}));
        assert_eq!(event.usage().map(|usage| usage.input), Some(0));
        assert!(!event.unread_usage(), "{other}");
    }
}

#[test]
fn cost_has_many_names_and_one_value() {
    for (extra, expected) in [
        (json!({"cost": 1, "total_cost": 2, "total_cost_usd": 3}), Some(3.0)),
        (json!({"cost": 1, "total_cost": 2, "usage": {"input_tokens": 5}}), Some(2.0)),
        (json!({"estimated_cost_usd": 1, "actual_cost_usd": 2}), Some(2.0)),
        (json!({"total_cost_usd": 2, "steps": [{"cost_usd": 1}, {"cost_usd": 1}]}), Some(2.0)),
        (json!({"steps": [{"cost_usd": 1}, {"cost_usd": 1}]}), Some(2.0)),
        (json!({"cost": {"total": 2, "input": 1}, "tokens_used": 5}), Some(2.0)),
        (json!({"cost": {"usd": "0.5"}}), Some(0.5)),
        (json!({"cost_cents": 250}), Some(2.5)),
        (json!({"cost": null, "usage": {"cost": 0}}), Some(0.0)),
        (json!({"usage": {"input_tokens": 5, "input_cost": 1, "output_cost": 2}}), Some(3.0)),
        // Without tokens, they may be prices of a model.
        (json!({"model": {"cost": {"input": 3, "output": 15}}}), None),
        (json!({"pricing": {"total_cost": 3}}), None),
        (json!({"cpu": {"usage": 0.7}}), None),
        (json!({"currency": "EUR", "cost": 3}), None),
    ] {
        let event = event(&json!({ "extra": extra }));
        assert_eq!(event.usage().and_then(|usage| usage.cost_usd), expected, "{extra}");
    }
}

#[test]
fn cost_of_some_of_several_calls_is_none_and_unread() {
    let calls = |second: Value| {
        event(&json!({"extra": {"calls": [
            {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.5}, second,
        ]}}))
    };
    let partial = calls(json!({"prompt_tokens": 1, "completion_tokens": 1}));
    assert_eq!(partial.usage().map(|usage| (usage.input, usage.cost_usd)), Some((2, None)));
    assert!(partial.unread_usage());
    let complete = calls(json!({"prompt_tokens": 1, "completion_tokens": 1, "cost": 0}));
    assert!(!complete.unread_usage());
}

#[test]
fn bare_cost_is_one_of_tokens_beside_tokens_alone() {
    let tokens = json!({"prompt_tokens": 10, "completion_tokens": 5});
    for (members, expected, is_unread) in [
        (json!({"usage": tokens, "extra": {"cost": 2}}), Some(2.0), false),
        (json!({"usage": tokens, "total_cost": 2}), Some(2.0), false),
        (json!({"usage": {"cost": 2}}), Some(2.0), false),
        (json!({"extra": {"result": {"cost": 2, "llm": tokens}}}), Some(2.0), false),
        // The tokens are unread: a total alone is neither input nor output.
        (json!({"extra": {"result": {"cost": 2, "total_tokens": 9}}}), Some(2.0), true),
        (json!({"usage": tokens, "extra": {"order": {"cost": 2}}}), None, true),
        (json!({"usage": tokens, "extra": {"order": {"cost": 0}}}), None, false),
        (json!({"usage": tokens, "extra": {"orders": [{"total_price": 2}]}}), None, true),
        (json!({"extra": {"cost": 2}}), None, true),
        (json!({"extra": {"cost": 2, "currency": "EUR"}}), None, true),
        (json!({"cost_usd": 1, "usage": tokens, "extra": {"cost": 2}}), Some(1.0), false),
        (json!({"usage": tokens, "extra": {"order": {"cost_usd": 2}}}), Some(2.0), false),
    ] {
        let event = event(&members);
        let cost = event.usage().and_then(|usage| usage.cost_usd);
        assert_eq!((cost, event.unread_usage()), (expected, is_unread), "{members}");
    }
}

#[test]
fn field_cost_usd_overrides_every_other_cost() {
    let event = event(&json!({"cost_usd": 2, "usage": {"cost_usd": 1}, "extra": {"cost": 3}}));
    assert_eq!(event.usage().and_then(|usage| usage.cost_usd), Some(2.0));
    assert!(event.has(crate::Field::Usage));
}

#[test]
fn better_place_takes_precedence_over_an_earlier_one() {
    let full = json!({"usage": {"prompt_tokens": 7, "completion_tokens": 3}});
    for usage in [
        json!({}),
        json!({"note": "none"}),
        json!({"prompt_tokens": 0, "completion_tokens": 0}),
        json!({"completion_tokens": 3}),
        json!({"total_tokens": 10}),
    ] {
        let event = event(&json!({"usage": usage, "extra": full}));
        assert_eq!(event.usage().map(|usage| (usage.input, usage.output)), Some((7, 3)), "{usage}");
        assert!(!event.unread_usage(), "{usage}");
    }
    let event =
        event(&json!({"usage": {"prompt_tokens": 9, "completion_tokens": 1}, "extra": full}));
    assert_eq!(event.usage().map(|usage| usage.input), Some(9));
}

#[test]
fn parts_are_not_added_to_their_sum() {
    let call = |input: u64| json!({"usage": {"prompt_tokens": input, "completion_tokens": 1}});
    let both = json!({"prompt_tokens": 9, "completion_tokens": 2});
    for extra in [
        json!({"result": {"usage": both}, "messages": [call(4), call(5)]}),
        json!({"messages": [call(4), call(5)], "result": both}),
        json!({"usage": both, "messages": [call(4), call(5), call(6)]}),
        json!({"total_usage": both, "usage": {"prompt_tokens": 5, "completion_tokens": 1}}),
        json!({"usage": both, "model_usage": {"a": call(4), "b": call(5)}}),
        json!({"model_usage": {"a": call(4), "b": call(5)}, "agent_usage": {"c": both}}),
        json!({"a": call(4), "b": call(5), "raw_a": call(4), "raw_b": call(5)}),
    ] {
        let event = event(&json!({ "extra": extra }));
        assert_eq!(event.usage().map(|usage| (usage.input, usage.output)), Some((9, 2)), "{extra}");
    }
}

#[test]
fn last_value_of_a_repeated_key_counts() {
    let usage = |json: &str| Usage::parse(json).map(|usage| usage.input);
    assert_eq!(usage(r#"{"prompt_tokens":1,"prompt_tokens":2}"#), Some(2));
    assert_eq!(usage(r#"{"usage":{"prompt_tokens":1},"usage":{"prompt_tokens":2}}"#), Some(2));
}

#[test]
fn keys_with_escapes_are_names_too() {
    let json = r#"{"\ud800":1,"prompt\u005ftokens":7,"completion_tokens":"\u0033"}"#;
    let usage = Usage::parse(json).unwrap();
    assert_eq!((usage.input, usage.output), (7, 0));
}

#[test]
fn tier_is_that_of_the_response() {
    let tier = |extra: &Value| event(&json!({ "extra": extra })).usage().unwrap().service_tier;
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 1});
    for (name, value, expected) in [
        ("service_tier", "batch", ServiceTier::Batch),
        ("serviceTier", "FLEX", ServiceTier::Flex),
        ("service_tier", "priority", ServiceTier::Priority),
        ("trafficType", "ON_DEMAND_PRIORITY", ServiceTier::Priority),
        ("trafficType", "ON_DEMAND", ServiceTier::Standard),
        ("service_tier", "default", ServiceTier::Standard),
    ] {
        assert_eq!(tier(&json!({"usage": usage, name: value})), expected, "{value}");
    }
    let flex = json!({"service_tier": "flex", "usage": usage});
    let batch = json!({"service_tier": "batch", "usage": usage});
    assert_eq!(
        tier(&json!({"request": {"service_tier": "auto"}, "response": flex})),
        ServiceTier::Flex
    );
    assert_eq!(tier(&json!({"calls": [flex, flex]})), ServiceTier::Flex);
    assert_eq!(tier(&json!({"calls": [flex, batch]})), ServiceTier::Standard);
}

#[test]
fn usage_of_anything_else_is_no_tokens() {
    for extra in [
        json!({"usage": {"cpu": 0.5, "memory": {"cached": 5, "total": 9}}}),
        json!({"usage": {"total": 9, "cached": 3}}),
        json!({"usage": {"network": {"in": 5, "out": 6}}}),
        json!({"disk_usage": {"total": 500, "used": 300, "read": 7}}),
        json!({"cpu_usage": {"system": 3, "input": 4}}),
        json!({"cache": {"hits": 50, "read": 3, "write": 9}, "cache_reads": 50}),
        json!({"input": 5, "output": 7, "total": 12, "reasoning": 3}),
        json!({"stats": {"usage": 7}, "limits": {"input_tokens": 5}}),
    ] {
        let event = event(&json!({ "extra": extra }));
        assert_eq!(event.usage(), None, "{extra}");
        assert!(!event.unread_usage(), "{extra}");
    }
}

#[test]
fn short_names_are_tokens_in_usage() {
    for extra in [
        json!({"tokens": {"in": 5, "out": 6}}),
        json!({"usage": {"input": 5, "output": 6}}),
        json!({"usage": {"gpt-5": {"input": 5, "output": 6}}}),
        json!({"usage_by_model": {"gpt-5": {"input": 5, "output": 6}}}),
        json!({"usage.input": 5, "usage.output": 6}),
        json!({"tokensIn": 5, "tokensOut": 6}),
    ] {
        let event = event(&json!({ "extra": extra }));
        let found = event.usage().map(|usage| (usage.input, usage.output));
        assert_eq!(found, Some((5, 6)), "{extra}");
    }
}

#[test]
fn usage_is_read_once_for_all_sinks() {
    let event = Arc::new(event(&json!({"extra": {"usage": {"prompt_tokens": 1}}})));
    let shared = Arc::clone(&event);
    let (first, second) = (event.usage().unwrap(), shared.usage().unwrap());
    assert!(std::ptr::eq(first, second));
}

#[test]
fn tokens_of_ollama_alone_are_local() {
    let is_local = |extra: &Value| event(&json!({ "extra": extra })).usage().unwrap().local;
    let ollama = json!({"prompt_eval_count": 5, "eval_count": 2});
    let other = json!({"prompt_tokens": 5, "completion_tokens": 2});
    assert!(is_local(&ollama) && !is_local(&other));
    assert!(is_local(&json!({"calls": [ollama, ollama]})));
    assert!(!is_local(&json!({"calls": [ollama, other]})));
}
