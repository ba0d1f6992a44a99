//! Fields that the events of a source must have.

use std::collections::BTreeMap;
use std::fmt;

use observer_core::{Event, Field};
use serde::de::{Deserialize, Deserializer, EnumAccess, Error, VariantAccess, Visitor};

/// Optional fields that the events of each source must have, beyond those that every event has.
///
/// In a configuration, a table of lists of names: `{ bot = ["cycle_id", "sig_hash"] }`.
///
/// ```
/// use observer_core::Event;
/// use observer_pipeline::Requirements;
///
/// let require = Requirements::default();
/// let line = r#"{"source":"bot","event_kind":"ok","ok":true,"cycle_id":"c"}"#;
/// let event = Event::parse(line).unwrap();
/// assert_eq!(
///     require.check(&event).unwrap_err().to_string(),
///     "missing `sig_hash`, which is required of source \"bot\""
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements(BTreeMap<String, Vec<Field>>);

impl Default for Requirements {
    /// Requires `cycle_id` and `sig_hash` of source `bot`.
    fn default() -> Self {
        Self::none().with("bot", [Field::CycleId, Field::SigHash])
    }
}

impl Requirements {
    /// Returns requirements that every event meets.
    #[must_use]
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Sets the fields that events of `source` must have, in place of those set before.
    #[must_use]
    pub fn with(
        mut self,
        source: impl Into<String>,
        fields: impl IntoIterator<Item = Field>,
    ) -> Self {
        self.0.insert(source.into(), fields.into_iter().collect());
        self
    }

    /// Checks that an event has the fields that its source must have.
    ///
    /// # Errors
    /// Returns the missing fields.
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

/// Error of an event without fields that its source must have.
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
    fn each_optional_field_can_be_required_by_its_name() {
        let line = r#"{"source":"job","event_kind":"ok","ok":true,"cycle_id":"c","sig_hash":"s",
            "staffer_id":"w","turns":1,"duration_ms":2,"extra":{},"id":"i",
            "timestamp":"2026-01-01T00:00:00Z","usage":{"input_tokens":1},
            "cost_usd":0.5,"attempt":2,"replaces":"r","labels":{"branch":"main"},
            "traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;
        let whole: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let names: Vec<_> = whole
            .keys()
            .filter(|name| !Field::REQUIRED.iter().any(|field| field.as_str() == *name))
            .collect();
        assert_eq!(names.len(), Field::OPTIONAL.len());
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
    fn mandatory_field_is_rejected_in_require() {
        for field in Field::REQUIRED {
            let table = serde_json::json!({ "job": [field.as_str()] });
            let error = serde_json::from_value::<Requirements>(table).unwrap_err().to_string();
            let expected = format!("unknown variant `{field}`, expected one of `cycle_id`, ");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn every_missing_field_is_named() {
        let event = Event::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#).unwrap();
        let missing = Requirements::default().check(&event).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "missing `cycle_id` and `sig_hash`, which are required of source \"bot\""
        );
    }
}
