//! Order of versions.

use std::cmp::Ordering;

use super::scopes::hash;

/// Versions whose order of appearance is kept; the oldest gives way.
pub(super) const LIMIT: usize = 32;
/// Numbers of a version that are compared.
pub(super) const PARTS: usize = 6;

/// A version as far as it has to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) hash: u64,
    /// Numbers of a version that consists of them; empty for others.
    pub(super) parts: Vec<u64>,
}

impl Version {
    pub(super) fn new(text: &str) -> Self {
        Self { hash: hash(text.bytes()), parts: parts(text).unwrap_or_default() }
    }
}

/// Returns the numbers of `1.10.2`, `v2` or `2026-11-27`, and `None` for any other text.
fn parts(text: &str) -> Option<Vec<u64>> {
    let numbers = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let separator = if numbers.contains('.') { '.' } else { '-' };
    let mut parts = Vec::new();
    for number in numbers.split(separator) {
        let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || parts.len() == PARTS {
            return None;
        }
        parts.push(number.parse().ok()?);
    }
    Some(parts)
}

/// Versions in the order of their first appearance by event time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) hashes: Vec<u64>,
}

impl Seen {
    pub(super) fn note(&mut self, version: &Version) {
        if self.hashes.contains(&version.hash) {
            return;
        }
        if self.hashes.len() == LIMIT {
            self.hashes.remove(0);
        }
        self.hashes.push(version.hash);
    }

    /// Reports whether `version` is older than `other`.
    pub(super) fn is_older(&self, version: &Version, other: &Version) -> bool {
        if !version.parts.is_empty() && !other.parts.is_empty() {
            return compare(&version.parts, &other.parts) == Ordering::Less;
        }
        // One that gave way appeared before all that are kept.
        let appeared = |version: &Version| self.hashes.iter().position(|&h| h == version.hash);
        appeared(version) < appeared(other)
    }
}

/// Compares versions by number, with 0 for what one of them lacks.
fn compare(a: &[u64], b: &[u64]) -> Ordering {
    let at = |parts: &[u64], index| parts.get(index).copied().unwrap_or(0);
    let pairs = (0..a.len().max(b.len())).map(|index| at(a, index).cmp(&at(b, index)));
    pairs.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_versions_are_compared_by_number() {
        for (older, newer) in
            [("1.9.3", "1.10"), ("v1", "v2.0"), ("2026-09-30", "2026-11-27"), ("0.9", "v1.0.0")]
        {
            let seen = Seen::default();
            let (older, newer) = (Version::new(older), Version::new(newer));
            assert!(seen.is_older(&older, &newer), "{older:?} {newer:?}");
            assert!(!seen.is_older(&newer, &older));
        }
        let seen = Seen::default();
        assert!(!seen.is_older(&Version::new("1.0"), &Version::new("v1")));
    }

    #[test]
    fn other_versions_are_compared_by_appearance() {
        let mut seen = Seen::default();
        let [first, second] = ["f00dcafe", "0badc0de"].map(Version::new);
        seen.note(&first);
        seen.note(&second);
        seen.note(&first);
        assert!(seen.is_older(&first, &second) && !seen.is_older(&second, &first));
        assert!(!seen.is_older(&first, &first));
    }

    #[test]
    fn text_that_is_no_number_has_no_parts() {
        for text in ["", "1..2", "1.2-rc1", "main", "1.2.3.4.5.6.7", "99999999999999999999", "-1"] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
