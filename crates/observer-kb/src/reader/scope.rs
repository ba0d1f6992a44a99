//! Sources that count in a query.

use observer_core::query::Scope;
use rusqlite::Connection;

use crate::error::KbError;
use crate::schema::dictionary::find;

/// Sources that count in a query, as numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sources {
    All,
    Some(Vec<i64>),
}

impl Sources {
    /// Returns what both a scope and a parameter allow.
    pub(super) fn of(
        conn: &Connection,
        scope: &Scope,
        source: Option<&str>,
    ) -> Result<Self, KbError> {
        let names: Vec<&str> = match (source, &scope.sources) {
            (Some(source), _) if scope.allows(source) => vec![source],
            (Some(_), _) => Vec::new(),
            (None, Some(sources)) => sources.iter().map(String::as_str).collect(),
            (None, None) => return Ok(Self::All),
        };
        let found = names.into_iter().map(|name| find(conn, "source", name));
        Ok(Self::Some(found.filter_map(Result::transpose).collect::<Result<_, _>>()?))
    }

    pub(super) fn allow(&self, source: i64) -> bool {
        match self {
            Self::All => true,
            Self::Some(sources) => sources.contains(&source),
        }
    }

    pub(super) fn is_none(&self) -> bool {
        *self == Self::Some(Vec::new())
    }

    pub(super) fn list(&self) -> Option<Vec<i64>> {
        match self {
            Self::All => None,
            Self::Some(sources) => Some(sources.clone()),
        }
    }
}
