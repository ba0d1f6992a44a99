//! Encoding of a producer's text as part of a file name.
//!
//! Letters, digits, `-`, `_` and `.` are kept; every other byte becomes `%XX` (RFC 3986, section
//! 2.1). A dot becomes `%2E` at the start (hidden files, `..`) and before six digits (the name
//! would look like that of a rotated file). A name that is too long is cut and ends in `~` and a
//! hash of the whole text. `~` occurs nowhere else, so different texts have different names.
//!
//! [`encode_apart`] is a second name of a text, for a place where the first one is taken. It is the
//! first name of no text.

use std::fmt::Write;

use observer_core::Uuid;

/// Maximum length of an encoded name in bytes. It leaves space for the date, number, extensions and
/// literals of a file name of 255 bytes.
pub(crate) const LONGEST: usize = 120;

/// Minimum number of digits in the number of a rotated file.
pub(crate) const INDEX_DIGITS: usize = 6;

const HASH_DIGITS: usize = 32;

/// Encodes a text of any length and content.
pub(crate) fn encode(text: &str) -> String {
    encode_from(text, 0)
}

/// Encodes a text with a percent sign for its first letter, digit, `-` or `_`, too.
pub(crate) fn encode_apart(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    encode_from(text, text.bytes().position(is_plain).map_or(0, |at| at + 1))
}

/// Encodes a text, and every byte before `plain_from`.
fn encode_from(text: &str, plain_from: usize) -> String {
    let bytes = text.as_bytes();
    let mut name = String::with_capacity(bytes.len());
    for (at, &byte) in bytes.iter().enumerate() {
        let stays = match byte {
            _ if at < plain_from => false,
            b'.' => at > 0 && !starts_with_index(&bytes[at + 1..]),
            _ => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
        };
        if stays {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02X}").expect("writing to a String can't fail");
        }
    }
    if name.len() > LONGEST {
        let mut keep = LONGEST - HASH_DIGITS - 1;
        if let Some(percent) = name[..keep].rfind('%').filter(|percent| percent + 3 > keep) {
            keep = percent;
        }
        name.truncate(keep);
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, bytes);
        write!(name, "~{}", hash.simple()).expect("writing to a String can't fail");
    }
    if name.is_empty() { "%".to_owned() } else { name }
}

/// Returns whether `name` may be a result of [`encode`].
pub(crate) fn is_encoded(name: &str) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= LONGEST
        && bytes[0] != b'.'
        && bytes.iter().enumerate().all(|(at, byte)| match byte {
            b'.' => !starts_with_index(&bytes[at + 1..]),
            _ => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'%' | b'~'),
        })
}

fn starts_with_index(bytes: &[u8]) -> bool {
    bytes.len() >= INDEX_DIGITS && bytes[..INDEX_DIGITS].iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(encode(text), expected);
        assert!(is_encoded(expected), "{expected}");
    }

    #[test]
    fn unsafe_bytes_are_percent_encoded() {
        check("bot", "bot");
        check("gpt-4.1_mini", "gpt-4.1_mini");
        check("a/b\\c", "a%2Fb%5Cc");
        check("..", "%2E.");
        check("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd");
        check(".hidden", "%2Ehidden");
        check("nul\0\n", "nul%00%0A");
        check("é", "%C3%A9");
        check("bot.000001", "bot%2E000001");
        check("", "%");
    }

    #[test]
    fn second_name_of_a_text_is_the_first_name_of_none() {
        for (text, expected) in [
            ("all.jsonl", "%61ll.jsonl"),
            (".x", "%2E%78"),
            ("-", "%2D"),
            ("é", "%C3%A9"),
            ("%61ll", "%25%361ll"),
        ] {
            assert_eq!(encode_apart(text), expected);
            assert!(is_encoded(expected), "{expected}");
        }
        assert_ne!(encode("%61ll.jsonl"), encode_apart("all.jsonl"));
        let [long, longer] = [LONGEST, LONGEST + 1].map(|length| "a".repeat(length));
        let names = [encode(&long), encode_apart(&long), encode(&longer), encode_apart(&longer)];
        assert_eq!(HashSet::from(names.clone()).len(), 4, "{names:?}");
    }

    #[test]
    fn long_names_are_cut_and_remain_distinct() {
        let texts = [
            "a".repeat(LONGEST),
            "a".repeat(LONGEST + 1),
            "a".repeat(LONGEST + 2),
            "/".repeat(41),
            "/".repeat(42),
            format!("{}/", "a".repeat(LONGEST - 1)),
        ];
        let names: HashSet<_> = texts.iter().map(|text| encode(text)).collect();
        assert_eq!(names.len(), texts.len());
        assert!(names.iter().all(|name| name.len() <= LONGEST && is_encoded(name)), "{names:?}");
        // A text that equals the name of another text gets a name of its own.
        let cut = encode(&texts[1]);
        assert_ne!(encode(&cut), cut);
    }
}
