//! Tokens and cost of a cycle, in one shape for every model API.

use serde_json::Value;

use crate::pricing::ServiceTier;
use crate::scan;

/// Tokens and cost of a cycle, normalised over the model APIs.
///
/// | API | input | output | cached input |
/// |---|---|---|---|
/// | OpenAI Chat | `prompt_tokens` | `completion_tokens` | `prompt_tokens_details.cached_tokens` |
/// | OpenAI Responses | `input_tokens` | `output_tokens` | `input_tokens_details.cached_tokens` |
/// | Anthropic | `input_tokens` | `output_tokens` | `cache_read_input_tokens` |
/// | Ollama | `prompt_eval_count` | `eval_count` | |
///
/// OpenAI counts cached tokens as part of the input. Anthropic counts them, and
/// `cache_creation_input_tokens`, in addition to it; here they are part of the input always.
///
/// ```
/// use observer_core::Usage;
///
/// let anthropic = Usage::parse(
///     r#"{"input_tokens":10,"cache_read_input_tokens":90,"output_tokens":5}"#,
/// ).unwrap();
/// assert_eq!((anthropic.input, anthropic.cached_input), (100, 90));
///
/// let openai = Usage::parse(concat!(
///     r#"{"prompt_tokens":100,"completion_tokens":5,"#,
///     r#""prompt_tokens_details":{"cached_tokens":90}}"#,
/// )).unwrap();
/// assert_eq!((openai.input, openai.cached_input), (100, 90));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens that the model read, cached ones included.
    pub input: u64,
    /// Part of `input` that was read from a cache.
    pub cached_input: u64,
    /// Part of `input` that was written to a cache.
    pub cache_creation_input: u64,
    /// Part of `cache_creation_input` that was written for an hour.
    pub cache_creation_1h_input: u64,
    /// Tokens that the model wrote, reasoning included.
    pub output: u64,
    /// Part of `output` that is reasoning.
    pub reasoning: u64,
    /// Cost in US dollars, if the producer reported it.
    pub cost_usd: Option<f64>,
    /// Tier in which the requests were served.
    pub service_tier: ServiceTier,
    /// True for usage in Ollama's own shape, whose tokens cost nothing unless a price says
    /// otherwise.
    pub local: bool,
}

/// Everything that an event says about its usage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UsageReading {
    pub(crate) usage: Option<Usage>,
    /// False if `usage` has nothing but the cost of the field `cost_usd`.
    pub(crate) is_reported: bool,
    /// True if numbers under names like those of tokens or cost were not understood.
    pub(crate) is_unread: bool,
}

impl UsageReading {
    /// Reads the usage of an event from the field `usage`, `extra` and the field `cost_usd`.
    pub(crate) fn of(own: Option<&str>, extra: Option<&str>, cost_usd: Option<f64>) -> Self {
        let reported =
            own.and_then(Usage::parse).or_else(|| extra.and_then(Usage::parse_within_extra));
        let usage = match cost_usd {
            None => reported,
            cost_usd => Some(Usage { cost_usd, ..reported.unwrap_or_default() }),
        };
        let is_unread = usage.is_none() && own.is_some_and(|own| own.contains("token"));
        Self { usage, is_reported: reported.is_some(), is_unread }
    }
}

impl Usage {
    /// Parses a usage object. Returns `None` if it holds no known key.
    ///
    /// Values of the wrong type are ignored, since `extra` may hold anything. The last value of a
    /// repeated key counts.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        let mut found = [None; COUNTS.len()];
        let (mut prompt_details, mut input_details, mut cost) = (None, None, None);
        let scanned = scan::members(json, |key, range| {
            let text = &json[range];
            match key {
                "prompt_tokens_details" => prompt_details = Some(text),
                "input_tokens_details" => input_details = Some(text),
                "cost_usd" => cost = Some(text),
                _ => {
                    if let Some(at) = COUNTS.iter().position(|name| *name == key) {
                        found[at] = Some(text);
                    }
                }
            }
        });
        if scanned.is_none() {
            return serde_json::from_str(json).ok().and_then(|value| Self::from_value(&value));
        }
        let cached = |details: Option<&str>| {
            serde_json::from_str(details?).ok().as_ref().and_then(cached_tokens)
        };
        Self::from_parts(
            |name| {
                COUNTS
                    .iter()
                    .position(|count| *count == name)
                    .and_then(|at| found[at])
                    .and_then(whole_text)
            },
            cached(prompt_details),
            cached(input_details),
            cost.and_then(|text| text.parse().ok()),
        )
    }

    /// Parses the `usage` inside an `extra` object.
    pub(crate) fn parse_within_extra(extra: &str) -> Option<Self> {
        // A cheap check: most events have no usage.
        if !extra.contains("usage") {
            return None;
        }
        Self::parse(last_usage(extra)?)
    }

    fn from_value(usage: &Value) -> Option<Self> {
        let detail = |name: &str| usage.get(name).and_then(cached_tokens);
        Self::from_parts(
            |name| usage.get(name).and_then(whole_value),
            detail("prompt_tokens_details"),
            detail("input_tokens_details"),
            usage.get("cost_usd").and_then(Value::as_f64),
        )
    }

    fn from_parts(
        count: impl Fn(&str) -> Option<u64>,
        prompt_cached: Option<u64>,
        input_cached: Option<u64>,
        cost: Option<f64>,
    ) -> Option<Self> {
        let cache_read = count("cache_read_input_tokens");
        let cache_creation = count("cache_creation_input_tokens");

        let (input, cached_input, cache_creation_input) =
            if let Some(prompt) = count("prompt_tokens") {
                (Some(prompt), prompt_cached.or(cache_read), None)
            } else if let Some(cached) = input_cached {
                (count("input_tokens"), Some(cached), None)
            } else if count("input_tokens").or(cache_read).or(cache_creation).is_some() {
                let parts = [count("input_tokens"), cache_read, cache_creation];
                (
                    Some(parts.into_iter().flatten().fold(0, u64::saturating_add)),
                    cache_read,
                    cache_creation,
                )
            } else {
                (count("prompt_eval_count"), None, None)
            };
        let output = count("completion_tokens")
            .or_else(|| count("output_tokens"))
            .or_else(|| count("eval_count"));
        let cost_usd = cost.filter(|cost| cost.is_finite() && *cost >= 0.0);
        if input.is_none() && output.is_none() && cost_usd.is_none() {
            return None;
        }
        let input = input.unwrap_or(0);
        Some(Self {
            input,
            // A producer may report more cached tokens than input tokens.
            cached_input: cached_input.unwrap_or(0).min(input),
            cache_creation_input: cache_creation_input.unwrap_or(0),
            output: output.unwrap_or(0),
            cost_usd,
            ..Self::default()
        })
    }
}

/// Names of the token counts.
const COUNTS: [&str; 8] = [
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "prompt_eval_count",
    "eval_count",
];

fn cached_tokens(details: &Value) -> Option<u64> {
    details.get("cached_tokens").and_then(whole_value)
}

fn whole_value(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().and_then(whole_number))
}

/// Parses a whole number from JSON text.
fn whole_text(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| text.parse().ok().and_then(whole_number))
}

fn whole_number(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as u64)
}

/// Returns the last `usage` of an object.
fn last_usage(object: &str) -> Option<&str> {
    let mut last = None;
    let scanned = scan::members(object, |key, range| {
        if key == "usage" {
            last = Some(&object[range]);
        }
    });
    if scanned.is_none() { last_usage_by_serde(object) } else { last }
}

/// The same by `serde_json`, for objects that [`scan`] does not accept.
fn last_usage_by_serde(object: &str) -> Option<&str> {
    use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
    use serde_json::value::RawValue;

    struct Last;
    impl<'de> Visitor<'de> for Last {
        type Value = Option<&'de str>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut last = None;
            while let Some(is_usage) = map.next_key_seed(IsUsage)? {
                if is_usage {
                    last = Some(map.next_value::<&RawValue>()?.get());
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(last)
        }
    }

    struct IsUsage;
    impl<'de> DeserializeSeed<'de> for IsUsage {
        type Value = bool;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
            deserializer.deserialize_bytes(self)
        }
    }
    impl Visitor<'_> for IsUsage {
        type Value = bool;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a key")
        }

        fn visit_bytes<E>(self, key: &[u8]) -> Result<bool, E> {
            Ok(key == b"usage")
        }
    }

    serde_json::Deserializer::from_str(object).deserialize_map(Last).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Option<(u64, u64, u64, Option<f64>)>) {
        let found = Usage::parse(json)
            .map(|usage| (usage.input, usage.cached_input, usage.output, usage.cost_usd));
        assert_eq!(found, expected, "{json}");
        // An escaped key makes `serde_json` parse the object, with the same result.
        let escaped = json.replacen('{', r#"{"\u0061":0,"#, 1).replace(",}", "}");
        let found = Usage::parse(&escaped)
            .map(|usage| (usage.input, usage.cached_input, usage.output, usage.cost_usd));
        assert_eq!(found, expected, "{escaped}");
    }

    #[test]
    fn names_of_every_api_are_recognised() {
        check(
            r#"{"prompt_tokens":7,"completion_tokens":3,"cost_usd":0.5}"#,
            Some((7, 0, 3, Some(0.5))),
        );
        check(r#"{"prompt_tokens":7,"cache_read_input_tokens":4}"#, Some((7, 4, 0, None)));
        check(
            r#"{"input_tokens":7,"input_tokens_details":{"cached_tokens":5},"output_tokens":1}"#,
            Some((7, 5, 1, None)),
        );
        check(
            concat!(
                r#"{"input_tokens":7,"cache_read_input_tokens":5,"#,
                r#""cache_creation_input_tokens":2,"output_tokens":1}"#,
            ),
            Some((14, 5, 1, None)),
        );
        check(r#"{"prompt_eval_count":7,"eval_count":9}"#, Some((7, 0, 9, None)));
        check(r#"{"cost_usd":0}"#, Some((0, 0, 0, Some(0.0))));
    }

    #[test]
    fn invalid_values_are_ignored() {
        check("{}", None);
        check("[]", None);
        check(r#"{"prompt_tokens":"many"}"#, None);
        check(r#"{"input_tokens":-1,"output_tokens":2.0}"#, Some((0, 0, 2, None)));
        check(
            r#"{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":9}}"#,
            Some((1, 1, 0, None)),
        );
        check(r#"{"cost_usd":-3,"eval_count":1}"#, Some((0, 0, 1, None)));
    }

    #[test]
    fn last_usage_counts_and_a_lone_surrogate_is_accepted() {
        let extra =
            r#"{"\ud800":1,"usage":{"prompt_tokens":1},"x":[],"usage":{"prompt_tokens":2}}"#;
        assert_eq!(Usage::parse_within_extra(extra).map(|usage| usage.input), Some(2));
        assert_eq!(Usage::parse_within_extra(r#"{"note":"usage unknown"}"#), None);
    }
}
