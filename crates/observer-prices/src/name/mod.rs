//! Names of models: their spelling, the forms derived from a name, and patterns.
//!
//! Producers name one model in many ways: `claude-sonnet-4-5-20250929`, `claude-sonnet-4.5`,
//! `anthropic/claude-sonnet-4.5`, `openrouter/anthropic/claude-sonnet-4.5:nitro`.

mod derive;
mod pattern;

use std::borrow::Cow;

pub(crate) use derive::{derived, is_free};
pub(crate) use pattern::Pattern;

/// Length in bytes of the longest name that can have a price. Producers may send anything.
pub(crate) const MAX_LEN: usize = 256;

/// Returns a name in the spelling in which names are compared: lower case, without white space
/// around it, and with a hyphen instead of `@` and instead of a point between digits.
pub(crate) fn spelling(name: &str) -> Cow<'_, str> {
    let name = name.trim();
    let bytes = name.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let is_replaced = |at: usize| match bytes[at] {
        b'@' => true,
        b'.' => at > 0 && is_digit(at - 1) && is_digit(at + 1),
        _ => false,
    };
    if !(0..bytes.len()).any(|at| is_replaced(at) || bytes[at].is_ascii_uppercase()) {
        return Cow::Borrowed(name);
    }
    let spelled = name
        .char_indices()
        .map(|(at, c)| if is_replaced(at) { '-' } else { c.to_ascii_lowercase() });
    Cow::Owned(spelled.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_ignores_case_and_the_separators_of_versions() {
        for (name, expected) in [
            ("gpt-5", "gpt-5"),
            (" GPT-5\n", "gpt-5"),
            ("Claude-Sonnet-4.5", "claude-sonnet-4-5"),
            ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5-20250929"),
            ("us.anthropic.claude-opus-4-6-v1:0", "us.anthropic.claude-opus-4-6-v1:0"),
            ("qwen2.5-coder.v1", "qwen2-5-coder.v1"),
            ("gpt-oss:120b", "gpt-oss:120b"),
            (".5", ".5"),
            ("5.", "5."),
            ("modèle-1.5", "modèle-1-5"),
            ("", ""),
        ] {
            assert_eq!(spelling(name), expected, "{name:?}");
            assert_eq!(spelling(expected), expected, "{name:?}");
        }
    }
}
