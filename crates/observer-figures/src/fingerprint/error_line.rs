//! The line of an error text that names the error.

/// Lines that are examined.
const LINES: usize = 200;

/// Words at which a line is taken for that of the error, in lower case.
const SIGNS: [&str; 9] =
    ["error", "exception", "panic", "fatal", "failed", "failure", "cannot", "timed out", "denied"];

/// Returns the first line of `text` that names the error.
///
/// - In a Python traceback this is the line after the frames.
/// - A Rust panic has its message on the line after `panicked at`.
/// - Otherwise it is the first line with a word such as `error` or `failed`, else the first line
///   that is not empty.
///
/// ```
/// use observer_figures::fingerprint::error_line;
///
/// let traceback = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 'x'";
/// assert_eq!(error_line(traceback).as_deref(), Some("KeyError: 'x'"));
/// let panic = "thread 'main' panicked at src/main.rs:2:5:\nindex out of bounds";
/// assert_eq!(error_line(panic).as_deref(), Some("panicked: index out of bounds"));
/// assert_eq!(error_line("warning: unused\nerror: mismatched types").as_deref(),
///     Some("error: mismatched types"));
/// assert_eq!(error_line(" \n"), None);
/// ```
#[must_use]
pub fn error_line(text: &str) -> Option<String> {
    let lines = || text.lines().take(LINES).filter(|line| !line.trim().is_empty());
    let first = lines().next()?;
    if let Some(after) = lines().position(|line| line.trim_start().starts_with("Traceback (most"))
        && let Some(line) = lines().skip(after + 1).find(|line| !line.starts_with([' ', '\t', '|']))
    {
        return Some(line.trim().to_owned());
    }
    let at = lines().position(is_error).unwrap_or(0);
    let line = lines().nth(at).unwrap_or(first).trim();
    if line.contains("panicked at") && line.ends_with(':') {
        let message = lines().nth(at + 1).unwrap_or(line).trim();
        return Some(format!("panicked: {message}"));
    }
    Some(line.to_owned())
}

/// Reports whether a line looks like that of an error. "0 errors" and "no error" don't.
fn is_error(line: &str) -> bool {
    let lower = line.get(..line.floor_char_boundary(1_024)).unwrap_or(line).to_ascii_lowercase();
    SIGNS.iter().any(|sign| {
        lower.match_indices(sign).any(|(at, _)| {
            let before = lower[..at].trim_end();
            !["no", "0", "without"].iter().any(|word| ends_in_word(before, word))
        })
    })
}

fn ends_in_word(text: &str, word: &str) -> bool {
    text.strip_suffix(word).is_some_and(|rest| !rest.ends_with(|c: char| c.is_alphanumeric()))
}
