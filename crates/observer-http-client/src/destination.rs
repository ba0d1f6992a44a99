//! A destination in messages: its origin, and excerpts of its responses without secrets.

use std::fmt;

use reqwest::Url;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, USER_AGENT,
};

use crate::Secret;

/// Longest excerpt of a response, in characters.
const MAX_EXCERPT: usize = 300;
/// Shortest text that is redacted, in bytes. Anything shorter occurs in ordinary words too.
const MIN_SECRET: usize = 4;
/// Shortest segment of a path that is redacted, in bytes: it may be a token, as with Slack and
/// Discord.
const MIN_SECRET_IN_PATH: usize = 16;
/// Shortest value of a configured header that is redacted, in bytes.
const MIN_SECRET_IN_HEADER: usize = 8;

/// Description of a destination for error messages and logs.
///
/// Of the URL it shows scheme, host and port only. Some destinations repeat the request in their
/// answers, so [`excerpt`](Self::excerpt) redacts credentials, secrets and query parameters.
///
/// ```
/// use observer_http_client::{Destination, Secret};
/// use reqwest::Url;
/// use reqwest::header::HeaderMap;
///
/// let url = Url::parse("https://hooks.example.com/agents?key=0123")?;
/// let destination = Destination::new("url", &url, &HeaderMap::new(), &[Secret::from("hunter2")]);
/// assert_eq!(destination.origin(), "https://hooks.example.com");
/// assert_eq!(destination.excerpt("bad key: 0123\nhunter2"), "bad key: … …");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Destination {
    key: &'static str,
    origin: String,
    /// Longest first, so that no part of a longer secret remains.
    secrets: Vec<String>,
}

impl Destination {
    /// Describes the destination at `url`, which the configuration holds under `key`.
    ///
    /// Excerpts redact `secrets`, the credentials and other values in `headers`, the query of
    /// `url`, and long segments of its path.
    #[must_use]
    pub fn new<'a>(
        key: &'static str,
        url: &Url,
        headers: &HeaderMap,
        secrets: impl IntoIterator<Item = &'a Secret>,
    ) -> Self {
        let mut hidden = Vec::new();
        let mut hide = |text: &str, min_length: usize| {
            if text.len() >= min_length.max(MIN_SECRET) {
                hidden.push(text.to_owned());
            }
        };
        for secret in secrets {
            hide(secret.reveal(), MIN_SECRET);
        }
        if let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) {
            let credentials = value.split_once(' ').map_or(value, |(_, credentials)| credentials);
            hide(credentials, MIN_SECRET);
        }
        for (name, value) in headers {
            let is_public = [ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT].contains(name);
            if let Some(value) = value.to_str().ok().filter(|_| !is_public) {
                hide(value, MIN_SECRET_IN_HEADER);
            }
        }
        url.query().into_iter().for_each(|query| hide(query, MIN_SECRET));
        for (_, value) in url.query_pairs() {
            hide(&value, MIN_SECRET);
        }
        for value in
            url.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='))
        {
            hide(value.1, MIN_SECRET);
        }
        let segments = url.path_segments().into_iter().flatten();
        segments.for_each(|segment| hide(segment, MIN_SECRET_IN_PATH));
        hidden.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        hidden.dedup();
        Self { key, origin: origin(url), secrets: hidden }
    }

    /// Returns the key of the configuration that holds the URL, for hints.
    #[must_use]
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// Returns scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the first 300 characters of a response in one printable line, without secrets.
    #[must_use]
    pub fn excerpt(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret) {
                text = text.replace(secret, "…");
            }
        }
        let words = text.split(|c: char| c.is_whitespace() || c.is_control() || is_invisible(c));
        let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(MAX_EXCERPT) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// Returns whether a character is invisible or changes the direction of text.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
    )
}

/// Returns scheme, host and port of a URL, whose other parts may be secret.
#[must_use]
pub fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Destination").field(&self.origin).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Auth;

    #[test]
    fn excerpt_redacts_secrets_of_the_request() {
        let url =
            "https://hooks.example.com:8443/services/T01/xoxb-0123456789abcdef?key=s3cr%3Dt&v=1"
                .parse()
                .unwrap();
        let auth = Auth::basic("me", "correct horse");
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, auth.header().unwrap().unwrap());
        headers.insert("x-api-key", "0123-4567".parse().unwrap());
        headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
        let signing = [Secret::from("whsec_bmV3")];
        let secrets = auth.secrets().chain(&signing);
        let destination = Destination::new("url", &url, &headers, secrets);
        assert_eq!(destination.origin(), "https://hooks.example.com:8443");
        let response = concat!(
            "Cannot POST /services/T01/xoxb-0123456789abcdef?key=s3cr%3Dt&v=1 with s3cr=t, ",
            "s3cr%3Dt, correct horse, Basic bWU6Y29ycmVjdCBob3JzZQ==, 0123-4567, whsec_bmV3 ",
            "as application/json",
        );
        assert_eq!(
            destination.excerpt(response),
            "Cannot POST /services/T01/…?… with …, …, …, …, …, … as application/json"
        );
    }

    #[test]
    fn excerpt_is_one_short_line() {
        let url = "http://h".parse().unwrap();
        let destination = Destination::new("url", &url, &HeaderMap::new(), []);
        assert_eq!(
            destination.excerpt("  <b>\r\n\tno\u{1b}[31m\u{0}way\u{202e} </b>\n"),
            "<b> no [31m way </b>"
        );
        let long = destination.excerpt(&"ü".repeat(10_000));
        assert_eq!(long.chars().count(), MAX_EXCERPT + 1);
    }
}
