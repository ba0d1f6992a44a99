//! OpenTelemetry's environment variables.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::config::Signal;
use crate::config::fill::Environment;

pub(super) struct Variables<'a> {
    environment: Environment<'a>,
    /// Those that can't be, each with what is wrong.
    pub(super) ignored: Vec<String>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(environment: Environment<'a>) -> Self {
        Self { environment, ignored: Vec::new() }
    }

    /// One that is empty is as good as unset.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let value = (self.environment)(name)?.into_string().ok()?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The signal's own, else the general one, with its name.
    pub(super) fn of(&self, signal: Signal, what: &str) -> Option<(String, String)> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.name().to_uppercase());
        let names = [own, format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    pub(super) fn milliseconds(&mut self, name: &str) -> Option<Duration> {
        self.count(name).map(|count| Duration::from_millis(count as u64))
    }

    pub(super) fn count(&mut self, name: &str) -> Option<usize> {
        let text = self.get(name)?;
        let count = text.parse().ok().filter(|count| *count > 0);
        if count.is_none() {
            self.ignore(name, "must be a whole number of at least 1");
        }
        count
    }

    /// The value is not repeated: it may be secret.
    pub(super) fn ignore(&mut self, name: &str, problem: &str) {
        let told = format!("the variable {name} is ignored: it {problem}");
        if !self.ignored.contains(&told) {
            self.ignored.push(told);
        }
    }
}

/// `a=1,b=2%2C3` (<https://opentelemetry.io/docs/specs/otel/resource/sdk/>); `None` for what is no
/// pair.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> {
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let decoded =
            |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(String::from);
        Some((decoded(key)?, decoded(value)?)).filter(|(key, _)| !key.is_empty())
    })
}
