//! Deserialization of a table that reports every error at once.

use observer_core::suggest;
use serde::de::DeserializeOwned;

use super::key_path::KeyPath;
use super::substitute::Substituted;
use super::value::{self, ValueError};
use crate::config::Problem;

/// Reason for which a value is not shown.
const SUBSTITUTED: &str = "hidden, since it was substituted";
const SECRET: &str = "hidden, since the key may hold a secret";

/// Context for deserializing one table.
pub(crate) struct Reader<'a> {
    /// Path of the table in the file.
    pub(crate) at: KeyPath,
    /// Substituted values of the table, relative to it.
    pub(crate) substituted: &'a Substituted,
    /// Further valid keys of the table, which are read elsewhere.
    pub(crate) also_known: &'a [&'a str],
}

impl Reader<'_> {
    /// Deserializes the table as a `T`.
    ///
    /// serde stops at the first error. This function removes the faulty value and deserializes the
    /// rest, until no further error occurs.
    ///
    /// # Errors
    /// If a key or value is invalid; the error holds the problems of all keys.
    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        mut table: toml::Table,
    ) -> Result<T, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut removed: Vec<KeyPath> = Vec::new();
        loop {
            let error = match serde_path_to_error::deserialize(value::table(&table)) {
                Ok(read) if problems.is_empty() => return Ok(read),
                Ok(_) => return Err(problems),
                Err(error) => error,
            };
            let mut path = KeyPath::from(error.path());
            let error = error.into_inner();
            match &error {
                ValueError::MissingKey { key }
                    if removed.iter().any(|removed| removed.overlaps(&path.key(key))) =>
                {
                    return Err(problems);
                }
                // Inside an enum, the path ends at the parent of the key.
                ValueError::UnknownKey { key, .. } if path.last_key() != Some(key) => {
                    path = path.key(key);
                }
                _ => {}
            }
            problems.push(Problem::new(self.at.join(&path), self.describe(error, &path, &table)));
            if !path.remove_from(&mut table) {
                return Err(problems);
            }
            removed.push(path);
        }
    }

    /// Returns the message about the value at `path`, or one without the value if that may be a
    /// secret.
    pub(crate) fn hide_secret(&self, path: &KeyPath, message: String) -> String {
        match self.hidden(path) {
            Some(reason) => format!("invalid value ({reason})"),
            None => message,
        }
    }

    /// Returns the message about the value at `path` of the table, or one without the value if that
    /// may be a secret. A message that doesn't quote a literal value is kept.
    pub(crate) fn hide_quoted(
        &self,
        path: &KeyPath,
        message: String,
        table: &toml::Table,
    ) -> String {
        let is_quoted = path.value_in(table).is_none_or(|value| quotes(&message, value));
        if self.substituted.touches(path) || is_quoted {
            self.hide_secret(path, message)
        } else {
            message
        }
    }

    /// Returns the reason for which the value at `path` is not shown, if there is one.
    fn hidden(&self, path: &KeyPath) -> Option<&'static str> {
        if self.substituted.touches(path) {
            return Some(SUBSTITUTED);
        }
        self.at.join(path).may_hold_secret().then_some(SECRET)
    }

    fn describe(&self, error: ValueError, path: &KeyPath, table: &toml::Table) -> String {
        match error {
            ValueError::UnknownKey { key, known } => {
                let is_top_level = path == &KeyPath::of([key.as_str()]);
                let also_known = if is_top_level { self.also_known } else { &[] };
                let known: Vec<&str> = known.iter().chain(also_known).copied().collect();
                format!("unknown key; {}", suggest::hint(&key, &known, "known keys"))
            }
            ValueError::MissingKey { key } => format!("the key `{key}` is missing"),
            ValueError::UnknownName { name, known } => {
                let hint = suggest::hint(&name, known, "known names");
                self.hide_secret(path, format!("unknown name {name:?}; {hint}"))
            }
            ValueError::Mismatch { found, expected } => match self.hidden(path) {
                Some(reason) => format!("expected {expected} (the value is {reason})"),
                None => format!("expected {expected}, found {found}"),
            },
            ValueError::Other(message) => self.hide_quoted(path, message, table),
        }
    }
}

/// Returns whether the message contains a string of the value.
fn quotes(message: &str, value: &toml::Value) -> bool {
    match value {
        toml::Value::String(text) => !text.is_empty() && message.contains(text.as_str()),
        toml::Value::Array(values) => values.iter().any(|value| quotes(message, value)),
        toml::Value::Table(values) => values.values().any(|value| quotes(message, value)),
        _ => false,
    }
}
