//! Properties: the same usage is read wherever and however it is written.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use super::shapes::{self, Shape};
use crate::{Event, Usage};

/// How a key is written.
#[derive(Debug, Clone, Copy)]
enum Style {
    AsIs,
    Snake,
    Camel,
    Pascal,
    Kebab,
    Dotted,
    Upper,
}

impl Style {
    const ALL: [Self; 7] = [
        Self::AsIs,
        Self::Snake,
        Self::Camel,
        Self::Pascal,
        Self::Kebab,
        Self::Dotted,
        Self::Upper,
    ];

    fn write(self, key: &str) -> String {
        let words = words(key);
        let capital = |word: &String| word[..1].to_uppercase() + &word[1..];
        let capitals = |words: &[String]| words.iter().map(capital).collect::<String>();
        match self {
            Self::AsIs => key.to_owned(),
            Self::Snake => words.join("_"),
            Self::Camel => words[0].clone() + &capitals(&words[1..]),
            Self::Pascal => capitals(&words),
            Self::Kebab => words.join("-"),
            Self::Dotted => words.join("."),
            Self::Upper => words.join("_").to_uppercase(),
        }
    }
}

/// Returns the words of a key in lower case.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for character in key.chars() {
        let is_new = !character.is_ascii_alphanumeric() || character.is_ascii_uppercase();
        if is_new && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if character.is_ascii_alphanumeric() {
            words.last_mut().unwrap().push(character.to_ascii_lowercase());
        }
    }
    words
}

/// Rewrites every key, and numbers as strings if `as_strings` is true.
fn rewrite(value: &Value, style: Style, as_strings: bool) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (style.write(key), rewrite(value, style, as_strings)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => {
            items.iter().map(|item| rewrite(item, style, as_strings)).collect::<Vec<_>>().into()
        }
        Value::Number(number) if as_strings => number.to_string().into(),
        other => other.clone(),
    }
}

/// Returns the shapes that stand in `usage` alone.
fn in_usage() -> &'static [Shape] {
    static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(read_shapes);
    &SHAPES
}

fn read_shapes() -> Vec<Shape> {
    let is_alone = |shape: &Shape| {
        shape.place.as_object().is_some_and(|place| place.len() == 1) && !shape.is_unread
    };
    let shapes: Vec<_> = shapes::all()
        .into_iter()
        .filter(|shape| is_alone(shape) && shape.place["usage"].is_object())
        .collect();
    assert!(shapes.len() > 30, "{} shapes", shapes.len());
    shapes
}

/// Returns whether every name of a shape means the same outside of `usage`.
fn needs_no_context(usage: &Value) -> bool {
    let short = ["input", "output", "total"];
    match usage {
        Value::Object(members) => members.iter().all(|(key, value)| {
            (value.is_object() || !short.contains(&key.as_str())) && needs_no_context(value)
        }),
        Value::Array(items) => items.iter().all(needs_no_context),
        _ => true,
    }
}

/// Names of objects around a response.
const WRAPPERS: [&str; 8] =
    ["response", "result", "data", "body", "message", "llm", "output", "reply"];

/// Returns an event's members that hold the usage below up to three wrappers and lists.
fn wrapped(usage: &Value, wrappers: &[(&str, bool)], name: &str) -> Value {
    let mut value = json!({ name: usage });
    for (wrapper, is_list) in wrappers {
        value = if *is_list { json!({ *wrapper: [value] }) } else { json!({ *wrapper: value }) };
    }
    json!({ "extra": value })
}

fn usage_of(members: &Value) -> (Usage, bool) {
    let event = shapes::event(members);
    (event.usage().copied().unwrap_or_default(), event.unread_usage())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn usage_is_the_same_in_every_place_and_spelling(
        index in any::<Index>(),
        style in select(&Style::ALL[..]),
        as_strings in any::<bool>(),
        wrappers in prop::collection::vec((select(&WRAPPERS[..]), any::<bool>()), 0..=3),
        name in select(&["usage", "Usage", "usageMetadata", "token-usage"][..]),
    ) {
        let shapes = in_usage();
        let shape = index.get(shapes);
        let usage = rewrite(&shape.place["usage"], style, as_strings);
        let mut places = vec![
            json!({ "usage": usage }),
            json!({ name: usage }),
            wrapped(&usage, &wrappers, name),
            json!({ "usage": {}, "extra": { "usage": usage } }),
            json!({ "usage": usage, "extra": { "response": { "usage": usage }, "raw": usage } }),
            json!({ "usage": [usage] }),
        ];
        if needs_no_context(&shape.place["usage"]) {
            places.push(usage.clone());
            places.push(json!({ "extra": usage }));
            places.push(json!({ "extra": { "response": usage } }));
        }
        for place in places {
            let (found, is_unread) = usage_of(&place);
            prop_assert!(
                shapes::is_close(&found, &shape.expected),
                "{}: {place}\n{found:?}\n{:?}", shape.name, shape.expected
            );
            prop_assert!(!is_unread, "{}: {place}", shape.name);
        }
    }

    #[test]
    fn usage_of_a_list_is_the_sum(
        indices in prop::collection::vec(any::<Index>(), 1..6),
        key in select(&["calls", "steps", "messages", "requests"][..]),
        is_bare in any::<bool>(),
    ) {
        let shapes = in_usage();
        let chosen: Vec<_> = indices.iter().map(|index| index.get(shapes)).collect();
        let calls: Vec<_> = chosen
            .iter()
            .map(|shape| {
                let usage = &shape.place["usage"];
                let is_bare = is_bare && needs_no_context(usage);
                if is_bare { usage.clone() } else { json!({ "usage": usage }) }
            })
            .collect();
        let (found, _) = usage_of(&json!({ "extra": { key: calls } }));
        let sum = |part: fn(&Usage) -> u64| -> u64 {
            chosen.iter().map(|shape| part(&shape.expected)).sum()
        };
        prop_assert_eq!(found.input, sum(|usage| usage.input));
        prop_assert_eq!(found.cached_input, sum(|usage| usage.cached_input));
        prop_assert_eq!(found.cache_creation_input, sum(|usage| usage.cache_creation_input));
        prop_assert_eq!(found.output, sum(|usage| usage.output));
        prop_assert_eq!(found.reasoning, sum(|usage| usage.reasoning));
        let costs: Vec<_> = chosen.iter().filter_map(|shape| shape.expected.cost_usd).collect();
        // The cost of some of the calls is none.
        let is_whole = chosen.iter().all(|shape| {
            let Usage { input, output, cost_usd, .. } = shape.expected;
            cost_usd.is_some() || (input == 0 && output == 0)
        });
        prop_assert_eq!(found.cost_usd.is_some(), is_whole && !costs.is_empty());
        let cost: f64 = if is_whole { costs.iter().sum() } else { 0.0 };
        prop_assert!((found.cost_usd.unwrap_or(0.0) - cost).abs() < 1e-9);
        prop_assert_eq!(found.local, chosen.iter().all(|shape| shape.expected.local));
    }

    #[test]
    fn any_json_has_consistent_usage(value in arbitrary()) {
        let event = shapes::event(&json!({ "usage": value, "extra": { "x": value }, "y": value }));
        check(&event)?;
        let again = Event::from_parsed(event.raw().clone());
        prop_assert_eq!(again.usage(), event.usage());
        prop_assert_eq!(again.unread_usage(), event.unread_usage());
    }

    #[test]
    fn any_bytes_have_consistent_usage(
        value in arbitrary(),
        at in any::<Index>(),
        byte in 0_u8..128,
    ) {
        let mut json = json!({ "source": "s", "extra": value }).to_string().into_bytes();
        let at = at.index(json.len());
        json[at] = byte;
        let text = String::from_utf8(json.clone()).unwrap_or_default();
        let _ = Usage::parse(&text);
        let _ = Usage::parse(&text[..at.min(text.len())]);
        check(&Event::from_parsed(json.into()))?;
    }
}

fn check(event: &Event) -> Result<(), TestCaseError> {
    if let Some(usage) = event.usage() {
        prop_assert!(usage.cached_input + usage.cache_creation_input <= usage.input);
        prop_assert!(usage.cache_creation_1h_input <= usage.cache_creation_input);
        prop_assert!(usage.reasoning <= usage.output);
        prop_assert!(usage.cost_usd.is_none_or(|cost| cost.is_finite() && cost >= 0.0));
    }
    Ok(())
}

/// Generates JSON with names of usage in unusual places.
fn arbitrary() -> impl Strategy<Value = Value> {
    let names = select(
        &[
            "usage",
            "total_usage",
            "input_tokens",
            "prompt_tokens",
            "prompt_tokens_details",
            "cached_tokens",
            "cache_read_input_tokens",
            "cache_creation",
            "ephemeral_1h_input_tokens",
            "output_tokens",
            "reasoning_tokens",
            "thoughtsTokenCount",
            "total_tokens",
            "input",
            "total",
            "cost",
            "total_cost_usd",
            "cost_details",
            "cacheDetails",
            "serviceTier",
            "service_tier",
            "type",
            "is_byok",
            "some_tokens",
            "\u{e4}\"\\\u{1f980}",
            "",
        ][..],
    );
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0_u64..1000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9a-z$. \\\\\"-]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            3 => prop::collection::vec((names.clone(), inner.clone()), 0..8).prop_map(|members| {
                let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
                members.collect::<Map<_, _>>().into()
            }),
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::from),
        ]
    })
}
