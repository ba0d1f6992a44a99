//! Producer text, made safe for terminals, Markdown and prompts. Everything that a producer wrote
//! and a program prints goes through here.
//!
//! - [`line()`] makes one line: no escape sequence, no control or invisible character, no
//!   direction override, at most so many characters. [`text`] keeps lines, [`log_line`] colours,
//!   and [`json`] everything, as escapes.
//! - [`quoted`] marks a line as data in a prompt, [`code`] in Markdown. Both take care that the
//!   text can't end its own quotation.
//! - [`is_name`] tells identifiers, which need no quotation, from text.

use std::borrow::Cow;
use std::fmt::Write;

mod escape;
mod invisible;
mod name;

pub use invisible::is_invisible;
pub use name::is_name;

/// Start of quoted producer text in a prompt.
pub const QUOTE_START: char = '«';
/// End of quoted producer text in a prompt.
pub const QUOTE_END: char = '»';

/// Returns `text` as one line of at most `max_chars` characters.
///
/// Escape sequences, control characters, invisible characters and direction overrides are removed;
/// white space, line ends included, becomes single spaces. A longer line ends in `…`. The work is
/// bounded by `max_chars`, except for what is removed.
///
/// ```
/// use observer_figures::clean::line;
///
/// assert_eq!(line("\x1b[31mred\x1b[0m\n\tand \u{202e}plain ", 80), "red and plain");
/// assert_eq!(line("\x1b]52;c;bm8=\x07copied", 80), "copied");
/// assert_eq!(line("0123456789", 5), "0123…");
/// ```
#[must_use]
pub fn line(text: &str, max_chars: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max_chars.saturating_mul(4)));
    let (mut length, mut gap) = (0, false);
    for character in escape::Printable::new(text) {
        if character.is_whitespace() || character.is_control() {
            gap = length > 0;
            continue;
        }
        if is_invisible(character) {
            continue;
        }
        for character in gap.then_some(' ').into_iter().chain([character]) {
            if length == max_chars {
                return ellipsis(out);
            }
            out.push(character);
            length += 1;
        }
        gap = false;
    }
    out
}

/// Returns `text` without escape sequences, control characters, invisible characters and direction
/// overrides. Line ends stay, and tabs become spaces.
///
/// ```
/// use observer_figures::clean::text;
///
/// assert_eq!(text("a\tb\n\x1b]52;c;bm8=\x07c\u{202e}\r\n"), "a b\nc\n");
/// ```
#[must_use]
pub fn text(text: &str) -> String {
    let shown = |character| match character {
        '\t' => Some(' '),
        '\n' => Some('\n'),
        _ if character.is_control() || is_invisible(character) => None,
        _ => Some(character),
    };
    escape::Printable::new(text).filter_map(shown).collect()
}

/// Returns a line of a log without what [`text`] removes, and with spaces in place of line ends
/// within it. Colours stay: the formatter of the log has escaped those of values.
///
/// ```
/// use observer_figures::clean::log_line;
///
/// assert_eq!(log_line("\x1b[2mINFO\x1b[0m a\nb\u{202e}\u{9b}2J\n"), "\x1b[2mINFO\x1b[0m a b\n");
/// ```
#[must_use]
pub fn log_line(line: &str) -> String {
    let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
    let mut out = String::with_capacity(line.len() + end.len());
    let mut rest = line;
    while let Some(at) = rest.find("\x1b[") {
        let (before, sequence) = rest.split_at(at);
        let parameters = |c: char| c.is_ascii_digit() || c == ';';
        let after = sequence[2..].trim_start_matches(parameters);
        out.push_str(&text(before).replace('\n', " "));
        rest = match after.strip_prefix('m') {
            Some(after) => {
                out.push_str(&sequence[..sequence.len() - after.len()]);
                after
            }
            None => &sequence[2..],
        };
    }
    out.push_str(&text(rest).replace('\n', " "));
    out.push_str(end);
    out
}

/// Returns a JSON text in which control and invisible characters are escaped (RFC 8259, section 7).
/// Line ends stay, which occur between values alone. The values are unchanged.
///
/// ```
/// use observer_figures::clean::json;
///
/// assert_eq!(json("{\"a\":\"\u{9b}é\u{202e}\"}\n"), "{\"a\":\"\\u009bé\\u202e\"}\n");
/// ```
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    let is_hidden =
        |c: char| (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || is_invisible(c);
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_hidden(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string can't fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// Replaces the last character by an ellipsis.
fn ellipsis(mut text: String) -> String {
    if text.pop().is_some() {
        text.truncate(text.trim_end().len());
        text.push('…');
    }
    text
}

/// Returns `text` cut to at most `max_chars` characters, with `…` as the last one if it was longer.
///
/// ```
/// use observer_figures::clean::truncated;
///
/// assert_eq!(truncated("naïve", 5), "naïve");
/// assert_eq!(truncated("naïve", 3), "na…");
/// ```
#[must_use]
pub fn truncated(text: &str, max_chars: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max_chars) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(ellipsis(text[..end].to_owned())),
    }
}

/// Returns `text` as one line of at most `max_chars` characters between `«` and `»`, which the text
/// itself can't contain.
///
/// ```
/// use observer_figures::clean::quoted;
///
/// assert_eq!(quoted("x» Obey:\n«y", 80), "«x> Obey: <y»");
/// ```
#[must_use]
pub fn quoted(text: &str, max_chars: usize) -> String {
    let inner = line(text, max_chars).replace(QUOTE_START, "<").replace(QUOTE_END, ">");
    format!("{QUOTE_START}{inner}{QUOTE_END}")
}

/// Returns `text` as a Markdown code span with one line of at most `max_chars` characters.
///
/// Nothing within a code span is a link, a mention or emphasis. Back-quotes become `'`, and `|`
/// becomes `¦`, so that the span also stays within the cell of a table.
///
/// ```
/// use observer_figures::clean::code;
///
/// assert_eq!(code("a `b` | <c>", 80), "`a 'b' ¦ <c>`");
/// assert_eq!(code("", 80), "` `");
/// ```
#[must_use]
pub fn code(text: &str, max_chars: usize) -> String {
    let inner = line(text, max_chars).replace('`', "'").replace('|', "¦");
    let inner = if inner.is_empty() { " " } else { &inner };
    format!("`{inner}`")
}

/// Where cleaned text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// A prompt: producer text stands between `«` and `»`.
    Prompt,
    /// Markdown: producer text stands in code spans.
    Markdown,
}

impl Style {
    /// Marks text as data: [`quoted`] or [`code`].
    #[must_use]
    pub fn quote(self, text: &str, max_chars: usize) -> String {
        match self {
            Self::Prompt => quoted(text, max_chars),
            Self::Markdown => code(text, max_chars),
        }
    }

    /// Returns an identifier as it is if it is one ([`is_name`]) and means nothing in this style;
    /// any other text is marked as data.
    ///
    /// ```
    /// use observer_figures::clean::Style;
    ///
    /// assert_eq!(Style::Prompt.label("tests_failed"), "tests_failed");
    /// assert_eq!(Style::Markdown.label("tests_failed"), "`tests_failed`");
    /// assert_eq!(Style::Prompt.label("Obey me"), "«Obey me»");
    /// ```
    #[must_use]
    pub fn label(self, text: &str) -> String {
        // Markdown makes emphasis of `_`, and links of addresses and mentions.
        let plain = match self {
            Self::Prompt => is_name(text),
            Self::Markdown => {
                is_name(text) && !text.contains(['_', '/', '@', '#', '+']) && !text.contains("www.")
            }
        };
        if plain { text.to_owned() } else { self.quote(text, name::LIMIT) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text with everything that must not get through.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("\x1b[31m".to_owned()),
            Just("\x1b]8;;http://example.org\x1b\\".to_owned()),
            Just("\u{9b}2J".to_owned()),
            Just("\x1b".to_owned()),
            Just("\u{202e}\u{2066}\u{200b}\u{e0041}\u{feff}".to_owned()),
            Just("«`|\r\n\u{2028}\0\u{7f}»".to_owned()),
            "[a-z ]{0,8}",
            any::<char>().prop_map(String::from),
        ];
        proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn lines_hold_no_sequences() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("  a \r\n\r\n b\t", "a b"),
            ("a\0b\u{7f}c", "a b c"),
            ("\u{9b}31mred", "red"),
            ("\u{9d}0;title\u{9c}x", "x"),
            ("\x1bPdata\x1b\\x", "x"),
            ("\x1b(Bx\x1bcy", "xy"),
            ("\x1b]0;never ended", "0;never ended"),
            ("\x1b[31", "31"),
            ("\x1b[3\nx", "3 x"),
            ("a\u{200b}\u{ad}b\u{e0100}", "ab"),
            ("\u{202e}gpj.exe", "gpj.exe"),
            ("naïve 日本 🦀", "naïve 日本 🦀"),
        ] {
            assert_eq!(line(text, 80), expected, "{text:?}");
        }
    }

    #[test]
    fn many_unfinished_sequences_leave_the_text() {
        for introducer in ["\u{9d}", "\x1b]", "\u{9b}1;", "\x1b[ ", "\x1b  "] {
            let text = introducer.repeat(20_000) + "\nend";
            assert!(line(&text, 1_000_000).ends_with("end"), "{introducer:?}");
        }
    }

    #[test]
    fn long_lines_end_in_an_ellipsis() {
        for (text, limit, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("ab  \n", 2, "ab"),
            ("a bc", 3, "a…"),
            ("äöü", 2, "ä…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(line(text, limit), expected, "{text:?} {limit}");
        }
    }

    #[test]
    fn log_lines_keep_colours_alone() {
        for (text, expected) in [
            ("plain\n", "plain\n"),
            ("\x1b[1;32mok\x1b[0m", "\x1b[1;32mok\x1b[0m"),
            ("\x1b[2Jx", "2Jx"),
            ("\x1b]52;c;bm8=\x07x\n", "x\n"),
            ("a\nb\r\n", "a b\n"),
            ("\x1b[", ""),
            ("", ""),
        ] {
            assert_eq!(log_line(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn lines_are_printable_and_bounded(text in hostile(), limit in 0..40_usize) {
            let line = line(&text, limit);
            prop_assert!(line.chars().count() <= limit);
            prop_assert!(!line.chars().any(|c| c.is_control() || is_invisible(c)));
            prop_assert!(!line.contains("  ") && line.trim() == line);
        }

        #[test]
        fn texts_and_log_lines_are_printable(hostile in hostile()) {
            let is_shown = |c: char| c == '\n' || !(c.is_control() || is_invisible(c));
            prop_assert!(text(&hostile).chars().all(is_shown));
            let line = log_line(&hostile);
            prop_assert!(line.chars().all(|c| c == '\x1b' || is_shown(c)));
            prop_assert!(!line.trim_end_matches('\n').contains('\n'));
        }

        #[test]
        fn escaped_json_has_the_same_values(hostile in hostile()) {
            let encoded = serde_json::to_string(&hostile).unwrap();
            let escaped = json(&encoded);
            prop_assert!(!escaped.chars().any(|c| c.is_control() || is_invisible(c)));
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), hostile);
        }

        #[test]
        fn cleaning_twice_changes_nothing(text in hostile(), limit in 0..40_usize) {
            let once = line(&text, limit);
            prop_assert_eq!(&line(&once, limit), &once);
        }

        #[test]
        fn quotations_end_where_they_should(text in hostile(), limit in 0..40_usize) {
            let quoted = quoted(&text, limit);
            prop_assert_eq!(quoted.matches([QUOTE_START, QUOTE_END]).count(), 2);
            prop_assert!(quoted.starts_with(QUOTE_START) && quoted.ends_with(QUOTE_END));
            let code = code(&text, limit);
            prop_assert_eq!(code.matches('`').count(), 2);
            prop_assert!(!code.contains('|'));
        }
    }
}
