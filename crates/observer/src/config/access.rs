//! Section `[access]`: tokens and their scopes.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use observer_server::{Access, Rate, Scope, Scopes, Token, TokenDigest};
use serde::Deserialize;
use serde::de::Deserializer;

use super::parse::one_or_more;

/// Default burst of a token, in seconds of its rate.
const BURST_SECONDS: u32 = 10;

/// Access rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessConfig {
    /// Scopes of requests without a token. By default all scopes if no token is configured, else
    /// none.
    pub anonymous: Option<Vec<Scope>>,
    /// Tokens by name.
    pub tokens: BTreeMap<String, TokenConfig>,
}

/// Token, identified by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// SHA-256 of the token; several during a rotation.
    #[serde(deserialize_with = "digests")]
    pub sha256: Vec<TokenDigest>,
    /// Scopes of the token.
    pub scopes: Vec<Scope>,
    /// Rate limit; none by default.
    #[serde(default)]
    pub rate: Option<RateConfig>,
}

/// Rate limit of a token, in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// Sustained events per second.
    pub per_second: NonZeroU32,
    /// Maximum burst in events; ten seconds of the sustained rate by default.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
}

impl AccessConfig {
    /// Returns whether every scope is open to requests without a token because of the default.
    pub(super) fn is_open_by_default(&self) -> bool {
        self.tokens.is_empty() && self.anonymous.is_none()
    }

    /// Converts the rules to those of the server.
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
