//! Validation of a configured URL.

use observer_core::BuildError;
use reqwest::Url;

use crate::Secret;

/// Parses the URL that the configuration holds under `key`.
///
/// # Errors
/// If `text` is not a URL, has a scheme other than http and https, or contains a user or a
/// password. The message doesn't repeat the text, parts of which may be secret.
pub fn parse_url(key: &'static str, text: &Secret) -> Result<Url, BuildError> {
    let url = Url::parse(text.reveal())
        .map_err(|error| BuildError::new(key, format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(BuildError::new(key, "must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let problem = "must not hold a user or a password; \
                       they go into `auth = { user = \"…\", password = \"…\" }`";
        return Err(BuildError::new(key, problem));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_urls_are_rejected_without_repeating_them() {
        for (text, expected) in [
            ("hidden/x", "`url` is not a URL"),
            ("ftp://hidden", "`url` must begin with"),
            ("https://hidden@h", "`url` must not hold a user"),
            ("https://:hidden@h", "`url` must not hold a user"),
        ] {
            let error = parse_url("url", &Secret::from(text)).unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains("hidden"), "{error}");
        }
        assert_eq!(
            parse_url("url", &Secret::from("https://h/x?y")).unwrap().as_str(),
            "https://h/x?y"
        );
    }
}
