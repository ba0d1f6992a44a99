//! Text on standard output and standard error.
//!
//! What producers wrote is cleaned here before a person sees it, by
//! [`observer_figures::clean`]: a terminal must not obey it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use observer_figures::clean;

/// Writes text for people to standard output. A reader that closes the pipe early (`observer … |
/// head`) is not an error.
pub(super) fn print(text: &str) -> io::Result<()> {
    print_styled(&clean::text(text))
}

/// Writes JSON to standard output. On a terminal, control characters are escaped.
pub(super) fn print_json(json: &str) -> io::Result<()> {
    if io::stdout().is_terminal() { print_styled(&clean::json(json)) } else { print_styled(json) }
}

/// Writes other data to standard output. On a terminal, control characters are removed.
pub(super) fn print_data(data: &str) -> io::Result<()> {
    if io::stdout().is_terminal() { print(data) } else { print_styled(data) }
}

/// Writes JSON, or text for people, to standard output.
pub(super) fn print_as(is_json: bool, text: &str) -> io::Result<()> {
    if is_json { print_json(text) } else { print(text) }
}

/// Writes text to standard output whose parts are clean already, and which may have colours.
pub(super) fn print_styled(text: &str) -> io::Result<()> {
    match write_styled(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes text as [`print_styled`] does. A closed pipe is an error, so that a command without an end
/// can end.
pub(super) fn write_styled(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Writes a message to standard error. If that fails, nothing can be reported.
pub(super) fn print_error(message: &str) {
    let _ = writeln!(io::stderr(), "{}", clean::text(message));
}

/// Formats a table whose columns are as wide as their widest cell and two spaces apart. Each cell
/// becomes one clean line.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let headings = headings.map(str::to_owned);
    let clean = |row: &[String; N]| row.each_ref().map(|cell| clean::line(cell, usize::MAX));
    let rows: Vec<_> = rows.iter().map(clean).collect();
    let lines = || std::iter::once(&headings).chain(&rows);
    let widths: [usize; N] = std::array::from_fn(|column| {
        lines().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in lines() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Formats a number with its noun: `1 problem`, `2 problems`.
pub(super) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Removes the fraction of a second from an RFC 3339 time in UTC.
pub(super) fn truncate_to_seconds(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_a_table_control_no_terminal() {
        let rows = [
            ["\x1b]52;c;bm8=\x07a".to_owned(), "x".to_owned()],
            ["\u{202e}bc\nd".to_owned(), "\u{9b}2Jy".to_owned()],
        ];
        assert_eq!(table(["one", "two"], &rows), "one   two\na     x\nbc d  y\n");
    }
}
