//! What someone may have meant by a name that isn't known.

/// Names may differ by a third of their letters.
const LETTERS_PER_SLIP: usize = 3;

/// A beginning of a name may stand for it from this many letters on.
const SHORTEST_BEGINNING: usize = 3;

/// The known name that is nearest to `name`, if one is near enough to be worth a question.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let slips =
        |other: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase());
    let begins = |other: &str| name.len() >= SHORTEST_BEGINNING && other.starts_with(name);
    let is_near = |other: &str, slips: usize| {
        let length = name.chars().count().max(other.chars().count());
        slips <= (length / LETTERS_PER_SLIP).max(1) || begins(other)
    };
    let candidates = known
        .iter()
        .map(|other| (slips(other), *other))
        .filter(|(slips, other)| is_near(other, *slips));
    candidates.min_by_key(|(slips, _)| *slips).map(|(_, other)| other)
}

/// What to say after `unknown …`: the nearest of the known names, or all of them.
pub(crate) fn hint(name: &str, known: &[&str], what: &str) -> String {
    match nearest(name, known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => format!("there are no {what}"),
        None => format!("{what}: {}", list(known)),
    }
}

/// `a`, `b`, each in backquotes.
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
    fn a_slip_is_answered_with_the_name_that_was_meant() {
        check("listn", Some("listen"));
        check("Listen", Some("listen"));
        check("max-body", Some("max_body"));
        check("body", Some("body_timeout"));
        check("colour", None);
        assert_eq!(hint("colour", &["a", "b"], "known keys"), "known keys: `a`, `b`");
        assert_eq!(hint("colour", &[], "known keys"), "there are no known keys");
    }
}
