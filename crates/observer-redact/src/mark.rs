//! Replacements of secrets: `[redacted:RULE]`, or `[redacted:RULE:HASH]`.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Start of each replacement.
const START: &[u8] = b"[redacted:";

/// Longest replacement, in bytes.
const MAX_LENGTH: usize = START.len() + crate::rule::MAX_NAME + 1 + 2 * HASH_BYTES + 1;

/// Number of bytes of the HMAC that a replacement shows; 128 bits don't collide.
const HASH_BYTES: usize = 16;

/// Returns the replacement of a secret without its hash.
pub(crate) fn plain(rule: &str) -> String {
    format!("[redacted:{rule}]")
}

/// Returns the replacement of a secret with its HMAC-SHA-256 (RFC 2104).
pub(crate) fn hashed(rule: &str, key: &[u8], secret: &[u8]) -> String {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    hmac.update(secret);
    let mut text = format!("[redacted:{rule}:");
    for byte in &hmac.finalize().into_bytes()[..HASH_BYTES] {
        let _ = write!(text, "{byte:02x}");
    }
    text + "]"
}

/// Returns whether a text is one replacement and nothing else.
pub(crate) fn is_mark(text: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    text.len() <= MAX_LENGTH
        && text
            .strip_prefix(START)
            .and_then(|rest| rest.strip_suffix(b"]"))
            .is_some_and(|name| name.iter().all(is_name))
}

/// Returns the end of the replacement that `at` is inside of, if it is.
pub(crate) fn end_of_mark_around(text: &[u8], at: usize) -> Option<usize> {
    let first = at.saturating_sub(MAX_LENGTH);
    let start = first + text[first..at].iter().rposition(|byte| *byte == b'[')?;
    let window = &text[start..text.len().min(start + MAX_LENGTH)];
    let end = window.iter().position(|byte| *byte == b']')? + 1;
    (is_mark(&window[..end]) && start + end > at).then_some(start + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_are_recognised() {
        for mark in [plain("openai"), hashed("private_key", b"key", b"secret")] {
            assert!(is_mark(mark.as_bytes()), "{mark}");
            let text = format!("a [b] {mark} c");
            let start = text.find("[redacted").unwrap();
            for at in start + 1..start + mark.len() {
                assert_eq!(
                    end_of_mark_around(text.as_bytes(), at),
                    Some(start + mark.len()),
                    "{at}"
                );
            }
            assert_eq!(end_of_mark_around(text.as_bytes(), text.len()), None);
        }
        for other in ["[redacted:openai", "[redacted:a b]", "[redacted:a]b]", "x[redacted:a]", ""] {
            assert!(!is_mark(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn hash_depends_on_key_and_secret() {
        // Test case 2 of RFC 4231, truncated.
        assert_eq!(
            hashed("r", b"Jefe", b"what do ya want for nothing?"),
            "[redacted:r:5bdcc146bf60754e6a042426089575c7]"
        );
        assert_ne!(hashed("r", b"a", b"s"), hashed("r", b"b", b"s"));
    }
}
