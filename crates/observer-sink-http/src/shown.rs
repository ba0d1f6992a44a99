//! What people see of a far side: where it is and what it says, but nothing that is secret.

use reqwest::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, USER_AGENT};

use crate::config::HttpConfig;

/// At most this much of what the far side says, in characters.
const MAX_SAID: usize = 300;
/// What is shorter stands in other words, too.
const MIN_SECRET: usize = 4;
/// A part of a path that is at least this long may be a token, as with Slack and Discord.
const TOKEN_IN_PATH: usize = 16;
/// The same for a header that the operator named.
const TOKEN_IN_HEADER: usize = 8;

pub(crate) struct Shown {
    /// Scheme, host and port.
    origin: String,
    /// Some far sides repeat the request in what they say.
    secrets: Vec<String>,
}

impl Shown {
    pub(crate) fn new(config: &HttpConfig, url: &Url, headers: &HeaderMap) -> Self {
        let mut secrets = Vec::new();
        let mut hide = |text: &str, least: usize| {
            if text.len() >= least.max(MIN_SECRET) {
                secrets.push(text.to_owned());
            }
        };
        for secret in config.auth.bearer.iter().chain(&config.auth.password).chain(&config.signing.secrets) {
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
        for value in url.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            hide(value.1, MIN_SECRET);
        }
        url.path_segments().into_iter().flatten().for_each(|part| hide(part, TOKEN_IN_PATH));
        // The longest first, so that none is left in part.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { origin: origin(url), secrets }
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The beginning of what the far side says, in one line that can be printed.
    pub(crate) fn said(&self, text: &str) -> String {
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
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Auth;
    use crate::settings::Settings;

    fn shown(config: &HttpConfig) -> Shown {
        Settings::of(config).unwrap().shown
    }

    #[test]
    fn what_the_far_side_repeats_of_our_secrets_is_hidden() {
        let config =
            HttpConfig::new("https://hooks.example.com:8443/services/T01/xoxb-0123456789abcdef?key=s3cr%3Dt&v=1")
                .auth(Auth::basic("me", "correct horse"))
                .header("X-Api-Key", "0123-4567")
                .sign_with("whsec_bmV3");
        let shown = shown(&config);
        assert_eq!(shown.origin(), "https://hooks.example.com:8443");
        let echo = "Cannot POST /services/T01/xoxb-0123456789abcdef?key=s3cr%3Dt&v=1 with s3cr=t, s3cr%3Dt, correct horse, \
                    Basic bWU6Y29ycmVjdCBob3JzZQ==, 0123-4567, whsec_bmV3 as application/json";
        assert_eq!(shown.said(echo), "Cannot POST /services/T01/…?… with …, …, …, …, …, … as application/json");
    }

    #[test]
    fn what_is_said_is_one_short_line() {
        let shown = shown(&HttpConfig::new("http://h"));
        assert_eq!(shown.said("  <b>\r\n\tno\u{1b}[31m\u{0}way\u{202e} </b>\n"), "<b> no [31m way </b>");
        let long = shown.said(&"ü".repeat(10_000));
        assert_eq!(long.chars().count(), MAX_SAID + 1);
    }
}
