//! Environment variables of OpenTelemetry.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::config::Signal;
use crate::config::parse::substitute::Environment;

/// Reader of environment variables that collects warnings.
pub(super) struct Variables<'a> {
    environment: Environment<'a>,
    /// Warnings about ignored variables.
    pub(super) warnings: Vec<String>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(environment: Environment<'a>) -> Self {
        Self { environment, warnings: Vec::new() }
    }

    /// Returns the value of a variable, or `None` if it is unset or empty.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let value = (self.environment)(name)?.into_string().ok()?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// Returns name and value of the variable of a signal, else of the general one.
    pub(super) fn of_signal(&self, signal: Signal, suffix: &str) -> Option<(String, String)> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{suffix}", signal.as_str().to_uppercase());
        let names = [own, format!("OTEL_EXPORTER_OTLP_{suffix}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    /// Parses a duration in milliseconds.
    pub(super) fn milliseconds(&mut self, name: &str) -> Option<Duration> {
        self.count(name).map(|count| Duration::from_millis(count as u64))
    }

    /// Parses a positive integer; warns about any other value.
    pub(super) fn count(&mut self, name: &str) -> Option<usize> {
        let text = self.get(name)?;
        let count = text.parse().ok().filter(|count| *count > 0);
        if count.is_none() {
            self.ignore(name, "must be a whole number of at least 1");
        }
        count
    }

    /// Adds a warning about an ignored variable. It doesn't repeat the value, which may be secret.
    pub(super) fn ignore(&mut self, name: &str, problem: &str) {
        self.warn(format!("the environment variable {name} is ignored: it {problem}"));
    }

    /// Adds a warning once.
    pub(super) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// Parses pairs such as `a=1,b=2%2C3` (<https://opentelemetry.io/docs/specs/otel/resource/sdk/>).
/// An invalid pair is `None`.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> {
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let decoded =
            |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(String::from);
        Some((decoded(key)?, decoded(value)?)).filter(|(key, _)| !key.is_empty())
    })
}
