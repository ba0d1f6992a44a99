//! Text on standard output.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use observer_figures::clean::is_invisible;

/// Writes to standard output; to a terminal, without the control characters that the text may have
/// from producers. A reader that closes the pipe early (`observer … | head`) is not an
/// error.
pub(super) fn print(text: &str) -> io::Result<()> {
    if io::stdout().is_terminal() { print_styled(&clean(text)) } else { print_styled(text) }
}

/// Writes text to standard output whose parts are clean already, and which may have colours.
pub(super) fn print_styled(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Removes characters that control a terminal, hide text, or change its direction.
pub(super) fn clean(text: &str) -> String {
    let is_shown = |c: &char| *c == '\n' || !(c.is_control() || is_invisible(*c));
    text.replace('\t', " ").chars().filter(is_shown).collect()
}

/// Formats a table whose columns are as wide as their widest cell and two spaces apart.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let headings = headings.map(str::to_owned);
    let lines = || std::iter::once(&headings).chain(rows);
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
    fn text_for_a_terminal_controls_nothing() {
        let text = "a\tb\n\x1b[31mred\x1b[0m\u{9b}2J\r\u{202e}x\u{200b}é\n";
        assert_eq!(clean(text), "a b\n[31mred[0m2Jxé\n");
    }
}
