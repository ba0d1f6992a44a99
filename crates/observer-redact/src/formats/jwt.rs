//! JSON Web Tokens in the compact serialisation (RFC 7515, section 7.1; RFC 7516, section 7.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Verdict;
use super::alphabet::{BASE64URL, run};
use super::token::is_start;

/// Longest encoded header that is decoded, in bytes.
const MAX_HEADER: usize = 8 << 10;

/// Decides on `eyJ`, the start of an encoded JSON object. A token has three parts, an encrypted one
/// five.
pub(super) fn decide(text: &[u8], at: usize) -> Verdict {
    if !is_start(text, at, &BASE64URL) {
        return Verdict::Other { end: at };
    }
    let header = run(text, at, &BASE64URL);
    if text.get(header) != Some(&b'.') || !is_header(&text[at..header]) {
        return Verdict::Other { end: header + 1 };
    }
    let (mut end, mut parts) = (header, 1);
    while parts < 5 && text.get(end) == Some(&b'.') {
        let next = run(text, end + 1, &BASE64URL);
        // The key of an encrypted token may be empty.
        if next == end + 1 && (parts != 1 || text.get(next) != Some(&b'.')) {
            break;
        }
        (end, parts) = (next, parts + 1);
    }
    if parts < 3 { Verdict::Other { end: end + 2 } } else { Verdict::Secret(at..end) }
}

/// Returns whether a part is a JSON object that names an algorithm.
fn is_header(part: &[u8]) -> bool {
    let decoded = (part.len() <= MAX_HEADER).then(|| URL_SAFE_NO_PAD.decode(part).ok()).flatten();
    decoded.is_some_and(|json| {
        json.ends_with(b"}") && json.windows(5).any(|bytes| bytes == b"\"alg\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    #[test]
    fn signed_and_encrypted_tokens_are_secrets() {
        let (header, claims) = (part(r#"{"alg":"HS256"}"#), part(r#"{"sub":"1"}"#));
        for token in [
            format!("{header}.{claims}.c2ln"),
            format!("{header}..aXY.Y2lwaGVy.dGFn"),
            format!("{header}.a2V5.aXY.Y2lwaGVy.dGFn"),
        ] {
            let text = format!("{token}. And more");
            assert_eq!(decide(text.as_bytes(), 0), Verdict::Secret(0..token.len()), "{text}");
        }
    }

    #[test]
    fn other_base64_is_no_token() {
        let header = part(r#"{"alg":"HS256"}"#);
        for other in [
            header.clone(),
            format!("{header}.Y2xhaW1z"),
            format!("{header}.Y2xhaW1z."),
            format!("{}.a.b", part(r#"{"name":"x"}"#)),
            "eyJ.a.b".to_owned(),
        ] {
            let verdict = decide(other.as_bytes(), 0);
            assert!(matches!(verdict, Verdict::Other { .. }), "{other}");
        }
    }
}
