//! Required fields per source.

use std::collections::BTreeMap;
use std::fmt;

use observer_core::{Event, Field};
use serde::de::{Deserialize, Deserializer, EnumAccess, Error, VariantAccess, Visitor};

/// Optional field of an event that can be required of a source.
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

/// Fields that are required of each source, beyond the three that every event has.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements(BTreeMap<String, Vec<Field>>);

impl Default for Requirements {
    /// Returns the default requirements: `cycle_id` and `sig_hash` of the source `bot`.
    fn default() -> Self {
        Self::none().with("bot", [Field::CycleId, Field::SigHash])
    }
}

impl Requirements {
    /// Returns requirements without any field.
    #[must_use]
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Requires fields of a source, in place of those that were required before.
    #[must_use]
    pub fn with(
        mut self,
        source: impl Into<String>,
        fields: impl IntoIterator<Item = Field>,
    ) -> Self {
        self.0.insert(source.into(), fields.into_iter().collect());
        self
    }

    /// Checks that an event has the required fields of its source.
    ///
    /// # Errors
    /// With all missing fields.
    pub fn check(&self, event: &Event) -> Result<(), MissingFields> {
        let Some(required) = self.0.get(event.source()) else { return Ok(()) };
        let fields: Vec<_> = required.iter().copied().filter(|field| !event.has(*field)).collect();
        if fields.is_empty() {
            Ok(())
        } else {
            Err(MissingFields { source: event.source().to_owned(), fields })
        }
    }
}

/// Error type for events without fields that are required of their source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingFields {
    /// Source of the event.
    pub source: String,
    /// Missing fields, at least one.
    pub fields: Vec<Field>,
}

impl fmt::Display for MissingFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.fields.iter().map(|field| format!("`{field}`")).collect();
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

impl From<Requirements> for BTreeMap<String, Vec<Field>> {
    fn from(requirements: Requirements) -> Self {
        requirements.0
    }
}

impl<'de> Deserialize<'de> for Requirements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = BTreeMap::<String, Vec<OptionalField>>::deserialize(deserializer)?;
        let fields = |names: Vec<OptionalField>| names.into_iter().map(|name| name.0).collect();
        Ok(Self(table.into_iter().map(|(source, names)| (source, fields(names))).collect()))
    }
}

/// Field of a configuration, which must be optional: requiring one that every event has is an
/// error.
struct OptionalField(Field);

impl OptionalField {
    const NAMES: [&str; Field::OPTIONAL.len()] = {
        let mut names = [""; Field::OPTIONAL.len()];
        let mut index = 0;
        while index < names.len() {
            names[index] = Field::OPTIONAL[index].as_str();
            index += 1;
        }
        names
    };
}

impl<'de> Deserialize<'de> for OptionalField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl<'de> Visitor<'de> for Name {
            type Value = OptionalField;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an optional field")
            }

            fn visit_enum<A: EnumAccess<'de>>(self, name: A) -> Result<OptionalField, A::Error> {
                let (name, content) = name.variant::<String>()?;
                content.unit_variant()?;
                Field::OPTIONAL
                    .into_iter()
                    .find(|field| field.as_str() == name)
                    .map(OptionalField)
                    .ok_or_else(|| Error::unknown_variant(&name, &OptionalField::NAMES))
            }
        }

        deserializer.deserialize_enum("OptionalField", &Self::NAMES, Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_name_in_requirements_is_the_one_in_events() {
        let line = r#"{"source":"job","event_kind":"ok","ok":true,"cycle_id":"c","sig_hash":"s","staffer_id":"w","turns":1,
            "duration_ms":2,"extra":{},"id":"i","timestamp":"2026-01-01T00:00:00Z","usage":{"input_tokens":1},
            "traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;
        let whole: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let names: Vec<_> = whole
            .keys()
            .filter(|name| !Field::REQUIRED.iter().any(|field| field.as_str() == *name))
            .collect();
        assert_eq!(names.len(), Field::ALL.len());
        for name in names {
            let require: Requirements =
                serde_json::from_value(serde_json::json!({ "job": [name] })).unwrap();
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
    fn error_names_all_missing_fields() {
        let event = Event::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#).unwrap();
        let missing = Requirements::default().check(&event).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "missing `cycle_id` and `sig_hash`, which are required of source \"bot\""
        );
    }
}
