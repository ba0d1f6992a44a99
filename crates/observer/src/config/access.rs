//! Section `[access]`: tokens, their scopes, and the admin socket.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

use observer_core::units;
use observer_server::{Access, Rate, Scope, Scopes, Token, TokenDigest};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use super::parse::one_or_more;

/// Default burst of a token, in seconds of its rate.
const BURST_SECONDS: u32 = 10;
/// Name of the admin socket in the data folder.
const SOCKET_NAME: &str = "admin.sock";

/// Access rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessConfig {
    /// Scopes of requests without a token. By default all except for `admin` if no token is
    /// configured, else none.
    pub anonymous: Option<Vec<Scope>>,
    /// Path of the Unix socket for administration on the same machine, if there is one.
    pub admin_socket: Option<PathBuf>,
    /// Tokens by name.
    pub tokens: BTreeMap<String, TokenConfig>,
}

/// Section as written in the file. The default of the socket depends on `data_dir`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAccess {
    anonymous: Option<Vec<Scope>>,
    admin_socket: RawSocket,
    tokens: BTreeMap<String, TokenConfig>,
}

/// Admin socket as written in the file.
#[derive(Debug, Default)]
enum RawSocket {
    /// Without the key, it is in the data folder.
    #[default]
    InDataDir,
    At(PathBuf),
    /// Written as `false` or `""`.
    Disabled,
}

impl RawAccess {
    /// Applies the defaults.
    pub(super) fn resolve(self, data_dir: &Path) -> AccessConfig {
        let admin_socket = match self.admin_socket {
            RawSocket::InDataDir => Some(data_dir.join(SOCKET_NAME)),
            RawSocket::At(path) => Some(path),
            RawSocket::Disabled => None,
        };
        AccessConfig { anonymous: self.anonymous, admin_socket, tokens: self.tokens }
    }
}

impl<'de> Deserialize<'de> for RawSocket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PathOrFalse)
    }
}

struct PathOrFalse;

impl Visitor<'_> for PathOrFalse {
    type Value = RawSocket;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the path of a socket, or false for none")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<RawSocket, E> {
        if value {
            return Err(E::invalid_value(Unexpected::Bool(value), &self));
        }
        Ok(RawSocket::Disabled)
    }

    fn visit_str<E: Error>(self, path: &str) -> Result<RawSocket, E> {
        Ok(if path.is_empty() { RawSocket::Disabled } else { RawSocket::At(path.into()) })
    }
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
    /// Sources whose events the token may send and read; all by default.
    #[serde(default)]
    pub sources: Option<Vec<String>>,
    /// Rate limit; none by default.
    #[serde(default)]
    pub rate: Option<RateConfig>,
}

/// Rate limit of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// Sustained events per second.
    pub per_second: NonZeroU32,
    /// Maximum burst in events; ten seconds of the sustained rate by default.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
    /// Sustained bytes of bodies per second, as received or decompressed; unlimited by default.
    #[serde(default, deserialize_with = "units::optional_size")]
    pub bytes_per_second: Option<u64>,
}

impl AccessConfig {
    /// Returns the default rules with the admin socket in a data folder.
    #[must_use]
    pub fn in_dir(data_dir: &Path) -> Self {
        RawAccess::default().resolve(data_dir)
    }

    /// Returns whether requests without a token are accepted because of the default.
    pub(super) fn is_open_by_default(&self) -> bool {
        self.tokens.is_empty() && self.anonymous.is_none()
    }

    /// Converts the rules to those of the server.
    #[must_use]
    pub fn resolve(&self) -> Access {
        let anonymous = match &self.anonymous {
            Some(scopes) => scopes.iter().copied().collect(),
            None if self.tokens.is_empty() => Scopes::ALL_BUT_ADMIN,
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
            sources: self.sources.clone(),
            rate: self.rate.map(|RateConfig { per_second, burst, bytes_per_second }| Rate {
                per_second,
                bytes_per_second: bytes_per_second.and_then(NonZeroU64::new),
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
