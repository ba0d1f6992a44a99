//! Selection of events by their fields.

use serde::{Deserialize, Serialize};

use crate::{Event, Field};

/// Conditions on the fields of an event. An event matches if it meets all of them; without
/// conditions, every event matches. A condition is never met by an event without the field; a phase
/// has no `ok`.
///
/// In a configuration, a condition is one value or a list of accepted values:
/// `filter = { ok = false, source = ["bot", "scenario"] }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
}

impl Filter {
    /// The fields that a filter can have conditions on.
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
    }
}

/// Accepted values of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub enum AnyOf {
    /// One value.
    One(String),
    /// Any of several values; with an empty list, no event matches.
    Many(Vec<String>),
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
        let event =
            r#"{"source":"bot","event_kind":"tests_failed","ok":false,"staffer_id":"gpt-5"}"#;
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
        check(r#"{"source":[]}"#, false);
    }
}
