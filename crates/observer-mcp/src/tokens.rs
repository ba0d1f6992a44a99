//! Size of text in tokens of a model.
//!
//! Tokenizers differ, and their tables take megabytes. An estimate is enough to keep answers
//! short: it follows how byte-pair tokenizers split text, and exceeds the count of `o200k_base` for
//! prose and tables. Random letters have up to twice as many tokens as it says, which [`HARD_CAP`]
//! allows for.

/// Largest estimated size of an answer, unless the request has a limit of characters. Tables and
/// summaries have at most 300 tokens then.
pub(crate) const DEFAULT_CAP: usize = 350;
/// Largest estimated size of an answer. An answer of random letters has up to 2,000 tokens then.
pub(crate) const HARD_CAP: usize = 1_000;

/// Longest word in letters. What exceeds it is no language.
const MAX_WORD: usize = 12;

/// Class of characters that a tokenizer keeps together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Digit,
    Space,
    Punctuation,
    Other,
}

/// Returns about how many tokens a text has.
pub(crate) fn estimate(text: &str) -> usize {
    let mut tokens = 0;
    let mut run: Option<(Class, usize)> = None;
    for character in text.chars() {
        let class = class(character);
        match (&mut run, class) {
            // A word may begin with a capital.
            (Some((of @ Class::Upper, length @ 1)), Class::Lower) => {
                (*of, *length) = (Class::Lower, 2);
            }
            (Some((of, length)), _) if *of == class => *length += weight(character),
            (run, _) => {
                if let Some((of, length)) = run.replace((class, weight(character))) {
                    tokens += of_run(of, length, class);
                }
            }
        }
    }
    tokens + run.map_or(0, |(of, length)| of_run(of, length, Class::Other))
}

fn class(character: char) -> Class {
    match character {
        'a'..='z' => Class::Lower,
        'A'..='Z' => Class::Upper,
        '0'..='9' => Class::Digit,
        ' ' => Class::Space,
        _ if character.is_ascii() => Class::Punctuation,
        _ => Class::Other,
    }
}

/// Returns the length of a character: in bytes where each of these may be a token.
fn weight(character: char) -> usize {
    match character {
        '«' | '»' | '…' | '×' | '–' | '≥' | '·' => 1,
        _ => character.len_utf8(),
    }
}

/// Returns the number of tokens of a run of characters, given the class of what follows.
fn of_run(class: Class, length: usize, next: Class) -> usize {
    match class {
        Class::Digit => length.div_ceil(3),
        Class::Lower | Class::Upper => {
            length.min(MAX_WORD).div_ceil(3) + length.saturating_sub(MAX_WORD).div_ceil(2)
        }
        // The last space belongs to the word that follows.
        Class::Space if matches!(next, Class::Lower | Class::Upper) => usize::from(length > 1),
        Class::Space => 1,
        Class::Punctuation | Class::Other => length,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::tokens;

    #[test]
    fn estimate_counts_runs_of_a_class() {
        for (text, expected) in [
            ("", 0),
            ("a", 1),
            ("word", 2),
            ("The word", 3),
            ("1234,5", 4),
            ("03f203cc93b17365", 8),
            ("abcdefghijklmno", 6),
            ("  \n", 2),
            ("«é»", 4),
        ] {
            assert_eq!(estimate(text), expected, "{text:?}");
        }
    }

    #[test]
    fn estimate_exceeds_the_tokens_of_prose_and_tables() {
        for text in [
            "2 of 5 solved. gpt-5 failed 3×. claude-sonnet-4-5 solved it once for $1.12 on 21 Nov.",
            "sig,state,attempts\n03f203cc93b17365,broken,3\n9a1fd0e2c4b58877,failing,12\n",
            "0190a5b2-7c1e-7def-8a41-1f1fd2b3c4d5,3d,bot,tests_failed,false,gpt-5",
            r#"{"source":"bot","extra":{"usage":{"prompt_tokens":3975829}}}"#,
        ] {
            assert!(estimate(text) >= tokens(text), "{text}: {} {}", estimate(text), tokens(text));
        }
    }

    proptest! {
        #[test]
        fn random_text_has_at_most_twice_as_many_tokens(
            text in prop_oneof![
                "([a-z]{3} ){80}",
                "([a-z]{1,20} ){25}",
                "[a-z]{300}",
                "[a-zA-Z0-9+/]{300}",
                "[0-9a-f]{300}",
                "\\PC{100}",
            ],
        ) {
            let (estimated, counted) = (estimate(&text), tokens(&text));
            prop_assert!(counted <= 2 * estimated + 2, "{counted} of {estimated}: {text}");
        }
    }
}
