//! Which events someone wants.

use serde::{Deserialize, Serialize};

use crate::{Event, Field};

/// Conditions on the fields of an event; an event passes when it meets all of them. Without
/// conditions, every event passes.
///
/// In a configuration, a field takes one value or a list of those that will do:
/// `filter = { ok = false, source = ["bot", "scenario"] }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Filter {
    /// The outcome was a success, or was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    /// Who reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<AnyOf>,
    /// Which outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_kind: Option<AnyOf>,
    /// Which problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sig_hash: Option<AnyOf>,
    /// Which cycle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycle_id: Option<AnyOf>,
    /// Which model.
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

    /// Whether every event passes.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this event passes.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let meets = |wanted: &Option<AnyOf>, found: Option<&str>| {
            wanted.as_ref().is_none_or(|any| any.has(found))
        };
        self.ok.is_none_or(|ok| ok == event.ok())
            && meets(&self.source, Some(event.source()))
            && meets(&self.event_kind, Some(event.event_kind()))
            && meets(&self.sig_hash, event.sig_hash())
            && meets(&self.cycle_id, event.cycle_id())
            && meets(&self.staffer_id, event.staffer_id())
    }
}

/// One value, or several of which any will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub enum AnyOf {
    /// Just this one.
    One(String),
    /// Any of these.
    Many(Vec<String>),
}

impl AnyOf {
    fn has(&self, found: Option<&str>) -> bool {
        let Some(found) = found else { return false };
        match self {
            Self::One(wanted) => wanted == found,
            Self::Many(wanted) => wanted.iter().any(|wanted| wanted == found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(filter: &str, expected: bool) {
        let event =
            r#"{"source":"bot","event_kind":"tests_failed","ok":false,"staffer_id":"gpt-5"}"#;
        let filter: Filter = serde_json::from_str(filter).unwrap();
        assert_eq!(filter.matches(&Event::parse(event).unwrap()), expected, "{filter:?}");
    }

    #[test]
    fn a_filter_is_written_as_it_is_read() {
        let text = r#"{"ok":false,"source":["scenario","bot"],"cycle_id":"c"}"#;
        let filter: Filter = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&filter).unwrap(), text);
    }

    #[test]
    fn an_event_passes_that_meets_every_condition() {
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
