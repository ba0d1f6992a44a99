//! The tables of sinks, before anyone knows their types.

use std::fmt;

use super::fill::Filled;

/// One sink's table: its `type`, the keys that every sink has, and its own.
///
/// What was filled in from the environment may be a secret. So its `Debug` shows the keys alone,
/// and errors about such values don't repeat them.
#[derive(Clone, PartialEq)]
pub struct SinkTable {
    pub(crate) table: toml::Table,
    pub(crate) filled: Filled,
}

impl From<toml::Table> for SinkTable {
    fn from(table: toml::Table) -> Self {
        Self { table, filled: Filled::default() }
    }
}

impl fmt::Debug for SinkTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.table.keys()).finish()
    }
}

/// What is wrong with a sink's name, if anything is. It becomes a folder, a metric label and a part
/// of URLs.
pub(crate) fn name_problem(name: &str) -> Option<&'static str> {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match name.len() {
        0 => Some("a sink's name must not be empty"),
        65.. => Some("a sink's name must not be longer than 64 characters"),
        _ if !is_plain => {
            Some("a sink's name is made of the letters A to Z and a to z, digits, `_` and `-`")
        }
        _ => None,
    }
}
