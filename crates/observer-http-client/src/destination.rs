//! What people see of a far side: where it is and what it says, but nothing that is secret.

use std::fmt;

use reqwest::Url;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, USER_AGENT,
};

use crate::Secret;

/// At most this much of what the far side says, in characters.
const MAX_SAID: usize = 300;
/// What is shorter stands in other words, too.
const MIN_SECRET: usize = 4;
/// A part of a path that is at least this long may be a token, as with Slack and Discord.
const TOKEN_IN_PATH: usize = 16;
/// The same for a header that the operator named.
const TOKEN_IN_HEADER: usize = 8;

/// A far side as people see it.
///
/// ```
/// use observer_http_client::{Secret, Destination};
/// use reqwest::Url;
/// use reqwest::header::HeaderMap;
///
/// let url = Url::parse("https://hooks.example.com/agents?key=0123")?;
/// let shown = Destination::new("url", &url, &HeaderMap::new(), &[Secret::from("hunter2")]);
/// assert_eq!(shown.origin(), "https://hooks.example.com");
/// assert_eq!(shown.excerpt("bad key: 0123\nhunter2"), "bad key: … …");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Destination {
    /// The key of the configuration that names the far side.
    key: &'static str,
    /// Scheme, host and port.
    origin: String,
    /// Some far sides repeat the request in what they say.
    secrets: Vec<String>,
}

impl Destination {
    /// Who is at `url`, which the configuration has under `key`, and is sent `headers`. The
    /// credentials of these, the secrets, the query and long parts of the path are not repeated.
    #[must_use]
    pub fn new<'a>(
        key: &'static str,
        url: &Url,
        headers: &HeaderMap,
        also: impl IntoIterator<Item = &'a Secret>,
    ) -> Self {
        let mut secrets = Vec::new();
        let mut hide = |text: &str, least: usize| {
            if text.len() >= least.max(MIN_SECRET) {
                secrets.push(text.to_owned());
            }
        };
        for secret in also {
            hide(secret.reveal(), MIN_SECRET);
        }
        if let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) {
            let credentials = value.split_once(' ').map_or(value, |(_, credentials)| credentials);
            hide(credentials, MIN_SECRET);
        }
        for (name, value) in headers {
            let is_known = [ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT].contains(name);
            if let Some(value) = value.to_str().ok().filter(|_| !is_known) {
                hide(value, TOKEN_IN_HEADER);
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
        url.path_segments().into_iter().flatten().for_each(|part| hide(part, TOKEN_IN_PATH));
        // The longest first, so that none is left in part.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { key, origin: origin(url), secrets }
    }

    /// The key of the configuration that names the far side, for hints.
    #[must_use]
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The beginning of what the far side says, in one line that can be printed.
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
        match line.char_indices().nth(MAX_SAID) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// What turns text around, or hides in it.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Scheme, host and port: the rest of a URL may be secret.
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
    fn what_the_far_side_repeats_of_our_secrets_is_hidden() {
        let url =
            "https://hooks.example.com:8443/services/T01/xoxb-0123456789abcdef?key=s3cr%3Dt&v=1"
                .parse()
                .unwrap();
        let auth = Auth::basic("me", "correct horse");
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, auth.header().unwrap().unwrap());
        headers.insert("x-api-key", "0123-4567".parse().unwrap());
        headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
        let shown = Destination::new(
            "url",
            &url,
            &headers,
            auth.secrets().chain(&[Secret::from("whsec_bmV3")]),
        );
        assert_eq!(shown.origin(), "https://hooks.example.com:8443");
        let echo = "Cannot POST /services/T01/xoxb-0123456789abcdef?key=s3cr%3Dt&v=1 with s3cr=t, s3cr%3Dt, correct horse, \
                    Basic bWU6Y29ycmVjdCBob3JzZQ==, 0123-4567, whsec_bmV3 as application/json";
        assert_eq!(
            shown.excerpt(echo),
            "Cannot POST /services/T01/…?… with …, …, …, …, …, … as application/json"
        );
    }

    #[test]
    fn what_is_said_is_one_short_line() {
        let shown = Destination::new("url", &"http://h".parse().unwrap(), &HeaderMap::new(), []);
        assert_eq!(
            shown.excerpt("  <b>\r\n\tno\u{1b}[31m\u{0}way\u{202e} </b>\n"),
            "<b> no [31m way </b>"
        );
        let long = shown.excerpt(&"ü".repeat(10_000));
        assert_eq!(long.chars().count(), MAX_SAID + 1);
    }
}
