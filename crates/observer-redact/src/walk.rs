//! Redaction of one JSON text.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use crate::mark;
use crate::redactor::Redactor;
use crate::rule::Action;
use crate::text::Text;

/// JSON text without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted<P> {
    /// The text.
    pub json: String,
    /// The secrets, in their order; at least one.
    pub found: Vec<Found<P>>,
}

/// Secret that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<P> {
    /// Name of the rule.
    pub rule: Arc<str>,
    /// Member of the outermost object that has the secret.
    pub place: P,
    /// Path of the string that has the secret, such as `extra.env[2].TOKEN`. Keys are as in the
    /// JSON text.
    pub path: Box<str>,
}

/// Longest key in a path, in characters.
const MAX_KEY: usize = 60;

/// Open object or array.
struct Level {
    is_object: bool,
    /// Range of the last key without its quotes; empty in an array.
    key: Range<usize>,
    /// Number of items before this one, in an array.
    index: usize,
    /// Rule of the last key.
    rule: Option<usize>,
    /// True after a key, so that the next string is its value.
    has_key: bool,
}

/// Text that takes the place of a range.
struct Cut {
    range: Range<usize>,
    replacement: String,
}

pub(crate) struct Redaction<'a, P, F> {
    redactor: &'a Redactor,
    json: &'a str,
    place_of: F,
    levels: Vec<Level>,
    place: Option<P>,
    cuts: Vec<Cut>,
    found: Vec<Found<P>>,
}

impl<'a, P: Copy, F: Fn(&[u8]) -> Option<P>> Redaction<'a, P, F> {
    pub(crate) fn new(redactor: &'a Redactor, json: &'a str, place_of: F) -> Self {
        let (levels, cuts, found) = (Vec::new(), Vec::new(), Vec::new());
        Self { redactor, json, place_of, levels, place: None, cuts, found }
    }

    pub(crate) fn run(mut self) -> Option<Redacted<P>> {
        let bytes = self.json.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => {
                    let end = end_of_string(bytes, at);
                    self.string(at..end);
                    at = end + 1;
                }
                b'{' | b'[' => {
                    let is_object = *byte == b'{';
                    let (key, index, rule) = (0..0, 0, None);
                    self.levels.push(Level { is_object, key, index, rule, has_key: false });
                }
                b'}' | b']' => {
                    self.levels.pop();
                }
                b',' => {
                    if let Some(level) = self.levels.last_mut() {
                        (level.has_key, level.index) = (false, level.index + 1);
                    }
                }
                _ => {}
            }
        }
        if self.cuts.is_empty() { None } else { Some(self.cut()) }
    }

    /// Reads a key or a value, whose range is without quotes.
    fn string(&mut self, range: Range<usize>) {
        let depth = self.levels.len();
        let Some(level) = self.levels.last_mut() else { return };
        if level.is_object && !level.has_key {
            let key = Text::unescaped(&self.json[range.clone()]);
            level.rule = self.redactor.keys().rule(key.bytes());
            (level.key, level.has_key) = (range, true);
            if depth == 1 {
                self.place = (self.place_of)(key.bytes());
            }
        } else if let Some(place) = self.place {
            let rule = level.rule;
            self.value(range, place, rule);
        }
    }

    fn value(&mut self, range: Range<usize>, place: P, key_rule: Option<usize>) {
        let redactor = self.redactor;
        let text = Text::unescaped(&self.json[range.clone()]);
        if let Some(rule) = key_rule {
            if !text.bytes().is_empty() && !mark::is_mark(text.bytes()) {
                let replacement = redactor.replacement(rule, text.bytes());
                self.cuts.push(Cut { range, replacement });
                self.report(rule, place);
            }
            return;
        }
        let before = self.cuts.len();
        let mut is_dropped = false;
        redactor.prefixes().secrets(text.bytes(), |secret| {
            is_dropped |= redactor.rule(secret.rule).action == Action::Drop;
            let replacement =
                redactor.replacement(secret.rule, &text.bytes()[secret.range.clone()]);
            let origin = text.origin(secret.range);
            let range = range.start + origin.start..range.start + origin.end;
            self.cuts.push(Cut { range, replacement });
            self.report(secret.rule, place);
        });
        if is_dropped {
            self.cuts.truncate(before);
            self.cuts.push(Cut { range, replacement: String::new() });
        }
    }

    fn report(&mut self, rule: usize, place: P) {
        let rule = Arc::clone(&self.redactor.rule(rule).name);
        let path = self.path().into_boxed_str();
        self.found.push(Found { rule, place, path });
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for level in &self.levels {
            if level.is_object {
                let separator = if path.is_empty() { "" } else { "." };
                let key = &self.json[level.key.clone()];
                let end = key.char_indices().nth(MAX_KEY).map_or(key.len(), |(end, _)| end);
                let ellipsis = if end < key.len() { "…" } else { "" };
                let _ = write!(path, "{separator}{}{ellipsis}", &key[..end]);
            } else {
                let _ = write!(path, "[{}]", level.index);
            }
        }
        path
    }

    /// Builds the text without the secrets.
    fn cut(self) -> Redacted<P> {
        let (mut json, mut copied) = (String::with_capacity(self.json.len()), 0);
        for Cut { range, replacement } in self.cuts {
            json.push_str(&self.json[copied..range.start]);
            json.push_str(&replacement);
            copied = range.end;
        }
        json.push_str(&self.json[copied..]);
        Redacted { json, found: self.found }
    }
}

/// Returns the index of the closing quote, for the index after the opening one.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}
