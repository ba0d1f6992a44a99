//! The line of an error text that names the error.

use super::find::Found;

/// Lines that are examined.
const LINES: usize = 200;
/// Bytes of a line that are examined.
const LENGTH: usize = 1_024;

/// Words at which a line of a log is taken for that of the error, in lower case.
const SIGNS: [&str; 14] = [
    "error",
    "exception",
    "panic",
    "fatal",
    "failed",
    "failure",
    "fail:",
    "assert",
    "cannot",
    "unable to",
    "not found",
    "timed out",
    "denied",
    "refused",
];

/// Starts of lines that precede an error, in lower case.
const REMARKS: [&str; 5] = ["warning", "warn", "note", "info", "debug"];

/// Returns the line of `found` that names the error.
///
/// - In a Python traceback this is the line after the frames.
/// - A Rust panic has its message on the line after `panicked at`.
/// - In a log it is the first line with a word such as `error` or `failed`.
/// - Otherwise it is the first line that is neither empty nor a warning or remark.
pub(super) fn error_line(found: &Found) -> Option<String> {
    let lines: Vec<&str> = lines(&found.text).collect();
    if let Some(line) = after_traceback(&lines) {
        return Some(line.to_owned());
    }
    let sign = lines.iter().position(|line| found.is_log && is_error(line));
    let first = || lines.iter().position(|line| !is_remark(line));
    let at = sign.or_else(first).unwrap_or(0);
    let line = lines.get(at)?.trim();
    if line.contains("panicked at") && line.ends_with(':') {
        let message = lines.get(at + 1).map_or(line, |next| next.trim());
        return Some(format!("panicked: {message}"));
    }
    Some(line.to_owned())
}

/// Reports whether a line of `text` looks like that of an error.
pub(super) fn names_error(text: &str) -> bool {
    lines(text).any(is_error)
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take(LINES).filter(|line| !line.trim().is_empty())
}

/// Returns the first line after the frames of a Python traceback.
fn after_traceback<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let start = lines.iter().position(|line| line.trim().starts_with("Traceback (most recent"))?;
    let is_frame = |line: &&&str| line.starts_with([' ', '\t', '|']);
    lines[start + 1..].iter().find(|line| !is_frame(line)).map(|line| line.trim())
}

fn start(line: &str) -> String {
    line[..line.floor_char_boundary(LENGTH)].to_ascii_lowercase()
}

fn is_remark(line: &str) -> bool {
    let start = start(line);
    let word = start.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    REMARKS.iter().any(|remark| word.starts_with(remark))
}

/// Reports whether a line looks like that of an error. "0 errors" and "no error" don't.
fn is_error(line: &str) -> bool {
    let lower = start(line);
    SIGNS.iter().any(|sign| {
        lower.match_indices(sign).any(|(at, _)| {
            let before = lower[..at].trim_end();
            !["no", "0", "without"].iter().any(|word| ends_in_word(before, word))
        })
    })
}

fn ends_in_word(text: &str, word: &str) -> bool {
    text.strip_suffix(word).is_some_and(|rest| !rest.ends_with(char::is_alphanumeric))
}
