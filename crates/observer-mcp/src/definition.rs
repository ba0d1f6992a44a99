//! Definitions of tools: their descriptions for models, and the parameters that they take.
//!
//! One table decides which arguments a call may have (`arguments`), and is the schema that clients
//! see. Clients send all definitions to the model with each conversation, so these are short.

use std::sync::Arc;

use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

/// Definition of a tool.
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) parameters: &'static [Parameter],
}

/// Parameter of a tool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Description for models; empty if the name says it all.
    description: &'static str,
}

/// Kind of the value of a parameter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Text.
    Text,
    /// Text that must be given.
    Required,
    /// True or false.
    Flag,
    /// Whole number within a range.
    Count { min: usize, max: usize },
    /// One of several names.
    OneOf(&'static [&'static str]),
    /// Object of strings.
    Labels,
}

/// Limit of the characters of an answer. The least one has room for a row of quoted names.
pub(crate) const MAX_CHARS: Parameter =
    Parameter::new("max_chars", Kind::Count { min: 500, max: 6_000 }, "For a longer answer");
/// Source whose attempts alone are considered.
pub(crate) const SOURCE: Parameter = Parameter::new("source", Kind::Text, "");
/// Model whose attempts alone are considered.
pub(crate) const MODEL: Parameter = Parameter::new("model", Kind::Text, "");
/// End of a window of time.
pub(crate) const UNTIL: Parameter = Parameter::new("until", Kind::Text, "");
/// Cursor of the next page.
pub(crate) const CURSOR: Parameter = Parameter::new("cursor", Kind::Text, "From the page before");

impl Parameter {
    pub(crate) const fn new(name: &'static str, kind: Kind, description: &'static str) -> Self {
        Self { name, kind, description }
    }

    fn schema(&self) -> Value {
        let mut schema = match self.kind {
            Kind::Text | Kind::Required => json!({"type": "string"}),
            Kind::Flag => json!({"type": "boolean"}),
            Kind::Count { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            Kind::OneOf(names) => json!({"type": "string", "enum": names}),
            Kind::Labels => {
                json!({"type": "object", "additionalProperties": {"type": "string"}})
            }
        };
        if !self.description.is_empty() {
            schema["description"] = self.description.into();
        }
        schema
    }
}

impl Definition {
    /// Returns the tool as clients see it.
    pub(crate) fn tool(&self) -> Tool {
        let properties: Map<_, _> = self
            .parameters
            .iter()
            .map(|parameter| (parameter.name.to_owned(), parameter.schema()))
            .collect();
        let required: Vec<_> = self
            .parameters
            .iter()
            .filter(|parameter| matches!(parameter.kind, Kind::Required))
            .map(|parameter| parameter.name)
            .collect();
        let mut schema = Map::new();
        schema.insert("type".into(), "object".into());
        schema.insert("properties".into(), properties.into());
        if !required.is_empty() {
            schema.insert("required".into(), required.into());
        }
        schema.insert("additionalProperties".into(), false.into());
        Tool::new(self.name, self.description, Arc::new(schema))
            .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
    }
}
