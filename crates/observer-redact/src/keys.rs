//! Names of keys whose values are secrets.
//!
//! Names are compared without case and without separators, so `api_key`, `apiKey`, `API-KEY` and
//! `Api Key` are one name, while `api_keys` is another.

use std::collections::HashMap;

/// Longest key that is compared, in bytes.
const MAX_LENGTH: usize = 48;

/// Number of separators in a key up to which it passes the filter.
const MAX_SEPARATORS: usize = 5;

/// Number of bits of the filter, a power of two.
const BITS: usize = 4096;

/// Filter of keys that may be names of secrets. It looks at the last three bytes and the length.
///
/// ```
/// use observer_redact::Redactor;
///
/// let redactor = Redactor::default();
/// assert!(redactor.key_filter().may_be_secret(b"api_key"));
/// assert!(!redactor.key_filter().may_be_secret(b"max_tokens"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFilter {
    bits: Box<[u64; BITS / 64]>,
}

impl KeyFilter {
    fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut bits = Box::new([0; BITS / 64]);
        for name in names {
            let Some(end) = name.as_bytes().last_chunk() else { continue };
            for separators in 0..=MAX_SEPARATORS {
                let bit = bit(*end, name.len() + separators);
                bits[bit / 64] |= 1 << (bit % 64);
            }
        }
        Self { bits }
    }

    /// Returns `false` if a key is not the name of a secret. Takes the bytes between the quotes; a
    /// key with escapes has to be unescaped first.
    #[inline]
    #[must_use]
    pub fn may_be_secret(&self, key: &[u8]) -> bool {
        let Some(end) = key.last_chunk() else { return false };
        let bit = bit(*end, key.len());
        self.bits[bit / 64] >> (bit % 64) & 1 == 1
    }
}

/// Returns the index of the bit of a key. Bit 5 distinguishes upper from lower case.
#[inline]
fn bit([a, b, c]: [u8; 3], length: usize) -> usize {
    let end = u32::from_le_bytes([a, b, c, 0]) | 0x20_2020;
    // Multiplicative hashing (Knuth, TAOCP volume 3, section 6.4).
    let hash = (end ^ (length as u32) << 24).wrapping_mul(0x9e37_79b1);
    (hash >> (32 - BITS.trailing_zeros())) as usize
}

/// Names of keys, each with the index of its rule.
#[derive(Debug)]
pub(crate) struct Keys {
    rules: HashMap<Box<str>, usize>,
    filter: KeyFilter,
}

impl Keys {
    /// Creates the set of [normalised](normalized) names. Of a repeated name the first one counts.
    pub(crate) fn new(names: impl Iterator<Item = (Box<str>, usize)>) -> Self {
        let mut rules = HashMap::new();
        for (name, rule) in names {
            rules.entry(name).or_insert(rule);
        }
        let filter = KeyFilter::new(rules.keys().map(|name| &**name));
        Self { rules, filter }
    }

    pub(crate) fn filter(&self) -> &KeyFilter {
        &self.filter
    }

    /// Returns the rule of an unescaped key.
    pub(crate) fn rule(&self, key: &[u8]) -> Option<usize> {
        if key.len() > MAX_LENGTH || !self.filter.may_be_secret(key) {
            return None;
        }
        let key = std::str::from_utf8(key).ok()?;
        self.rules.get(normalized(key).as_str()).copied()
    }
}

/// Returns a name in lower case, without separators.
pub(crate) fn normalized(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-' | '.' | ' '))
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// Returns why a name can't be that of a key, if it can't.
pub(crate) fn invalid(name: &str) -> Option<&'static str> {
    match normalized(name) {
        normal if normal.len() < 4 => Some("it needs at least four letters or digits"),
        normal if normal.len() + MAX_SEPARATORS > MAX_LENGTH => Some("it is too long"),
        normal if !normal.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Some("it may have ASCII letters, digits and separators only")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let names = ["apikey", "xapikey", "password", "authorization", "awssecretaccesskey"];
        Keys::new(names.into_iter().map(Box::from).zip(0..))
    }

    #[test]
    fn usual_spellings_of_a_name_are_the_same_key() {
        for (rule, spellings) in [
            (0, &["api_key", "apikey", "apiKey", "API-KEY", "Api Key", "API_KEY", "api.key"][..]),
            (1, &["x-api-key", "X-API-Key", "xApiKey"]),
            (2, &["password", "PASSWORD", "Password", "pass_word"]),
            (3, &["Authorization"]),
            (4, &["AWS_SECRET_ACCESS_KEY", "awsSecretAccessKey", "aws-secret-access-key"]),
        ] {
            for spelling in spellings {
                assert_eq!(keys().rule(spelling.as_bytes()), Some(rule), "{spelling}");
            }
        }
    }

    #[test]
    fn longer_and_similar_names_are_other_keys() {
        for other in [
            "api_keys",
            "passwords",
            "password_hint",
            "authorizations",
            "key",
            "",
            "sapikey",
            "a______p_i_key",
            "p\u{e4}ssword",
        ] {
            assert_eq!(keys().rule(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn filter_passes_few_of_the_keys_of_events() {
        let keys = keys();
        let passed = |name: &&str| keys.filter().may_be_secret(name.as_bytes());
        let others = [
            "usage",
            "input_tokens",
            "output_tokens",
            "cost_usd",
            "benchmark",
            "instance_id",
            "repo",
            "agent",
            "finished_at",
            "tool_calls",
            "model",
            "duration",
            "version",
            "session",
            "messages",
            "content",
            "role",
            "total_tokens",
            "cache_read_input_tokens",
            "region",
        ];
        assert!(others.iter().filter(|name| passed(name)).count() <= 1);
    }

    #[test]
    fn names_that_no_key_can_have_are_invalid() {
        assert!(["pwd", "", "a_b_c", "n\u{e4}me", "a/bcd"].iter().all(|n| invalid(n).is_some()));
        assert!(["employee_number", "X-Acme-Key"].iter().all(|n| invalid(n).is_none()));
    }
}
