//! Selection of events by their fields.

use std::collections::BTreeMap;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use crate::{Event, Field};

/// Conditions on the fields of an event. An event matches if it meets all of them; without
/// conditions, every event matches. A condition is never met by an event without the field; a phase
/// has no `ok`.
///
/// In a configuration, a condition is one value or a list of accepted values, or a range of numbers:
///
/// ```toml
/// filter = { ok = false, source = ["bot", "scenario"] }
/// filter = { labels = { branch = "main" }, cost_usd = { min = 1.0 } }
/// filter = { duration_ms = { min = 60_000 }, not = { source = "autotune" } }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Filter {
    /// Required value of `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    /// Accepted values of `source`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<AnyOf>,
    /// Accepted values of `event_kind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_kind: Option<AnyOf>,
    /// Accepted values of `sig_hash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sig_hash: Option<AnyOf>,
    /// Accepted values of `cycle_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycle_id: Option<AnyOf>,
    /// Accepted values of `staffer_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staffer_id: Option<AnyOf>,
    /// Accepted values of labels, by name. An event matches if it meets all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, AnyOf>,
    /// Accepted range of the cost in US dollars that the producer reported, wherever it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Range>,
    /// Accepted range of `duration_ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<Range>,
    /// Conditions that an event must not meet all of; at least one.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some_condition")]
    pub not: Option<Box<Filter>>,
}

impl Filter {
    /// The fields whose conditions are a value or a list of values.
    pub const FIELDS: [Field; 6] = [
        Field::Ok,
        Field::Source,
        Field::EventKind,
        Field::SigHash,
        Field::CycleId,
        Field::StafferId,
    ];

    /// Returns whether the filter has no conditions.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether an event meets all conditions.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let meets = |accepted: &Option<AnyOf>, value: Option<&str>| {
            accepted.as_ref().is_none_or(|accepted| accepted.contains(value))
        };
        self.ok.is_none_or(|ok| event.ok() == Some(ok))
            && meets(&self.source, Some(event.source()))
            && meets(&self.event_kind, Some(event.event_kind()))
            && meets(&self.sig_hash, event.sig_hash())
            && meets(&self.cycle_id, event.cycle_id())
            && meets(&self.staffer_id, event.staffer_id())
            && self.labels.iter().all(|(name, accepted)| {
                let label = event.labels().find(|(label, _)| label == name);
                accepted.contains(label.map(|(_, value)| value))
            })
            && self.duration_ms.is_none_or(|range| range.contains(event.duration_ms()))
            && self
                .cost_usd
                .is_none_or(|range| range.contains(event.usage().and_then(|usage| usage.cost_usd)))
            && self.not.as_ref().is_none_or(|not| !not.matches(event))
    }
}

/// Reads a filter that has conditions: without one it matches every event, and its opposite none.
fn some_condition<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<Filter>>, D::Error> {
    let filter = Box::<Filter>::deserialize(deserializer)?;
    if filter.matches_all() {
        return Err(D::Error::custom("expected at least one condition, since none matches events"));
    }
    Ok(Some(filter))
}

/// Range of accepted numbers, both ends included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawRange")]
#[non_exhaustive]
pub struct Range {
    /// Smallest accepted number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest accepted number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// Range as written, whose ends may be in the wrong order.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawRange {
    min: Option<f64>,
    max: Option<f64>,
}

impl TryFrom<RawRange> for Range {
    type Error = String;

    fn try_from(RawRange { min, max }: RawRange) -> Result<Self, String> {
        match (min, max) {
            (Some(min), Some(max)) if min > max => {
                Err(format!("no number is from `min` {min} to `max` {max}; exchange the two"))
            }
            _ => Ok(Self { min, max }),
        }
    }
}

impl Range {
    fn contains(self, value: Option<f64>) -> bool {
        let Some(value) = value else { return false };
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}

/// Accepted values of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of at least one string")]
pub enum AnyOf {
    /// One value.
    One(String),
    /// Any of several values. In a configuration there is at least one; with an empty list, no
    /// event matches.
    Many(#[serde(deserialize_with = "at_least_one")] Vec<String>),
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let values = Vec::<String>::deserialize(deserializer)?;
    if values.is_empty() { Err(D::Error::custom("the list is empty")) } else { Ok(values) }
}

impl AnyOf {
    fn contains(&self, value: Option<&str>) -> bool {
        let Some(value) = value else { return false };
        match self {
            Self::One(accepted) => accepted == value,
            Self::Many(accepted) => accepted.iter().any(|accepted| accepted == value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_that_matches_no_event_is_rejected() {
        for (filter, expected) in [
            (r#"{"source":[]}"#, "expected a string or a list of at least one string"),
            (r#"{"labels":{"branch":[]}}"#, "expected a string or a list of at least one string"),
            (r#"{"not":{}}"#, "expected at least one condition"),
            (r#"{"not":{"not":{}}}"#, "expected at least one condition"),
            (r#"{"cost_usd":{"min":2,"max":1}}"#, "no number is from `min` 2 to `max` 1"),
        ] {
            let error = serde_json::from_str::<Filter>(filter).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{filter}: {error}");
        }
        for filter in
            [r#"{"source":["a"]}"#, r#"{"not":{"ok":true}}"#, r#"{"cost_usd":{"min":1,"max":1}}"#]
        {
            serde_json::from_str::<Filter>(filter).unwrap();
        }
    }

    #[test]
    fn fields_lists_every_condition() {
        for field in Field::ALL {
            let value = if field == Field::Ok { "true" } else { "\"x\"" };
            let filter = format!(r#"{{"{field}":{value}}}"#);
            let is_condition = serde_json::from_str::<Filter>(&filter).is_ok();
            assert_eq!(is_condition, Filter::FIELDS.contains(&field), "{field}");
        }
    }

    #[track_caller]
    fn check(filter: &str, expected: bool) {
        let event = r#"{"source":"bot","event_kind":"tests_failed","ok":false,"staffer_id":"gpt-5",
            "duration_ms":1500,"labels":{"branch":"main"},"extra":{"totalCostUSD":0.25}}"#;
        let filter: Filter = serde_json::from_str(filter).unwrap();
        assert_eq!(filter.matches(&Event::parse(event).unwrap()), expected, "{filter:?}");
    }

    #[test]
    fn filter_serializes_to_the_text_it_was_parsed_from() {
        let text = r#"{"ok":false,"source":["scenario","bot"],"cycle_id":"c"}"#;
        let filter: Filter = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&filter).unwrap(), text);
    }

    #[test]
    fn event_matches_if_it_meets_every_condition() {
        check("{}", true);
        check(r#"{"ok":false}"#, true);
        check(r#"{"ok":true}"#, false);
        check(r#"{"ok":false,"source":["scenario","bot"]}"#, true);
        check(r#"{"ok":false,"source":"scenario"}"#, false);
        check(r#"{"staffer_id":"gpt-5","event_kind":"tests_failed"}"#, true);
        check(r#"{"cycle_id":"c"}"#, false);
    }

    #[test]
    fn label_matches_by_name_and_value() {
        check(r#"{"labels":{"branch":"main"}}"#, true);
        check(r#"{"labels":{"branch":["dev","main"]}}"#, true);
        check(r#"{"labels":{"branch":"dev"}}"#, false);
        check(r#"{"labels":{"host":"main"}}"#, false);
        check(r#"{"labels":{"branch":"main","host":"a"}}"#, false);
        check(r#"{"labels":{}}"#, true);
    }

    #[test]
    fn range_includes_its_ends_and_no_event_without_the_number() {
        for (field, value) in [("duration_ms", 1500.0), ("cost_usd", 0.25)] {
            for (range, expected) in [
                (format!(r#"{{"min":{value}}}"#), true),
                (format!(r#"{{"max":{value}}}"#), true),
                (format!(r#"{{"min":{},"max":{}}}"#, value - 0.1, value + 0.1), true),
                (format!(r#"{{"min":{}}}"#, value + 0.1), false),
                (format!(r#"{{"max":{}}}"#, value - 0.1), false),
                ("{}".to_owned(), true),
            ] {
                check(&format!(r#"{{"{field}":{range}}}"#), expected);
            }
            let bare = Event::parse(r#"{"source":"s","event_kind":"k","ok":true}"#).unwrap();
            let filter: Filter =
                serde_json::from_str(&format!(r#"{{"{field}":{{"max":9}}}}"#)).unwrap();
            assert!(!filter.matches(&bare), "{field}");
        }
    }

    #[test]
    fn not_excludes_events_that_meet_all_its_conditions() {
        check(r#"{"not":{"source":"bot"}}"#, false);
        check(r#"{"not":{"source":"ci"}}"#, true);
        check(r#"{"not":{"source":"bot","ok":true}}"#, true);
        check(r#"{"ok":false,"not":{"labels":{"branch":"main"}}}"#, false);
        check(r#"{"not":{"not":{"source":"bot"}}}"#, true);
    }

    #[test]
    fn unknown_condition_is_an_error_at_every_level() {
        for filter in [
            r#"{"sources":"bot"}"#,
            r#"{"not":{"sources":"bot"}}"#,
            r#"{"cost_usd":{"least":1}}"#,
            r#"{"cost_usd":1}"#,
            r#"{"labels":{"branch":7}}"#,
        ] {
            assert!(serde_json::from_str::<Filter>(filter).is_err(), "{filter}");
        }
    }

    #[test]
    fn every_kind_of_condition_survives_serialization() {
        let text = concat!(
            r#"{"ok":false,"labels":{"branch":"main"},"cost_usd":{"min":1.0},"#,
            r#""duration_ms":{"min":1.0,"max":2.0},"not":{"source":"bot"}}"#
        );
        let filter: Filter = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&filter).unwrap(), text);
    }
}
