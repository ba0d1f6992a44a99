//! Who a sink is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use observer_core::BuildError;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use crate::Secret;

/// A bearer token, or a user with a password, or nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Auth {
    /// RFC 6750.
    pub bearer: Option<Secret>,
    /// RFC 7617.
    pub user: Option<String>,
    /// Goes with `user`.
    pub password: Option<Secret>,
}

impl Auth {
    /// A token.
    #[must_use]
    pub fn bearer(token: impl Into<Secret>) -> Self {
        Self { bearer: Some(token.into()), ..Self::default() }
    }

    /// A user with a password.
    #[must_use]
    pub fn basic(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self { user: Some(user.into()), password: Some(password.into()), ..Self::default() }
    }

    /// The value of `Authorization`; `None` for nobody.
    ///
    /// # Errors
    /// Both of them, half of one, or what no header can have.
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

    /// What of it must not be repeated to anyone.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.bearer.iter().chain(&self.password)
    }
}
