//! Tokens and their digests.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::rate::Rate;
use super::scope::Scopes;

/// Token of a client, with its permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Name of the token. It appears in responses and logs, and is not secret.
    pub name: String,
    /// Digest of the token, or several while it is being replaced.
    pub digests: Vec<TokenDigest>,
    /// Scopes of the token.
    pub scopes: Scopes,
    /// Sources whose events it may send and read; `None` for all. A token with `sources` has no
    /// access to requests that concern all sources, such as `/metrics` and `/v1/sinks`.
    pub sources: Option<Vec<String>>,
    /// Limit of the events and bytes that it may send, if any.
    pub rate: Option<Rate>,
}

/// SHA-256 of a token, written as 64 hexadecimal digits.
///
/// ```
/// use observer_server::TokenDigest;
///
/// let digest = TokenDigest::of("swordfish");
/// let text = "b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799";
/// assert_eq!(digest.to_string(), text);
/// assert_eq!(text.parse(), Ok(digest));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

/// Error for a text that is not a digest. It does not show the text, which may be the token itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the SHA-256 of a token, which has 64 hexadecimal digits; \
     the value is not shown in case it is the token itself"
)]
pub struct InvalidDigest;

impl TokenDigest {
    /// Computes the digest of a token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Compares two digests in constant time.
    pub(crate) fn matches(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl FromStr for TokenDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidDigest);
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| InvalidDigest)?;
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
