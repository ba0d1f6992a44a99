//! Sets of bytes.

/// Set of bytes of which a token consists.
pub(crate) type Alphabet = [bool; 256];

/// Letters and digits.
pub(crate) static ALPHANUMERIC: Alphabet = alphanumeric_and(b"");
/// The alphabet of base64url (RFC 4648, section 5).
pub(crate) static BASE64URL: Alphabet = alphanumeric_and(b"-_");
/// Letters, digits and underscores.
pub(crate) static WORD: Alphabet = alphanumeric_and(b"_");
/// The alphabet of base64 (RFC 4648, section 4) with its padding.
pub(crate) static BASE64: Alphabet = alphanumeric_and(b"+/=");
/// Base64url and dots.
pub(crate) static DOTTED: Alphabet = alphanumeric_and(b"-_.");
/// Base64url and slashes.
pub(crate) static PATH: Alphabet = alphanumeric_and(b"-_/");
/// `b64token` of RFC 6750, section 2.1.
pub(crate) static BEARER: Alphabet = alphanumeric_and(b"-._~+/=");
/// Upper-case letters and digits.
pub(crate) static UPPER: Alphabet = {
    let mut alphabet = alphanumeric_and(b"");
    let mut byte = b'a';
    while byte <= b'z' {
        alphabet[byte as usize] = false;
        byte += 1;
    }
    alphabet
};
/// Hexadecimal digits in lower case.
pub(crate) static HEX: Alphabet = {
    let mut alphabet = [false; 256];
    let digits = b"0123456789abcdef";
    let mut index = 0;
    while index < digits.len() {
        alphabet[digits[index] as usize] = true;
        index += 1;
    }
    alphabet
};

const fn alphanumeric_and(others: &[u8]) -> Alphabet {
    let mut alphabet = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        alphabet[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        alphabet[others[index] as usize] = true;
        index += 1;
    }
    alphabet
}

/// Returns the end of the bytes of an alphabet from `at` on.
pub(crate) fn run(text: &[u8], at: usize, alphabet: &Alphabet) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| !alphabet[usize::from(*byte)]).unwrap_or(rest.len())
}
