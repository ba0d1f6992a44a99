//! Distinction of random strings from words.

/// Length from which letters and digits without a separator are taken for a random string.
const SOLID: usize = 16;
/// The same for letters alone, unless capitals divide them into words.
const SOLID_LETTERS: usize = 24;

/// Returns whether a token looks like a random string and not like words joined by separators or
/// capitals.
///
/// Random base62 changes between digits and letters, or from lower to upper case, at every second
/// byte, and hexadecimal digits do as often. Words do at their ends, if they do.
pub(crate) fn is_opaque(token: &[u8]) -> bool {
    if token.split(|byte| !byte.is_ascii_alphanumeric()).any(is_solid) {
        return true;
    }
    let count = token.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    let has_digit = token.iter().any(u8::is_ascii_digit);
    let changes = changes(token);
    changes >= 3 && changes * if has_digit { 8 } else { 4 } >= count
}

fn changes(token: &[u8]) -> usize {
    token.windows(2).filter(|pair| is_change(pair[0], pair[1])).count()
}

fn is_change(first: u8, second: u8) -> bool {
    let (letter, digit) = (u8::is_ascii_alphabetic, u8::is_ascii_digit);
    letter(&first) && digit(&second)
        || digit(&first) && letter(&second)
        || first.is_ascii_lowercase() && second.is_ascii_uppercase()
}

fn is_solid(part: &[u8]) -> bool {
    let letters = part.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let has_both = letters > 0 && letters < part.len();
    has_both && part.len() >= SOLID || letters >= SOLID_LETTERS && changes(part) <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_strings_are_opaque_and_words_are_not() {
        for opaque in [
            "abcdefghijklmnop1234",
            "3fa85f64-5717-4562-b3fc-2c963f66afa6",
            "Zq8-x2_Vb7K-m3pQ1",
            "abcdefghijklmnopqrstuvwxyz",
        ] {
            assert!(is_opaque(opaque.as_bytes()), "{opaque}");
        }
        for words in [
            "estimator-html-doc-link-fitted",
            "oauth2-client-credentials-v3",
            "YOUR_API_KEY_HERE_PLEASE",
            "internationalization-of-labels",
            "someCamelCaseIdentifierName",
            "container-id-1-step-03-run4",
            "",
        ] {
            assert!(!is_opaque(words.as_bytes()), "{words}");
        }
    }
}
