//! Text of JSON strings, and where its bytes come from.

use std::borrow::Cow;
use std::ops::Range;

/// Unescaped text of a JSON string.
pub(crate) struct Text<'a> {
    bytes: Cow<'a, [u8]>,
    /// Position in the JSON text of each byte, and of the end; empty if nothing is escaped.
    origins: Vec<usize>,
}

impl<'a> Text<'a> {
    /// Unescapes what is between the quotes of a valid JSON string. A lone surrogate becomes
    /// U+FFFD.
    pub(crate) fn unescaped(json: &'a str) -> Self {
        let raw = json.as_bytes();
        if !raw.contains(&b'\\') {
            return Self { bytes: Cow::Borrowed(raw), origins: Vec::new() };
        }
        let mut bytes = Vec::with_capacity(raw.len());
        let mut origins = Vec::with_capacity(raw.len() + 1);
        let mut at = 0;
        while at < raw.len() {
            let start = at;
            if raw[at] == b'\\' {
                let (character, length) = escape(&raw[at..]);
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                at += length;
            } else {
                bytes.push(raw[at]);
                at += 1;
            }
            origins.resize(bytes.len(), start);
        }
        origins.push(raw.len());
        Self { bytes: Cow::Owned(bytes), origins }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the range in the JSON text of a range of bytes.
    pub(crate) fn origin(&self, range: Range<usize>) -> Range<usize> {
        if self.origins.is_empty() {
            return range;
        }
        self.origins[range.start]..self.origins[range.end]
    }
}

/// Returns the character of an escape sequence, and the length of the sequence.
fn escape(raw: &[u8]) -> (char, usize) {
    let simple = match raw.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode(raw),
        Some(other) => char::from(*other),
        None => return (char::REPLACEMENT_CHARACTER, 1),
    };
    (simple, 2)
}

/// Returns the character of `\u` with four digits, or of two of these that are a surrogate pair.
fn unicode(raw: &[u8]) -> (char, usize) {
    let Some(first) = unit(raw) else { return (char::REPLACEMENT_CHARACTER, raw.len().min(2)) };
    let units = [Some(first), raw.get(6..).filter(|rest| rest.starts_with(b"\\u")).and_then(unit)];
    let decoded = char::decode_utf16(units.into_iter().flatten()).next();
    match decoded {
        Some(Ok(character)) => (character, if character.len_utf16() == 2 { 12 } else { 6 }),
        _ => (char::REPLACEMENT_CHARACTER, 6),
    }
}

/// Returns the UTF-16 code unit of an escape sequence.
pub(crate) fn unit(raw: &[u8]) -> Option<u16> {
    u16::from_str_radix(std::str::from_utf8(raw.get(2..6)?).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unescaped_text_equals_that_of_serde_json() {
        for json in ["plain \u{e4}", r#"a\"b\\c\/d\b\f\n\r\t"#, r"\u0041\u00e4\u20ac\ud83d\ude00!"]
        {
            let expected: String = serde_json::from_str(&format!("\"{json}\"")).unwrap();
            assert_eq!(Text::unescaped(json).bytes(), expected.as_bytes(), "{json}");
        }
        let lone = Text::unescaped(r"a\ud800b\udc00");
        assert_eq!(lone.bytes(), "a\u{fffd}b\u{fffd}".as_bytes());
    }

    #[test]
    fn range_of_the_text_leads_to_its_escapes() {
        let json = r"a\u002db\n\ud83d\ude00c";
        let text = Text::unescaped(json);
        assert_eq!(&json[text.origin(1..2)], r"\u002d");
        assert_eq!(&json[text.origin(2..8)], r"b\n\ud83d\ude00");
        assert_eq!(&json[text.origin(8..9)], "c");
        assert_eq!(text.origin(9..9), json.len()..json.len());
    }
}
