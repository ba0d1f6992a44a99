//! Bodies that a template makes: messages for chats, alerts, and other APIs.
//!
//! | module | content |
//! |---|---|
//! | `context` | the values that a template sees |
//! | `summary` | outcomes in words |
//! | `presets` | templates for common destinations |
//!
//! Templates are [MiniJinja](https://docs.rs/minijinja). With a `Content-Type` of JSON, each printed
//! value is JSON: `{{ event.source }}` becomes `"bot"` with its quotes, so no event can change the
//! structure of the body. A value that does not exist is an error rather than an empty text.

mod context;
mod presets;
mod summary;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value};
use observer_core::Envelope;
use observer_http_client::Secret;
use serde::de::IgnoredAny;

pub(crate) use self::presets::{DISCORD, PAGERDUTY, SLACK, TEAMS};

/// Name of the template in its environment.
const NAME: &str = "body";

/// Compiled template of a body.
pub(crate) struct BodyTemplate {
    environment: Environment<'static>,
    vars: Value,
    is_json: bool,
}

impl BodyTemplate {
    /// Compiles a template, and renders it with sample events. `vars` are values of the
    /// configuration that the template can print.
    ///
    /// # Errors
    /// If the template is invalid, uses a value that not every event has, or does not make JSON
    /// although the content type requires it. The error is worded to follow the key, and names the
    /// line.
    pub(crate) fn parse(
        source: &str,
        vars: &BTreeMap<String, Secret>,
        is_json: bool,
    ) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let escape = if is_json { AutoEscape::Json } else { AutoEscape::None };
        environment.set_auto_escape_callback(move |_| escape.clone());
        environment.add_filter("truncate", truncate);
        environment.add_filter("slack_escape", slack_escape);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| format!("is not a template: {}", describe(&error)))?;
        let vars = vars.iter().map(|(name, value)| (name.as_str(), Value::from(value.reveal())));
        let template = Self { environment, vars: Value::from_pairs(vars), is_json };
        for sample in context::samples() {
            template
                .render(&sample.iter().collect::<Vec<_>>())
                .map_err(|problem| format!("fails with a sample event: {problem}"))?;
        }
        Ok(template)
    }

    /// Renders the body of a request.
    ///
    /// # Errors
    /// If a value does not exist or the result is not JSON although it has to be; the error names
    /// the line.
    pub(crate) fn render(&self, events: &[&Arc<Envelope>]) -> Result<Vec<u8>, String> {
        let template = self.environment.get_template(NAME).map_err(|error| describe(&error))?;
        let context = context::context(events, &self.vars);
        let body = template.render(context).map_err(|error| describe(&error))?;
        if self.is_json {
            serde_json::from_str::<IgnoredAny>(&body)
                .map_err(|error| format!("the body is not JSON: {error}"))?;
        }
        Ok(body.into_bytes())
    }
}

impl fmt::Debug for BodyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyTemplate").field("is_json", &self.is_json).finish_non_exhaustive()
    }
}

/// Describes an error of a template in one line, with the line of the template.
fn describe(error: &Error) -> String {
    let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{}{line}{detail}", error.kind())
}

/// Returns at most `max` characters of a text, the last of which is an ellipsis if any are missing.
/// Other values are converted to text.
fn truncate(value: &Value, max: usize) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.char_indices().nth(max) {
        None => text,
        Some(_) => text.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Escapes the characters with which Slack's markup begins links and mentions.
fn slack_escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
