//! Tokens: a prefix, then a number of bytes of an alphabet.

use super::Verdict;
use super::alphabet::{ALPHANUMERIC, Alphabet, run};
use super::opaque::is_opaque;

/// Format of a token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    /// Bytes after the prefix.
    alphabet: &'static Alphabet,
    /// Bytes that can't stand before the prefix.
    before: &'static Alphabet,
    /// Smallest and largest number of bytes after the prefix.
    length: (usize, usize),
    check: Check,
}

/// Further condition on the bytes after the prefix.
#[derive(Debug, Clone, Copy)]
enum Check {
    None,
    /// There is a digit.
    Digit,
    /// They look [random](is_opaque).
    Opaque,
}

impl Token {
    /// Creates a format with at least `min` bytes of an alphabet after the prefix.
    pub(crate) const fn at_least(min: usize, alphabet: &'static Alphabet) -> Self {
        Self { alphabet, before: alphabet, length: (min, usize::MAX), check: Check::None }
    }

    /// Creates a format with exactly `length` bytes of an alphabet after the prefix.
    pub(crate) const fn exactly(length: usize, alphabet: &'static Alphabet) -> Self {
        Self { length: (length, length), ..Self::at_least(length, alphabet) }
    }

    /// Lets the prefix stand after any byte but letters and digits. The alphabet must not have all
    /// bytes of the prefix.
    pub(crate) const fn after_punctuation(self) -> Self {
        Self { before: &ALPHANUMERIC, ..self }
    }

    pub(crate) const fn with_digit(self) -> Self {
        Self { check: Check::Digit, ..self }
    }

    pub(crate) const fn opaque(self) -> Self {
        Self { check: Check::Opaque, ..self }
    }

    pub(super) fn decide(self, text: &[u8], at: usize, prefix: usize) -> Verdict {
        let start = at + prefix;
        if !is_start(text, at, self.before) {
            return Verdict::Other { end: start };
        }
        let end = run(text, start, self.alphabet);
        let other = Verdict::Other { end: end + 1 };
        // A full stop ends a sentence rather than a token.
        let body = &text[start..end];
        let body = &body[..body.iter().rposition(|byte| *byte != b'.').map_or(0, |last| last + 1)];
        let is_secret = (self.length.0..=self.length.1).contains(&body.len())
            && match self.check {
                Check::None => true,
                Check::Digit => body.iter().any(u8::is_ascii_digit),
                Check::Opaque => is_opaque(body),
            };
        if is_secret { Verdict::Secret(at..start + body.len()) } else { other }
    }
}

/// Returns whether a token can start at `at`: none of the given bytes is before it, unless these
/// are the end of a percent-encoded byte, of an escape sequence, or of an ANSI colour. Escape
/// sequences are those of JSON and of other languages in a text that quotes one.
pub(super) fn is_start(text: &[u8], at: usize, before: &Alphabet) -> bool {
    let text = &text[at.saturating_sub(super::LOOKBACK)..at];
    let Some(last) = text.last() else { return true };
    !before[usize::from(*last)]
        || ends_with_percent_encoding(text)
        || ends_with_escape(text)
        || ends_with_color(text)
}

fn ends_with_percent_encoding(text: &[u8]) -> bool {
    matches!(text, [.., b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}

/// Returns whether a text ends with a backslash and what belongs to it.
fn ends_with_escape(text: &[u8]) -> bool {
    match text {
        [.., b'\\', b'0' | b'a' | b'b' | b'e' | b'f' | b'n' | b'r' | b't' | b'v'] => true,
        [.., b'\\', b'x', a, b] => is_hex(&[*a, *b]),
        [.., b'\\', b'u', a, b, c, d] => is_hex(&[*a, *b, *c, *d]),
        _ => false,
    }
}

fn is_hex(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
}

/// Returns whether a text ends with a control sequence `SGR` (ECMA-48, section 8.3.117).
fn ends_with_color(text: &[u8]) -> bool {
    /// The control character `ESC`, and how it is escaped.
    const ESC: [&str; 6] = ["\u{1b}[", r"\u001b[", r"\u001B[", r"\x1b[", r"\x1B[", r"\033["];
    let Some(text) = text.strip_suffix(b"m") else { return false };
    let end = text.iter().rposition(|byte| !matches!(byte, b'0'..=b'9' | b';'));
    end.is_some_and(|end| ESC.iter().any(|escape| text[..=end].ends_with(escape.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::super::alphabet::{BASE64URL, UPPER};
    use super::*;

    fn found(token: Token, prefix: &str, text: &str) -> Option<String> {
        let at = text.find(prefix).unwrap();
        match token.decide(text.as_bytes(), at, prefix.len()) {
            Verdict::Secret(range) => Some(text[range].to_owned()),
            Verdict::Other { .. } => None,
        }
    }

    #[test]
    fn token_ends_where_its_alphabet_ends() {
        let token = Token::at_least(4, &BASE64URL);
        for (text, expected) in [
            ("key_abcd", Some("key_abcd")),
            ("(key_ab-d)", Some("key_ab-d")),
            ("\u{e4}key_abcdef.", Some("key_abcdef")),
            ("%3Dkey_abcd", Some("key_abcd")),
            ("\u{1b}[1;31mkey_abcd\u{1b}[0m", Some("key_abcd")),
            ("key_abc", None),
            ("monkey_abcd", None),
            ("3Dkey_abcd", None),
            ("[31mkey_abcd", None),
            (r"\u001b[1;31mkey_abcd", Some("key_abcd")),
            (r"\x1B[31mkey_abcd", Some("key_abcd")),
            (r"a\nkey_abcd\nb", Some("key_abcd")),
            (r"a\\nkey_abcd\\nb", Some("key_abcd")),
            (r"a\tkey_abcd", Some("key_abcd")),
            (r"a\u0020key_abcd", Some("key_abcd")),
            (r"a\x20key_abcd", Some("key_abcd")),
            (r"\mkey_abcd", None),
            (r"\nnkey_abcd", None),
            (r"\u00g0key_abcd", None),
            ("u0020key_abcd", None),
            ("-key_abcd", None),
        ] {
            assert_eq!(found(token, "key_", text).as_deref(), expected, "{text}");
        }
        assert!(found(token.after_punctuation(), "key_", "-key_abcd").is_some());
    }

    #[test]
    fn token_of_an_exact_length_is_found_in_that_length_only() {
        let token = Token::exactly(4, &UPPER);
        assert_eq!(found(token, "AK", "AKBCD4,").as_deref(), Some("AKBCD4"));
        assert_eq!(found(token, "AK", "AKBCD45"), None);
        assert_eq!(found(token, "AK", "AKBCDe"), None);
    }
}
