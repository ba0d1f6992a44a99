//! Private keys in PEM (RFC 7468, section 10; RFC 4880, section 6.2).

use std::ops::Range;

use super::Verdict;

/// Longest label of a key, in bytes.
const MAX_LABEL: usize = 48;

/// Decides on `-----BEGIN `. A key without an end goes on to the end of the text.
pub(super) fn decide(text: &[u8], at: usize, prefix: usize) -> Verdict {
    let start = at + prefix;
    let label = &text[start..text.len().min(start + MAX_LABEL)];
    let end = label
        .iter()
        .position(|byte| !matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b' '))
        .unwrap_or(label.len());
    let (label, rest) = label.split_at(end);
    let is_key = label.ends_with(b"PRIVATE KEY") || label.ends_with(b"PRIVATE KEY BLOCK");
    if !is_key || !rest.starts_with(b"---") {
        return Verdict::Other { end: start + end + 3 };
    }
    let body = start + end;
    let secret_end = find(text, body..text.len(), b"-----END ")
        .and_then(|end| find(text, end + 9..text.len().min(end + 9 + MAX_LABEL + 5), b"-----"))
        .map_or(text.len(), |dashes| dashes + 5);
    Verdict::Secret(at..secret_end)
}

fn find(text: &[u8], range: Range<usize>, needle: &[u8]) -> Option<usize> {
    let start = range.start;
    text.get(range)?.windows(needle.len()).position(|bytes| bytes == needle).map(|at| start + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide_at_start(text: &str) -> Verdict {
        decide(text.as_bytes(), 0, "-----BEGIN ".len())
    }

    #[test]
    fn private_key_ends_with_its_last_line_or_the_text() {
        for label in ["PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"] {
            let key = format!("-----BEGIN {label}-----\nMIIB\n-----END {label}-----");
            let all = Verdict::Secret(0..key.len());
            assert_eq!(decide_at_start(&format!("{key}\nand more")), all, "{label}");
        }
        let cut = "-----BEGIN PRIVATE KEY-----\nMIIB";
        assert_eq!(decide_at_start(cut), Verdict::Secret(0..cut.len()));
    }

    #[test]
    fn public_keys_and_certificates_are_no_secrets() {
        for label in ["PUBLIC KEY", "CERTIFICATE", "PRIVATE KEYS", "private key", ""] {
            let text = format!("-----BEGIN {label}-----\nMIIB\n-----END {label}-----");
            assert!(matches!(decide_at_start(&text), Verdict::Other { .. }), "{label}");
        }
    }
}
