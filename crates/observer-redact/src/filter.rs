//! Fast filter: does a JSON text need a closer look?
//!
//! One automaton finds the prefixes of all formats in the raw text, in which escapes may hide a
//! secret. So it finds escapes of the characters of prefixes and keys, too. Each prefix is decided
//! by its matcher; where an escape is within the bytes that the matcher read, the text needs the
//! closer look.

use aho_corasick::packed::{self, Searcher};
use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, Match, MatchKind, Span};

use crate::formats::{LOOKBACK, Shape, Verdict};
use crate::rule::RuleError;
use crate::text;

/// Longest escape sequence, in bytes.
const ESCAPE: usize = 6;

/// Escapes of ASCII characters, and those within `://`.
const ESCAPES: [&str; 3] = ["\\u00", ":\\/", ":/\\/"];

/// Number of bytes in which prefixes that share a pattern are the same.
const STEM: usize = crate::rule::MIN_PREFIX;

/// Format with its prefixes and the index of its rule.
#[derive(Debug)]
pub(crate) struct Format {
    pub(crate) prefixes: Vec<String>,
    pub(crate) shape: Shape,
    pub(crate) rule: usize,
}

/// Automaton over the prefixes of all formats.
#[derive(Debug)]
pub(crate) struct Prefixes {
    automaton: Automaton,
    /// For each pattern of the automaton, the formats with a prefix that starts there, each with
    /// its prefix.
    formats: Vec<Vec<(usize, String)>>,
    all: Vec<Format>,
}

/// Search for the first of several patterns.
#[derive(Debug)]
enum Automaton {
    /// Vector instructions, several times faster.
    Packed(Box<Searcher>),
    /// For processors without them, and for very many patterns.
    Table(AhoCorasick),
}

impl Automaton {
    fn new(patterns: &[&str]) -> Result<Self, RuleError> {
        let config = packed::Config::new().heuristic_pattern_limits(false).clone();
        if let Some(packed) = config.builder().extend(patterns).build() {
            return Ok(Self::Packed(Box::new(packed)));
        }
        AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .kind(Some(AhoCorasickKind::DFA))
            .build(patterns)
            .map(Self::Table)
            .map_err(|_| RuleError::TooLarge)
    }

    fn find(&self, text: &[u8], at: usize) -> Option<Match> {
        match self {
            Self::Packed(searcher) => searcher.find_in(text, Span::from(at..text.len())),
            Self::Table(automaton) => automaton.find(Input::new(text).range(at..)),
        }
    }
}

/// Secret that a format has, with the index of its rule.
pub(crate) struct Secret {
    pub(crate) range: std::ops::Range<usize>,
    pub(crate) rule: usize,
}

impl Prefixes {
    pub(crate) fn new(all: Vec<Format>) -> Result<Self, RuleError> {
        let mut prefixes: Vec<_> =
            all.iter().flat_map(|format| &format.prefixes).map(String::as_str).collect();
        prefixes.sort_unstable();
        // Fewer patterns are faster, unless they are too short.
        let stems = prefixes.chunk_by(|a, b| a.as_bytes()[..STEM] == b.as_bytes()[..STEM]);
        let mut patterns: Vec<_> = stems.map(common_start).collect();
        let formats = patterns
            .iter()
            .map(|pattern| {
                let with_prefix = all.iter().enumerate().flat_map(|(index, format)| {
                    format.prefixes.iter().map(move |prefix| (index, prefix.clone()))
                });
                with_prefix.filter(|(_, prefix)| prefix.starts_with(pattern)).collect()
            })
            .collect();
        patterns.extend(ESCAPES);
        Ok(Self { automaton: Automaton::new(&patterns)?, formats, all })
    }

    /// Returns `false` if there is no secret in a JSON text, nor a key with an escape that matters.
    pub(crate) fn may_match(&self, json: &str) -> bool {
        let (json, mut at) = (json.as_bytes(), 0);
        while let Some(found) = self.automaton.find(json, at) {
            let pattern = found.pattern().as_usize();
            let needs_look = match self.formats.get(pattern) {
                Some(formats) => formats.iter().any(|(format, prefix)| {
                    self.may_be_secret(*format, prefix, json, found.start())
                }),
                None if pattern == self.formats.len() => is_relevant_escape(json, found.start()),
                None => may_have_password(json, found.end()),
            };
            if needs_look {
                return true;
            }
            at = found.start() + 1;
        }
        false
    }

    fn may_be_secret(&self, format: usize, prefix: &str, json: &[u8], at: usize) -> bool {
        if !json[at..].starts_with(prefix.as_bytes()) {
            // The rest of the prefix may be escaped.
            let rest = &json[at..json.len().min(at + prefix.len())];
            let same = rest.iter().zip(prefix.as_bytes()).take_while(|(a, b)| a == b).count();
            return rest.get(same) == Some(&b'\\');
        }
        match self.all[format].shape.decide(json, at, prefix.len()) {
            Verdict::Secret(_) => true,
            Verdict::Other { end } => {
                let start = at.saturating_sub(LOOKBACK + ESCAPE);
                json[start..json.len().min(end)].contains(&b'\\')
            }
        }
    }

    /// Finds the secrets in a text without escapes, in their order and without overlaps.
    pub(crate) fn secrets(&self, text: &[u8], mut found: impl FnMut(Secret)) {
        let mut at = 0;
        while let Some(hit) = self.automaton.find(text, at) {
            at = hit.start() + 1;
            let Some(formats) = self.formats.get(hit.pattern().as_usize()) else { continue };
            if let Some(end) = crate::mark::end_of_mark_around(text, hit.start()) {
                at = end;
                continue;
            }
            let secret = formats
                .iter()
                .filter(|(_, prefix)| text[hit.start()..].starts_with(prefix.as_bytes()))
                .find_map(|(format, prefix)| {
                    let Format { shape, rule, .. } = self.all[*format];
                    match shape.decide(text, hit.start(), prefix.len()) {
                        Verdict::Secret(range) => Some(Secret { range, rule }),
                        Verdict::Other { .. } => None,
                    }
                });
            if let Some(secret) = secret {
                at = secret.range.end;
                found(secret);
            }
        }
    }
}

/// Returns the start that ASCII texts have in common.
fn common_start<'a>(texts: &[&'a str]) -> &'a str {
    let (first, last) = (texts[0], texts[texts.len() - 1]);
    let same = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
    &first[..same]
}

/// Returns whether an escape sequence stands for a character of a prefix or of a key.
fn is_relevant_escape(json: &[u8], at: usize) -> bool {
    text::unit(&json[at..]).is_some_and(|unit| {
        u8::try_from(unit).is_ok_and(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/' | b' ')
        })
    })
}

/// Returns whether a URL with escaped slashes may have a password. `at` is after one or two of its
/// slashes.
fn may_have_password(json: &[u8], at: usize) -> bool {
    let mut rest = json.get(at..).unwrap_or_default();
    rest = rest.strip_prefix(b"\\").unwrap_or(rest);
    rest = rest.strip_prefix(b"/").unwrap_or(rest);
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'\\' | b'"' | 0..=b' '));
    let (authority, after) = rest.split_at(end.unwrap_or(rest.len()));
    authority.contains(&b'@') || after.first() == Some(&b'\\') && !after.starts_with(b"\\/")
}
