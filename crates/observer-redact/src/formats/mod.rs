//! Formats of secrets, and their matchers.
//!
//! | module | content |
//! |---|---|
//! | `token` | a prefix and a number of bytes of an alphabet |
//! | `jwt`, `pem` | JSON Web Tokens; private keys |
//! | `authorization` | values of the header `Authorization` |
//! | `url` | passwords in URLs |
//! | `alphabet`, `opaque` | sets of bytes; distinction of random strings from words |
//!
//! A matcher is called where a prefix of its format is, and reads on to the end of a token. So that
//! all calls together take linear time, a token can't start inside another one of its alphabet.

pub(crate) mod alphabet;
mod authorization;
mod jwt;
pub(crate) mod opaque;
mod pem;
pub(crate) mod token;
mod url;

use std::ops::Range;

use self::token::Token;

/// Number of bytes before a prefix that a matcher may read.
pub(crate) const LOOKBACK: usize = 24;

/// Format of a secret after one of its prefixes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Token(Token),
    Jwt,
    PrivateKey,
    Bearer,
    Basic,
    UrlPassword,
}

/// Result of a matcher.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Range of the secret.
    Secret(Range<usize>),
    /// No secret. Bytes from `end` on were not read.
    Other { end: usize },
}

impl Shape {
    /// Decides whether there is a secret at a prefix that is `prefix` bytes long and starts at `at`.
    pub(crate) fn decide(self, text: &[u8], at: usize, prefix: usize) -> Verdict {
        match self {
            Self::Token(token) => token.decide(text, at, prefix),
            Self::Jwt => jwt::decide(text, at),
            Self::PrivateKey => pem::decide(text, at, prefix),
            Self::Bearer => authorization::bearer(text, at, prefix),
            Self::Basic => authorization::basic(text, at, prefix),
            Self::UrlPassword => url::decide(text, at, prefix),
        }
    }
}
