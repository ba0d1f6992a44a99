//! Where requests go.

use observer_core::BuildError;
use reqwest::Url;

use crate::Secret;

/// The URL that the configuration has under `key`. What is wrong with it is said without the text, parts of which may be secret.
///
/// # Errors
/// It is no URL, isn't HTTP's, or holds a password.
pub fn url(key: &'static str, text: &Secret) -> Result<Url, BuildError> {
    let url = Url::parse(text.reveal()).map_err(|error| BuildError::new(key, format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(BuildError::new(key, "must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let problem = "must not hold a user or a password; they go into `auth = { user = \"…\", password = \"…\" }`";
        return Err(BuildError::new(key, problem));
    }
    Ok(url)
}
