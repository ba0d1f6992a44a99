//! Patterns of names, in which `*` stands for any characters.

/// Pattern of names in their [spelling](super::spelling).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pattern {
    /// Parts between the asterisks; at least two.
    parts: Vec<String>,
}

impl Pattern {
    /// Parses a pattern. Returns `None` for a name without an asterisk.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let parts: Vec<_> = name.split('*').map(str::to_owned).collect();
        (parts.len() > 1).then_some(Self { parts })
    }

    /// Returns the number of bytes that are no asterisks.
    pub(crate) fn specificity(&self) -> usize {
        self.parts.iter().map(String::len).sum()
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = self.parts.as_slice() else { return false };
        let Some(rest) = name.strip_prefix(first.as_str()) else { return false };
        let Some(mut rest) = rest.strip_suffix(last.as_str()) else { return false };
        // The leftmost occurrence leaves the most for the parts that follow.
        for part in middle {
            let Some(at) = rest.find(part.as_str()) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn asterisk_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "a", true),
            ("gpt-5*", "gpt-5", true),
            ("gpt-5*", "gpt-5-mini", true),
            ("gpt-5*", "gpt-4", false),
            ("*/gpt-5", "a/b/gpt-5", true),
            ("*/gpt-5", "gpt-5", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "axbxc", true),
            ("a*b*c", "acb", false),
            ("a*bc*c", "abc", false),
            ("*a*a*", "aa", true),
            ("*a*a*", "ba", false),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().matches(name),
                expected,
                "{pattern} {name}"
            );
        }
        assert_eq!(Pattern::parse("gpt-5"), None);
    }

    /// Matches by trying every length for each asterisk.
    fn matches_naively(pattern: &str, name: &str) -> bool {
        match pattern.chars().next() {
            None => name.is_empty(),
            Some('*') => (0..=name.len()).any(|at| matches_naively(&pattern[1..], &name[at..])),
            Some(c) => {
                name.strip_prefix(c).is_some_and(|rest| matches_naively(&pattern[1..], rest))
            }
        }
    }

    proptest! {
        #[test]
        fn matching_equals_that_by_exhaustive_search(pattern in "[ab*]{0,8}", name in "[ab]{0,8}") {
            let expected = matches_naively(&pattern, &name);
            let found = Pattern::parse(&pattern).map_or(pattern == name, |p| p.matches(&name));
            prop_assert_eq!(found, expected);
        }
    }
}
