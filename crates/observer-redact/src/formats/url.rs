//! Passwords in URLs (RFC 3986, section 3.2.1).

use super::Verdict;

/// Longest authority that is searched for a password, in bytes.
const MAX_AUTHORITY: usize = 1024;

/// Decides on `://`, or the same with escaped slashes. The secret is the password between user and
/// host.
pub(super) fn decide(text: &[u8], at: usize, prefix: usize) -> Verdict {
    let start = at + prefix;
    let has_scheme = at > 0 && text[at - 1].is_ascii_alphanumeric();
    if !has_scheme {
        return Verdict::Other { end: start };
    }
    let authority = &text[start..text.len().min(start + MAX_AUTHORITY)];
    let end = authority.iter().position(|byte| is_end(*byte)).unwrap_or(authority.len());
    let other = Verdict::Other { end: start + end + 1 };
    let authority = &authority[..end];
    let Some(host) = authority.iter().rposition(|byte| *byte == b'@') else { return other };
    let user = &authority[..host];
    let Some(colon) = user.iter().position(|byte| *byte == b':') else { return other };
    if is_placeholder(&user[colon + 1..]) {
        return other;
    }
    Verdict::Secret(start + colon + 1..start + host)
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'/' | b'?' | b'#' | b'"' | b'<' | b'>' | b'`' | b'\\' | 0..=b' ')
}

/// Returns whether a password is left out or stands for another one.
fn is_placeholder(password: &[u8]) -> bool {
    matches!(password, [] | [b'$' | b'{' | b'[' | b'%', ..])
        && !matches!(password, [b'%', digit, ..] if digit.is_ascii_hexdigit())
        || password.iter().all(|byte| matches!(byte, b'*' | b'.' | b'x' | b'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Option<&str> {
        let prefix = if text.contains("://") { "://" } else { r":\/\/" };
        match decide(text.as_bytes(), text.find(prefix).unwrap(), prefix.len()) {
            Verdict::Secret(range) => Some(&text[range]),
            Verdict::Other { .. } => None,
        }
    }

    #[test]
    fn password_is_between_user_and_host() {
        for (url, expected) in [
            ("postgres://app:hunter2@db:5432/x", Some("hunter2")),
            ("redis://:s3cr3t@cache", Some("s3cr3t")),
            ("amqp://u:p%40ss@h", Some("p%40ss")),
            ("http://u:%40p@h/", Some("%40p")),
            ("https://u:a@b@h/", Some("a@b")),
            ("https://example.com:8080/a@b", None),
            ("https://example.com/a:b@c", None),
            ("ssh://git@example.com/r", None),
            ("https://u:@h", None),
            ("https://u:***@h", None),
            ("https://u:${PASSWORD}@h", None),
            ("https://u:[redacted:url]@h", None),
            ("http://h:80 a@b", None),
            ("://a:b@c", None),
            (r"see https:\/\/u:hunter2@h\/x", Some("hunter2")),
            (r"https:\/\/example.com\/a:b@c", None),
        ] {
            assert_eq!(password(url), expected, "{url}");
        }
    }
}
