//! Suggestions for unknown names.

/// Number of characters for which one edit is tolerated.
const CHARS_PER_EDIT: usize = 3;

/// Minimum length of a prefix that matches a name, in bytes.
const MIN_PREFIX: usize = 3;

/// Returns the known name that is nearest to `name`, if it is similar enough.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let edits =
        |other: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase());
    let is_prefix = |other: &str| name.len() >= MIN_PREFIX && other.starts_with(name);
    let is_near = |other: &str, edits: usize| {
        let length = name.chars().count().max(other.chars().count());
        edits <= (length / CHARS_PER_EDIT).max(1) || is_prefix(other)
    };
    let candidates = known
        .iter()
        .map(|other| (edits(other), *other))
        .filter(|(edits, other)| is_near(other, *edits));
    candidates.min_by_key(|(edits, _)| *edits).map(|(_, other)| other)
}

/// Returns the text after `unknown …;`: the nearest known name, or all of them. `what` names them
/// in the plural, such as `known keys`.
#[must_use]
pub fn hint(name: &str, known: &[&str], what: &str) -> String {
    match nearest(name, known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => format!("there are no {what}"),
        None => format!("{what}: {}", list(known)),
    }
}

/// Formats names as `a`, `b`.
fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Option<&str>) {
        assert_eq!(nearest(name, &["listen", "max_body", "body_timeout"]), expected, "{name}");
    }

    #[test]
    fn misspelt_name_suggests_the_nearest_one() {
        check("listn", Some("listen"));
        check("Listen", Some("listen"));
        check("max-body", Some("max_body"));
        check("body", Some("body_timeout"));
        check("colour", None);
        assert_eq!(hint("colour", &["a", "b"], "known keys"), "known keys: `a`, `b`");
        assert_eq!(hint("colour", &[], "known keys"), "there are no known keys");
    }
}
