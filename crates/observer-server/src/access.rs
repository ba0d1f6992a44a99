//! Who may do what: tokens, and the scopes that they have.
//!
//! A token is a secret of high entropy that its holder sends as `Authorization: Bearer TOKEN` (RFC
//! 6750). The server knows the SHA-256 of it alone. A digest without salt and work factor is enough
//! for a secret that can't be guessed, and is computed for each request.

mod gate;
mod rate;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

pub(crate) use gate::Gate;
pub(crate) use rate::Charge;

/// What a request is allowed to be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Send events.
    Ingest,
    /// Ask for events, metrics, and how sinks are.
    Read,
    /// Change how the observer works.
    Admin,
}

/// A set of scopes.
///
/// ```
/// use observer_server::{Scope, Scopes};
///
/// let scopes = Scopes::from_iter([Scope::Ingest, Scope::Read]);
/// assert!(scopes.contains(Scope::Read) && !scopes.contains(Scope::Admin));
/// assert_eq!(scopes.to_string(), "`ingest` and `read`");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

/// What the holder of a token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What people call it; it shows in answers and logs, and is no secret.
    pub name: String,
    /// The token's digest, or several while it is being replaced.
    pub digests: Vec<TokenDigest>,
    /// What its holder may do.
    pub scopes: Scopes,
    /// How fast.
    pub rate: Option<Rate>,
}

/// The SHA-256 of a token, in 64 hexadecimal digits.
///
/// ```
/// use observer_server::TokenDigest;
///
/// let digest = TokenDigest::of("swordfish");
/// assert_eq!(digest.to_string(), "b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799");
/// assert_eq!(digest.to_string().parse(), Ok(digest));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

/// How many events a token's holder may send. A request without events counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: NonZeroU32,
    /// At once, after a while without any.
    pub burst: NonZeroU32,
}

/// Who may do what.
///
/// By default everyone may do everything, as befits a server that only its own machine can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The known tokens.
    pub tokens: Vec<Token>,
    /// What those may do who send no token.
    pub anonymous: Scopes,
}

/// Not the digest of a token. The text is not shown, since it may be the token itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token's SHA-256 has 64 hexadecimal digits, and this has other ones; it is not shown, in case it is the token itself"
)]
pub struct BadDigest;

impl Scope {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Read, Self::Admin];

    /// As it is written in configurations and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

impl Scopes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(0b111);

    /// Whether the scope is one of them.
    #[must_use]
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & 1 << scope as u8 != 0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |all, scope| all | 1 << scope as u8))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Scope::ALL
            .into_iter()
            .filter(|scope| self.contains(*scope))
            .map(|scope| format!("`{}`", scope.name()))
            .collect();
        match names.split_last() {
            None => f.write_str("nothing"),
            Some((last, [])) => f.write_str(last),
            Some((last, rest)) => write!(f, "{} and {last}", rest.join(", ")),
        }
    }
}

impl TokenDigest {
    /// The digest of this token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// In a time that says nothing about where they differ.
    fn matches(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl FromStr for TokenDigest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadDigest);
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| BadDigest)?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<'de> Deserialize<'de> for TokenDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Default for Access {
    fn default() -> Self {
        Self { tokens: Vec::new(), anonymous: Scopes::ALL }
    }
}
