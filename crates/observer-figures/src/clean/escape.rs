//! Removal of terminal escape sequences (ECMA-48).

/// Characters of a text without escape sequences.
///
/// A sequence that does not end within its line, or within [`LIMIT`] characters, loses its
/// introducer alone: what follows is harmless text then, and no text is swallowed.
pub(super) struct Printable<'a> {
    rest: &'a str,
}

/// Longest sequence, in characters.
const LIMIT: usize = 4_096;

impl<'a> Printable<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }
}

impl Iterator for Printable<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            let first = self.rest.chars().next()?;
            self.rest = &self.rest[first.len_utf8()..];
            let sequence = match first {
                '\x1b' => escape(self.rest),
                '\u{9b}' => control(self.rest),
                '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => string(self.rest),
                _ => return Some(first),
            };
            self.rest = &self.rest[sequence..];
        }
    }
}

/// Returns the length of the sequence that follows an escape character.
fn escape(rest: &str) -> usize {
    let Some(first) = rest.chars().next() else { return 0 };
    match first {
        '[' => 1 + control(&rest[1..]),
        ']' | 'P' | 'X' | '^' | '_' => 1 + string(&rest[1..]),
        ' '..='/' => {
            let intermediate = rest.bytes().take_while(|byte| (b' '..=b'/').contains(byte)).count();
            intermediate + final_byte(&rest[intermediate..], b'0'..=b'~')
        }
        '0'..='~' => 1,
        _ => 0,
    }
}

/// Returns the length of a control sequence after its introducer: parameters, intermediate bytes
/// and a final byte.
fn control(rest: &str) -> usize {
    let length = rest.bytes().take(LIMIT).take_while(|byte| (b' '..=b'?').contains(byte)).count();
    match final_byte(&rest[length..], b'@'..=b'~') {
        0 => 0,
        last => length + last,
    }
}

/// Returns 1 if the first byte of `rest` is in `range`, else 0.
fn final_byte(rest: &str, range: std::ops::RangeInclusive<u8>) -> usize {
    rest.bytes().next().is_some_and(|byte| range.contains(&byte)).into()
}

/// Returns the length of a control string (a window title, a clipboard, a link) after its
/// introducer, with its end, or 0 if it has none.
fn string(rest: &str) -> usize {
    for (at, character) in rest.char_indices().take(LIMIT) {
        match character {
            '\x07' | '\u{9c}' => return at + character.len_utf8(),
            '\x1b' if rest[at + 1..].starts_with('\\') => return at + 2,
            // The next introducer: looking past it would make the work quadratic.
            '\x1b' | '\n' | '\r' | '\u{90}'..='\u{9f}' => return 0,
            _ => {}
        }
    }
    0
}
