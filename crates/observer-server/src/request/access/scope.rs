//! Scopes of tokens and requests.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Kind of requests that a token permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Sending events.
    Ingest,
    /// Reading events, metrics, and the status of sinks.
    Read,
    /// Sending envelopes whose ids are adopted, as another observer does.
    Relay,
    /// Changing the state of the observer. Includes [`Read`](Self::Read).
    Admin,
}

/// Set of scopes. A set with `admin` has `read`, too.
///
/// ```
/// use observer_server::{Scope, Scopes};
///
/// let scopes = Scopes::from_iter([Scope::Ingest, Scope::Read]);
/// assert!(scopes.contains(Scope::Read) && !scopes.contains(Scope::Admin));
/// assert_eq!(scopes.to_string(), "`ingest` and `read`");
/// assert!(Scopes::from_iter([Scope::Admin]).contains(Scope::Read));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Read, Self::Relay, Self::Admin];

    /// Returns the scope as configurations and responses spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Relay => "relay",
            Self::Admin => "admin",
        }
    }
}

impl Scopes {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// The set of all scopes.
    pub const ALL: Self = Self(0b1111);
    /// The set of all scopes except for `admin`.
    pub const ALL_BUT_ADMIN: Self = Self(0b0111);

    /// Returns whether the set has the scope.
    #[must_use]
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & bit(scope) != 0
    }

    /// Returns the scopes of both sets.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |all, scope| match scope {
            Scope::Admin => all | bit(Scope::Admin) | bit(Scope::Read),
            scope => all | bit(scope),
        }))
    }
}

fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Scope::ALL
            .into_iter()
            .filter(|scope| self.contains(*scope))
            .map(|scope| format!("`{}`", scope.as_str()))
            .collect();
        match names.split_last() {
            None => f.write_str("nothing"),
            Some((last, [])) => f.write_str(last),
            Some((last, rest)) => write!(f, "{} and {last}", rest.join(", ")),
        }
    }
}
