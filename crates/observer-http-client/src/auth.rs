//! Credentials for the `Authorization` header.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use observer_core::BuildError;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use crate::Secret;

/// Credentials of a client: a bearer token, a user with a password, or none.
///
/// In a configuration, `auth = { bearer = "…" }` or `auth = { user = "…", password = "…" }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Auth {
    /// Bearer token (RFC 6750).
    pub bearer: Option<Secret>,
    /// User of HTTP Basic authentication (RFC 7617).
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<Secret>,
}

impl Auth {
    /// Returns credentials with a bearer token.
    #[must_use]
    pub fn bearer(token: impl Into<Secret>) -> Self {
        Self { bearer: Some(token.into()), ..Self::default() }
    }

    /// Returns credentials with a user and a password.
    #[must_use]
    pub fn basic(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self { user: Some(user.into()), password: Some(password.into()), ..Self::default() }
    }

    /// Returns the value of the `Authorization` header, or `None` without credentials.
    ///
    /// # Errors
    /// If both kinds of credentials are set, one of user and password is missing, or a header can't
    /// contain the text.
    pub fn header(&self) -> Result<Option<HeaderValue>, BuildError> {
        let (key, text) = match self {
            Self { bearer: None, user: None, password: None } => return Ok(None),
            Self { bearer: Some(token), user: None, password: None } => {
                ("auth.bearer", format!("Bearer {}", token.reveal()))
            }
            Self { bearer: None, user: Some(user), password: Some(password) } => {
                if user.contains(':') {
                    return Err(BuildError::new("auth.user", "must not hold a colon (RFC 7617)"));
                }
                let pair = STANDARD.encode(format!("{user}:{}", password.reveal()));
                ("auth", format!("Basic {pair}"))
            }
            _ => {
                return Err(BuildError::new(
                    "auth",
                    "is either `bearer`, or `user` and `password`",
                ));
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            BuildError::new(key, "holds a character that a header can't have, such as a line feed")
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Returns the parts that no message may repeat.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.bearer.iter().chain(&self.password)
    }
}
