//! Values of the header `Authorization`. The name of the scheme is not part of the secret.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::Verdict;
use super::alphabet::{ALPHANUMERIC, BASE64, BEARER, run};
use super::opaque::is_opaque;
use super::token::is_start;

/// Shortest bearer token.
const MIN_BEARER: usize = 16;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decides on `Bearer ` (RFC 6750, section 2.1). What follows has to look random.
pub(super) fn bearer(text: &[u8], at: usize, prefix: usize) -> Verdict {
    let start = at + prefix;
    if !is_start(text, at, &ALPHANUMERIC) {
        return Verdict::Other { end: start };
    }
    let end = run(text, start, &BEARER);
    let token = &text[start..end];
    let length = token.iter().rposition(|byte| *byte != b'.').map_or(0, |last| last + 1);
    if length >= MIN_BEARER && is_opaque(&token[..length]) {
        Verdict::Secret(start..start + length)
    } else {
        Verdict::Other { end: end + 1 }
    }
}

/// Decides on `Basic ` (RFC 7617, section 2): base64 of a user, a colon and a password.
pub(super) fn basic(text: &[u8], at: usize, prefix: usize) -> Verdict {
    let start = at + prefix;
    if !is_start(text, at, &ALPHANUMERIC) {
        return Verdict::Other { end: start };
    }
    let end = run(text, start, &BASE64);
    let is_pair = || {
        let decoded = String::from_utf8(LENIENT.decode(&text[start..end]).ok()?).ok()?;
        let (_, password) = decoded.split_once(':')?;
        Some(!password.is_empty() && !decoded.chars().any(char::is_control))
    };
    if is_pair() == Some(true) {
        Verdict::Secret(start..end)
    } else {
        Verdict::Other { end: end + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_tokens_are_secrets_and_sentences_are_not() {
        let secret = "Bearer abcdef1234567890.";
        assert_eq!(bearer(secret.as_bytes(), 0, 7), Verdict::Secret(7..secret.len() - 1));
        for other in ["Bearer authentication", "Bearer abc123", "Bearer ${API_TOKEN_1}", "Bearer "]
        {
            assert!(matches!(bearer(other.as_bytes(), 0, 7), Verdict::Other { .. }), "{other}");
        }
    }

    #[test]
    fn basic_credentials_have_a_colon_inside() {
        for pair in ["YTpi", "dXNlcjpwYXNz", "dXNlcjpwYXNzMQ==", "dXNlcjpwYXNzMQ"] {
            let text = format!("Basic {pair} ");
            assert_eq!(basic(text.as_bytes(), 0, 6), Verdict::Secret(6..6 + pair.len()), "{text}");
        }
        for other in
            ["Basic settings", "Basic authentication", "Basic YWI=", "Basic YTo=", "Basic "]
        {
            assert!(matches!(basic(other.as_bytes(), 0, 6), Verdict::Other { .. }), "{other}");
        }
    }
}
