//! Fast scanner for JSON. It allocates nothing.
//!
//! [`members`] finds the members of one object. [`Cursor`] goes down into values, too, as far as
//! its caller wants.
//!
//! The scanner accepts a subset of JSON that covers nearly every event, and finds the same members
//! as `serde_json` there. It returns `None` for everything else, such as an escaped key, deep
//! nesting or invalid JSON. Callers then use `serde_json`, which also reports errors.

use std::ops::Range;

/// Deepest nesting of objects and arrays in an event, the event itself included.
pub const MAX_DEPTH: usize = 64;

/// Levels below the outermost object. The scanner keeps one bit of a `u64` for each.
const MAX_INNER_DEPTH: usize = MAX_DEPTH - 1;

/// Calls `found` with the key and the range of the value of each member of the object `json`, which
/// must have no white space around it.
///
/// Returns `None` if the scanner does not accept `json`, possibly after some calls. After `Some`,
/// the object is known to be nested no deeper than [`MAX_DEPTH`].
pub(crate) fn members<'a>(json: &'a str, found: impl FnMut(&'a str, Range<usize>)) -> Option<()> {
    members_and_keys(json, found, |_| ())
}

/// Does what [`members`] does, and calls `passed` with each key inside of a value: the bytes between
/// its quotes, with escapes.
pub(crate) fn members_and_keys<'a>(
    json: &'a str,
    mut found: impl FnMut(&'a str, Range<usize>),
    mut passed: impl FnMut(&[u8]),
) -> Option<()> {
    let bytes = json.as_bytes();
    let mut at = skip_white(bytes, expect(bytes, 0, b'{')?);
    if bytes.get(at) == Some(&b'}') {
        return (at + 1 == bytes.len()).then_some(());
    }
    loop {
        let start = expect(bytes, at, b'"')?;
        at = skip_string(bytes, start)?;
        let key = &json[start..at - 1];
        if key.contains('\\') {
            return None;
        }
        at = skip_white(bytes, expect(bytes, skip_white(bytes, at), b':')?);
        let end = skip_value(bytes, at, &mut passed)?;
        found(key, at..end);
        at = skip_white(bytes, end);
        match bytes.get(at)? {
            b',' => at = skip_white(bytes, at + 1),
            b'}' => return (at + 1 == bytes.len()).then_some(()),
            _ => return None,
        }
    }
}

/// Position in a JSON text that moves from value to value.
///
/// Methods return `None` where the text ends or is not JSON. The cursor must not be used after
/// that.
pub(crate) struct Cursor<'a> {
    json: &'a str,
    /// Bytes that the cursor may read.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Creates a cursor before a value that has no white space before it. To the cursor, the text
    /// ends after `max` bytes.
    pub(crate) fn new(json: &'a str, max: usize) -> Self {
        Self { json, bytes: &json.as_bytes()[..json.len().min(max)], at: 0 }
    }

    /// Returns the first byte of the value after the cursor.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Enters an object or array. Returns `false` if it is empty; the cursor is after it then.
    pub(crate) fn enter(&mut self) -> Option<bool> {
        self.at = skip_white(self.bytes, self.at + 1);
        let is_empty = matches!(self.peek()?, b'}' | b']');
        self.at += usize::from(is_empty);
        Some(!is_empty)
    }

    /// Moves past the key of a member, to its value. Returns the key without its quotes and with
    /// its escapes.
    pub(crate) fn key(&mut self) -> Option<&'a str> {
        let start = expect(self.bytes, self.at, b'"')?;
        let end = skip_string(self.bytes, start)?;
        let colon = skip_white(self.bytes, end);
        self.at = skip_white(self.bytes, expect(self.bytes, colon, b':')?);
        Some(&self.json[start..end - 1])
    }

    /// Moves past a value and returns its text.
    pub(crate) fn skip(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.at = skip_value(self.bytes, start, &mut |_| ())?;
        Some(&self.json[start..self.at])
    }

    /// Moves from the end of a value to the next member or item. Returns `false` if there is none;
    /// the cursor is after the object or array then.
    pub(crate) fn advance(&mut self) -> Option<bool> {
        self.at = skip_white(self.bytes, self.at);
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => {
                self.at = skip_white(self.bytes, self.at);
                Some(true)
            }
            b'}' | b']' => Some(false),
            _ => None,
        }
    }
}

/// Returns the index after `byte` if it is at `at`.
fn expect(bytes: &[u8], at: usize, byte: u8) -> Option<usize> {
    (*bytes.get(at)? == byte).then_some(at + 1)
}

fn skip_white(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Returns the index after the value that begins at `at`. Calls `passed` with each key in it.
fn skip_value(bytes: &[u8], mut at: usize, passed: &mut impl FnMut(&[u8])) -> Option<usize> {
    // One bit for each open level, set for an object; the innermost level is the lowest bit.
    let (mut objects, mut depth) = (0_u64, 0);
    loop {
        match *bytes.get(at)? {
            b'"' => at = skip_string(bytes, at + 1)?,
            open @ (b'{' | b'[') => {
                if depth == MAX_INNER_DEPTH {
                    return None;
                }
                let is_object = open == b'{';
                at = skip_white(bytes, at + 1);
                // The code of a closing bracket is that of the opening one plus two.
                if bytes.get(at) == Some(&(open + 2)) {
                    at += 1;
                } else {
                    (objects, depth) = (objects << 1 | u64::from(is_object), depth + 1);
                    if is_object {
                        at = skip_key(bytes, at, passed)?;
                    }
                    continue;
                }
            }
            b't' => at = skip_literal(bytes, at, b"true")?,
            b'f' => at = skip_literal(bytes, at, b"false")?,
            b'n' => at = skip_literal(bytes, at, b"null")?,
            _ => at = skip_number(bytes, at)?,
        }
        while depth > 0 {
            at = skip_white(bytes, at);
            let is_object = objects & 1 == 1;
            match *bytes.get(at)? {
                b',' => {
                    at = skip_white(bytes, at + 1);
                    if is_object {
                        at = skip_key(bytes, at, passed)?;
                    }
                    break;
                }
                b'}' if is_object => {}
                b']' if !is_object => {}
                _ => return None,
            }
            at += 1;
            (objects, depth) = (objects >> 1, depth - 1);
            if depth == 0 {
                return Some(at);
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Returns the index of the value after a key and its colon. Calls `passed` with the key.
fn skip_key(bytes: &[u8], at: usize, passed: &mut impl FnMut(&[u8])) -> Option<usize> {
    let start = expect(bytes, at, b'"')?;
    let end = skip_string(bytes, start)?;
    passed(&bytes[start..end - 1]);
    Some(skip_white(bytes, expect(bytes, skip_white(bytes, end), b':')?))
}

fn skip_literal(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    bytes[at..].starts_with(word).then_some(at + word.len())
}

/// Returns the index after the closing quote, for the index after the opening one.
fn skip_string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = next_special(bytes, at)?;
        match bytes[at] {
            b'"' => return Some(at + 1),
            b'\\' => match bytes.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                b'u' => {
                    let digits = bytes.get(at + 2..at + 6)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    at += 6;
                }
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// Returns the index of the next quote, backslash or control character. Tests eight bytes at a time
/// ("Bit Twiddling Hacks", determine if a word has a byte less than n).
fn next_special(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let special = is_zero(word ^ (ONES * u64::from(b'"')))
            | is_zero(word ^ (ONES * u64::from(b'\\')))
            | (word.wrapping_sub(ONES * 0x20) & !word & HIGH);
        if special != 0 {
            return Some(at + special.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    Some(at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?)
}

fn skip_number(bytes: &[u8], mut at: usize) -> Option<usize> {
    let digits = |mut at: usize| {
        let start = at;
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        (at > start).then_some(at)
    };
    at += usize::from(bytes.get(at) == Some(&b'-'));
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        at = digits(at)?;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn scanned(json: &str) -> Option<Vec<(&str, &str)>> {
        let mut all = Vec::new();
        members(json, |key, range| all.push((key, &json[range]))).map(|()| all)
    }

    /// Returns whether the scanner rejects `json` or finds what `serde_json` finds, which keeps the
    /// last value of a repeated key.
    fn agrees_with_serde(json: &str) -> bool {
        let Some(members) = scanned(json) else { return true };
        let members: BTreeMap<_, _> =
            members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let expected: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(json).ok();
        expected.map(|all| all.into_iter().map(|(key, value)| (key, value.get())).collect())
            == Some(members)
    }

    #[test]
    fn members_have_the_text_of_their_values() {
        assert_eq!(
            scanned(r#"{ "a" : "x\"\u00e4" ,"b":[{},[1,-0.5e+3,{"c":null}]],"d":true}"#).unwrap(),
            [("a", r#""x\"\u00e4""#), ("b", r#"[{},[1,-0.5e+3,{"c":null}]]"#), ("d", "true")]
        );
        assert_eq!(scanned("{}").unwrap(), []);
        assert!(
            scanned(&format!(
                r#"{{"a":{}1{}}}"#,
                "[".repeat(MAX_INNER_DEPTH),
                "]".repeat(MAX_INNER_DEPTH)
            ))
            .is_some()
        );
    }

    #[test]
    fn everything_but_plain_json_is_rejected() {
        let deep = format!(
            r#"{{"a":{}1{}}}"#,
            "[".repeat(MAX_INNER_DEPTH + 1),
            "]".repeat(MAX_INNER_DEPTH + 1)
        );
        for json in [
            "",
            "{",
            "{}}",
            "{} ",
            "[]",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":1e}"#,
            r#"{"a":-}"#,
            r#"{"a":tru}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12g4"}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":[1,]}"#,
            r#"{"a":[1}}"#,
            r#"{"a":{"b":1]}"#,
            r#"{"a":[}"#,
            r#"{"\u0061":1}"#,
            r#"{"a":1 "b":2}"#,
            &deep,
        ] {
            assert_eq!(scanned(json), None, "{json}");
        }
    }

    /// Regular expression for JSON objects, most of them slightly malformed.
    const OBJECT: &str = concat!(
        r#"\{("[a-z\\"u0]{0,9}":"#,
        r#"(["0-9a-z\\.eE+\-\[\]\{\},: \n]{0,24}|"[^\\"]{0,20}"|\{"a":[0-9]{1,3}\}),?){0,4}\}"#,
    );

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn scanner_agrees_with_serde_on_generated_objects(json in OBJECT) {
            prop_assert!(agrees_with_serde(&json), "{json}");
        }

        #[test]
        fn scanner_agrees_with_serde_after_one_changed_byte(at in 0_usize..300, byte in 0_u8..128) {
            let object = concat!(
                r#"{"source":"bot","ok":true,"n":-12.5e-3,"#,
                r#""extra":{"a":[1,{"b":"\u00e9\n"},[],{}],"#,
                r#""c":"some longer text, past eight bytes"},"z":null}"#,
            );
            let mut bytes = object.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let json = String::from_utf8(bytes).unwrap();
            prop_assert!(agrees_with_serde(&json), "{json}");
        }
    }
}
