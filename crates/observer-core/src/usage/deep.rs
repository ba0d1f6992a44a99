//! Tokens in objects that are too deep for the walk.

use super::names::{Context, Key, Meaning, Normalized, meaning};

/// Returns whether a JSON text has a member that is a count of tokens, at any depth.
///
/// The text is read once, and without its structure: as strings and what follows each of them.
pub(super) fn has_tokens(json: &str) -> bool {
    let mut pieces = json.split('"').peekable();
    while let Some(name) = pieces.next() {
        let Some(rest) = pieces.peek() else { return false };
        let Some(value) = rest.trim_start().strip_prefix(':') else { continue };
        let value = value.trim_start();
        if (value.is_empty() || value.starts_with(|first: char| matches!(first, '1'..='9')))
            && let Normalized::Key(key) = Key::of(name)
            && key.has_token
            && matches!(meaning(&key, Context::Plain), Some(Meaning::Count(_)))
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_tokens_are_found_at_any_depth() {
        for (json, expected) in [
            (r#"{"a":[{"b":{"prompt_tokens":7}}]}"#, true),
            (r#"{"a":{"outputTokens" : "7"}}"#, true),
            (r#"{"a":{"prompt_tokens":0,"output_tokens":null}}"#, false),
            (r#"{"a":{"max_tokens":100,"text":"prompt_tokens"}}"#, false),
            (r#"["prompt_tokens",7]"#, false),
            ("{}", false),
            ("", false),
        ] {
            assert_eq!(has_tokens(json), expected, "{json}");
        }
    }
}
