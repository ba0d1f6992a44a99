//! Finds the members of a JSON object without building anything: the quick way for what nearly
//! every event looks like.
//!
//! What it accepts, `serde_json` accepts with the same members; whatever else there is, such as an
//! escaped key or deep nesting, is left to `serde_json`, which also says what is wrong with it.

use std::ops::Range;

/// Deepest nesting of objects and arrays in an event, the event itself included.
pub const MAX_DEPTH: usize = 64;

/// Levels below the outermost; one bit is kept for each.
const DEEPEST: usize = MAX_DEPTH - 1;

/// Hand out each member of the object that is all of `json`, which is then nested no deeper than
/// [`MAX_DEPTH`]; `None` where this is not for the quick way.
pub(crate) fn members<'a>(
    json: &'a str,
    mut found: impl FnMut(&'a str, Range<usize>),
) -> Option<()> {
    let bytes = json.as_bytes();
    let mut at = past_white(bytes, expect(bytes, 0, b'{')?);
    if bytes.get(at) == Some(&b'}') {
        return (at + 1 == bytes.len()).then_some(());
    }
    loop {
        let start = expect(bytes, at, b'"')?;
        at = past_string(bytes, start)?;
        let key = &json[start..at - 1];
        if key.contains('\\') {
            return None;
        }
        at = past_white(bytes, expect(bytes, past_white(bytes, at), b':')?);
        let end = past_value(bytes, at)?;
        found(key, at..end);
        at = past_white(bytes, end);
        match bytes.get(at)? {
            b',' => at = past_white(bytes, at + 1),
            b'}' => return (at + 1 == bytes.len()).then_some(()),
            _ => return None,
        }
    }
}

fn expect(bytes: &[u8], at: usize, byte: u8) -> Option<usize> {
    (*bytes.get(at)? == byte).then_some(at + 1)
}

fn past_white(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

fn past_value(bytes: &[u8], mut at: usize) -> Option<usize> {
    // Which of the levels above are objects, the innermost in the lowest bit.
    let (mut objects, mut depth) = (0_u64, 0);
    loop {
        match *bytes.get(at)? {
            b'"' => at = past_string(bytes, at + 1)?,
            open @ (b'{' | b'[') => {
                if depth == DEEPEST {
                    return None;
                }
                let is_object = open == b'{';
                at = past_white(bytes, at + 1);
                // Two more than `[` and `{` are `]` and `}`.
                if bytes.get(at) == Some(&(open + 2)) {
                    at += 1;
                } else {
                    (objects, depth) = (objects << 1 | u64::from(is_object), depth + 1);
                    if is_object {
                        at = past_key(bytes, at)?;
                    }
                    continue;
                }
            }
            b't' => at = past_word(bytes, at, b"true")?,
            b'f' => at = past_word(bytes, at, b"false")?,
            b'n' => at = past_word(bytes, at, b"null")?,
            _ => at = past_number(bytes, at)?,
        }
        while depth > 0 {
            at = past_white(bytes, at);
            let is_object = objects & 1 == 1;
            match *bytes.get(at)? {
                b',' => {
                    at = past_white(bytes, at + 1);
                    if is_object {
                        at = past_key(bytes, at)?;
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

fn past_key(bytes: &[u8], at: usize) -> Option<usize> {
    let end = past_string(bytes, expect(bytes, at, b'"')?)?;
    Some(past_white(bytes, expect(bytes, past_white(bytes, end), b':')?))
}

fn past_word(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    bytes[at..].starts_with(word).then_some(at + word.len())
}

/// From behind the opening quote to behind the closing one.
fn past_string(bytes: &[u8], mut at: usize) -> Option<usize> {
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

/// The next quote, backslash or control character: eight bytes at a time ("Bit Twiddling Hacks",
/// determine if a word has a byte less than n).
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

fn past_number(bytes: &[u8], mut at: usize) -> Option<usize> {
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

    fn quickly(json: &str) -> Option<Vec<(&str, &str)>> {
        let mut all = Vec::new();
        members(json, |key, range| all.push((key, &json[range]))).map(|()| all)
    }

    /// What is found must be what `serde_json` finds. Of a key that is there twice, it keeps the
    /// last.
    fn agrees(json: &str) -> bool {
        let Some(quick) = quickly(json) else { return true };
        let slow: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(json).ok();
        let quick: BTreeMap<_, _> =
            quick.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        slow.map(|slow| slow.into_iter().map(|(key, value)| (key, value.get())).collect())
            == Some(quick)
    }

    #[test]
    fn members_are_found_with_their_text() {
        assert_eq!(
            quickly(r#"{ "a" : "x\"\u00e4" ,"b":[{},[1,-0.5e+3,{"c":null}]],"d":true}"#).unwrap(),
            [("a", r#""x\"\u00e4""#), ("b", r#"[{},[1,-0.5e+3,{"c":null}]]"#), ("d", "true")]
        );
        assert_eq!(quickly("{}").unwrap(), []);
        assert!(
            quickly(&format!(r#"{{"a":{}1{}}}"#, "[".repeat(DEEPEST), "]".repeat(DEEPEST)))
                .is_some()
        );
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_other_way() {
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(DEEPEST + 1), "]".repeat(DEEPEST + 1));
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
            assert_eq!(quickly(json), None, "{json}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn it_agrees_with_the_other_way(json in r#"\{("[a-z\\"u0]{0,9}":(["0-9a-z\\.eE+\-\[\]\{\},: \n]{0,24}|"[^\\"]{0,20}"|\{"a":[0-9]{1,3}\}),?){0,4}\}"#) {
            prop_assert!(agrees(&json), "{json}");
        }

        #[test]
        fn one_changed_byte_makes_no_difference(at in 0_usize..300, byte in 0_u8..128) {
            let mut bytes = br#"{"source":"bot","ok":true,"n":-12.5e-3,"extra":{"a":[1,{"b":"\u00e9\n"},[],{}],"c":"some longer text, past eight bytes"},"z":null}"#.to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let json = String::from_utf8(bytes).unwrap();
            prop_assert!(agrees(&json), "{json}");
        }
    }
}
