//! Who may do what.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use observer_server::{Access, Rate, Scope, Scopes, Token, TokenDigest};
use serde::Deserialize;
use serde::de::Deserializer;

use super::one_or_more;

/// A token's burst, where it has none of its own, in seconds of its rate.
const BURST_SECONDS: u32 = 10;

/// Who may do what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessConfig {
    /// What those may do who send no token. Without this key, everything where there are no tokens,
    /// and else nothing.
    pub anonymous: Option<Vec<Scope>>,
    /// The tokens, by names that people know them by.
    pub tokens: BTreeMap<String, TokenConfig>,
}

/// A token, known by its digest alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// The token's SHA-256, or several while it is being replaced.
    #[serde(deserialize_with = "digests")]
    pub sha256: Vec<TokenDigest>,
    /// What its holder may do.
    pub scopes: Vec<Scope>,
    /// How fast.
    #[serde(default)]
    pub rate: Option<RateConfig>,
}

/// How many events a token's holder may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// In the long run.
    pub per_second: NonZeroU32,
    /// At once, after a while without any; ten seconds' worth by default.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
}

impl AccessConfig {
    /// Whether anyone who reaches the observer may do as they like, and nobody said so.
    pub(super) fn is_open_by_default(&self) -> bool {
        self.tokens.is_empty() && self.anonymous.is_none()
    }

    /// As the server knows it.
    #[must_use]
    pub fn resolve(&self) -> Access {
        let anonymous = match &self.anonymous {
            Some(scopes) => scopes.iter().copied().collect(),
            None if self.tokens.is_empty() => Scopes::ALL,
            None => Scopes::NONE,
        };
        Access {
            tokens: self.tokens.iter().map(|(name, token)| token.resolve(name)).collect(),
            anonymous,
        }
    }
}

impl TokenConfig {
    fn resolve(&self, name: &str) -> Token {
        Token {
            name: name.to_owned(),
            digests: self.sha256.clone(),
            scopes: self.scopes.iter().copied().collect(),
            rate: self.rate.map(|RateConfig { per_second, burst }| Rate {
                per_second,
                burst: burst.unwrap_or(
                    per_second.saturating_mul(const { NonZeroU32::new(BURST_SECONDS).unwrap() }),
                ),
            }),
        }
    }
}

fn digests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TokenDigest>, D::Error> {
    one_or_more::strings(
        deserializer,
        "the SHA-256 of a token as `observer token` prints it, or a list of them",
    )
}
