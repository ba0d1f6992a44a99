//! Which fields the events of a source must have.

use std::collections::BTreeMap;
use std::fmt;

use observer_core::Event;
use serde::Deserialize;

/// An optional field of an event that a source can be required to fill in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the event's own")]
pub enum Field {
    CycleId,
    SigHash,
    StafferId,
    Turns,
    DurationMs,
    Extra,
    Id,
    Timestamp,
    Traceparent,
    Usage,
}

impl Field {
    /// All fields that can be required.
    pub const ALL: [Self; 10] = [
        Self::CycleId,
        Self::SigHash,
        Self::StafferId,
        Self::Turns,
        Self::DurationMs,
        Self::Extra,
        Self::Id,
        Self::Timestamp,
        Self::Traceparent,
        Self::Usage,
    ];

    /// Returns the name that the field has in an event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CycleId => "cycle_id",
            Self::SigHash => "sig_hash",
            Self::StafferId => "staffer_id",
            Self::Turns => "turns",
            Self::DurationMs => "duration_ms",
            Self::Extra => "extra",
            Self::Id => "id",
            Self::Timestamp => "timestamp",
            Self::Traceparent => "traceparent",
            Self::Usage => "usage",
        }
    }

    fn is_in(self, event: &Event) -> bool {
        match self {
            Self::CycleId => event.cycle_id().is_some(),
            Self::SigHash => event.sig_hash().is_some(),
            Self::StafferId => event.staffer_id().is_some(),
            Self::Turns => event.turns().is_some(),
            Self::DurationMs => event.duration_ms().is_some(),
            Self::Extra => event.extra().is_some(),
            Self::Id => event.id().is_some(),
            Self::Timestamp => event.timestamp().is_some(),
            Self::Traceparent => event.traceparent().is_some(),
            Self::Usage => event.usage().is_some(),
        }
    }
}

/// The fields that each source must fill in, beyond the three that every event has.
///
/// ```
/// use observer_core::Event;
/// use observer_pipeline::Requirements;
///
/// let require = Requirements::default();
/// let event = Event::parse(r#"{"source":"bot","event_kind":"ok","ok":true,"cycle_id":"c"}"#).unwrap();
/// assert_eq!(
///     require.check(&event).unwrap_err().to_string(),
///     "missing `sig_hash`, which is required of source \"bot\""
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Requirements(BTreeMap<String, Vec<Field>>);

impl Default for Requirements {
    /// Of `bot`: `cycle_id` and `sig_hash`.
    fn default() -> Self {
        Self::none().with("bot", [Field::CycleId, Field::SigHash])
    }
}

impl Requirements {
    /// Nothing beyond what every event has.
    #[must_use]
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// These fields of this source.
    #[must_use]
    pub fn with(
        mut self,
        source: impl Into<String>,
        fields: impl IntoIterator<Item = Field>,
    ) -> Self {
        self.0.insert(source.into(), fields.into_iter().collect());
        self
    }

    /// Whether an event has what its source must have.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self, event: &Event) -> Result<(), MissingFields> {
        let Some(required) = self.0.get(event.source()) else { return Ok(()) };
        let fields: Vec<_> = required.iter().copied().filter(|field| !field.is_in(event)).collect();
        if fields.is_empty() {
            Ok(())
        } else {
            Err(MissingFields { source: event.source().to_owned(), fields })
        }
    }
}

/// Fields that a source has to fill in and did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingFields {
    /// Of which source.
    pub source: String,
    /// At least one.
    pub fields: Vec<Field>,
}

impl fmt::Display for MissingFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            self.fields.iter().map(|field| format!("`{}`", field.as_str())).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        write!(
            f,
            "missing {}, which {verb} required of source {:?}",
            names.join(" and "),
            self.source
        )
    }
}

impl std::error::Error for MissingFields {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_known_by_the_name_it_has_in_an_event() {
        let line = r#"{"source":"job","event_kind":"ok","ok":true,"cycle_id":"c","sig_hash":"s","staffer_id":"w","turns":1,
            "duration_ms":2,"extra":{},"id":"i","timestamp":"2026-01-01T00:00:00Z","usage":{"input_tokens":1},
            "traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;
        let whole: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let names: Vec<_> = whole
            .keys()
            .filter(|name| !["source", "event_kind", "ok"].contains(&name.as_str()))
            .collect();
        assert_eq!(names.len(), 10);
        for name in names {
            let field: Field = serde_json::from_value(name.as_str().into()).unwrap();
            assert_eq!(field.as_str(), name);
            let require = Requirements::none().with("job", [field]);
            let mut event = whole.clone();
            require.check(&Event::parse(serde_json::to_vec(&event).unwrap()).unwrap()).unwrap();
            event.remove(name);
            let missing = require
                .check(&Event::parse(serde_json::to_vec(&event).unwrap()).unwrap())
                .unwrap_err();
            assert_eq!(
                missing.to_string(),
                format!("missing `{name}`, which is required of source \"job\"")
            );
        }
    }

    #[test]
    fn all_that_is_missing_is_named() {
        let event = Event::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#).unwrap();
        let missing = Requirements::default().check(&event).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "missing `cycle_id` and `sig_hash`, which are required of source \"bot\""
        );
    }
}
