//! Tables `[sinks.NAME]` before their types are resolved.

use std::fmt;

use super::parse::substitute::Substituted;

/// Table of one sink: `type`, the keys common to every sink, and the keys of its type.
///
/// Substituted values may be secrets. Therefore `Debug` shows only the keys, and errors don't
/// repeat such values.
#[derive(Clone, PartialEq)]
pub struct SinkTable {
    pub(crate) table: toml::Table,
    pub(crate) substituted: Substituted,
}

impl From<toml::Table> for SinkTable {
    fn from(table: toml::Table) -> Self {
        Self { table, substituted: Substituted::default() }
    }
}

impl fmt::Debug for SinkTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.table.keys()).finish()
    }
}

/// Returns the problem of a sink name, if any. A name becomes part of paths, metric labels and
/// URLs.
pub(crate) fn name_problem(name: &str) -> Option<&'static str> {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match name.len() {
        0 => Some("the name of a sink must not be empty"),
        65.. => Some("the name of a sink must have at most 64 characters"),
        _ if !is_plain => {
            Some("the name of a sink must consist of the letters A-Z and a-z, digits, `_` and `-`")
        }
        _ => None,
    }
}
