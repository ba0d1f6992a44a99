//! Removal of what differs from run to run.

use crate::clean;

/// Characters of a line that count.
const LIMIT: usize = 400;
/// Hexadecimal digits from which a run of them is an identifier.
const HEX: usize = 7;
/// Length from which a word of letters and digits in alternation is an identifier.
const MIXED: usize = 10;

/// Returns a clean line with `<path>` for paths and addresses, `<id>` for identifiers and
/// hexadecimal digits, and `#` for numbers.
///
/// ```
/// use observer_figures::fingerprint::normalized;
///
/// assert_eq!(
///     normalized("/src/a.rs:12:5: job 3f2504e0-4f89-11d3-9a0c-0305e82c3301 took 1.5 s at 0xdeadbeef"),
///     "<path>: job <id> took # s at <id>",
/// );
/// ```
#[must_use]
pub fn normalized(line: &str) -> String {
    let line = clean::line(line, LIMIT);
    let mut out = String::with_capacity(line.len());
    for token in line.split(' ') {
        if !out.is_empty() {
            out.push(' ');
        }
        // Brackets and quotes around a path, and the colon or comma after it, are no part of it.
        let start = token.find(|c: char| !OPENING.contains(c)).unwrap_or(token.len());
        let end = token.trim_end_matches(|c: char| CLOSING.contains(c)).len().max(start);
        out.push_str(&token[..start]);
        if is_path(&token[start..end]) {
            out.push_str("<path>");
        } else {
            words(&token[start..end], &mut out);
        }
        out.push_str(&token[end..]);
    }
    out
}

const OPENING: &str = "([{<\"'`";
const CLOSING: &str = ")]}>\"'`:,;.!?";

/// Reports whether a token is a path or an address: absolute, relative to a folder, or of several
/// parts.
fn is_path(token: &str) -> bool {
    let bytes = token.as_bytes();
    let drive = bytes.len() > 2
        && bytes[0].is_ascii_alphabetic()
        && bytes[1] == b':'
        && matches!(bytes[2], b'\\' | b'/');
    let parts = token.split(['/', '\\']).count();
    let last = token.rsplit(['/', '\\']).next().unwrap_or(token);
    drive
        || token.contains("://")
        || ["/", "./", "../", "~/", "\\\\"].iter().any(|start| token.starts_with(start))
        || parts > 2
        || parts == 2 && last.contains('.')
}

/// Appends a token with its identifiers and numbers replaced.
fn words(token: &str, out: &mut String) {
    // A sign belongs to its number.
    let number = token.trim_start_matches(['-', '+']);
    let mut rest = if number.starts_with(|c: char| c.is_ascii_digit()) { number } else { token };
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let length = if let Some(length) = uuid(rest) {
            out.push_str("<id>");
            length
        } else if is_identifier(&rest[..word]) {
            out.push_str("<id>");
            word
        } else if first.is_ascii_digit() {
            out.push('#');
            number_length(rest)
        } else {
            out.push(first);
            first.len_utf8()
        };
        // A word is examined whole: the rest of it is letters and numbers.
        let (done, after) = rest[length..].split_at(word.saturating_sub(length));
        letters(done, out);
        rest = after;
    }
}

/// Returns the length of a number with its separators: `1,232.5`, `12:05:30`.
fn number_length(text: &str) -> usize {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut length = digits(text);
    while text[length..].starts_with(['.', ',', ':']) && digits(&text[length + 1..]) > 0 {
        length += 1 + digits(&text[length + 1..]);
    }
    length
}

/// Appends the rest of a word with each run of digits replaced by `#`.
fn letters(word: &str, out: &mut String) {
    for character in word.chars() {
        match character {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            other => out.push(other),
        }
    }
}

/// Returns the length of a UUID at the start of `text`.
fn uuid(text: &str) -> Option<usize> {
    let candidate = text.as_bytes().get(..36)?;
    let well_formed = candidate.iter().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    let ends = !text.as_bytes().get(36).is_some_and(u8::is_ascii_alphanumeric);
    (well_formed && ends).then_some(36)
}

fn is_identifier(word: &str) -> bool {
    let bytes = word.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    if let Some(hex) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        return !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    let is_hex = bytes.iter().all(u8::is_ascii_hexdigit);
    if is_hex && bytes.len() >= HEX && digits > 0 && digits < bytes.len() {
        return true;
    }
    let changes = bytes.windows(2).filter(|w| w[0].is_ascii_digit() != w[1].is_ascii_digit());
    bytes.len() >= MIXED && digits >= 2 && changes.count() >= 3
}
