//! Names of sinks: `NAME`, or `NAME/PART` for one of several sinks of one configuration.
//!
//! The operator names a sink. If its configuration builds several sinks ([`SinkPart`]), each part
//! has a name too, and the pipeline uses both: the parts `logs` and `traces` of
//! `collector` are `collector/logs` and `collector/traces`. A sink of one part has the operator's
//! name alone. Positions, dead letters, metrics and URLs use the whole name.
//!
//! ```
//! use observer_core::sink_name;
//!
//! let name = sink_name::of_part("collector", Some("logs"));
//! assert_eq!(name, "collector/logs");
//! assert!(sink_name::belongs_to(&name, "collector"));
//! ```
//!
//! [`SinkPart`]: crate::SinkPart

/// Longest name, in bytes.
const MAX_LENGTH: usize = 128;

/// Returns the name of a part, given the operator's name of the sink.
#[must_use]
pub fn of_part(sink: &str, part: Option<&str>) -> String {
    part.map_or_else(|| sink.to_owned(), |part| format!("{sink}/{part}"))
}

/// Returns whether `name` is the name of `sink` or of one of its parts.
#[must_use]
pub fn belongs_to(name: &str, sink: &str) -> bool {
    name.strip_prefix(sink).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether a name can be that of a sink. Names become folders, so each part of one consists
/// of ASCII letters, digits, `-`, `_` and `.`, does not begin with a dot, and is not empty.
#[must_use]
pub fn is_valid(name: &str) -> bool {
    let is_valid_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    name.len() <= MAX_LENGTH && name.split('/').all(is_valid_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_belongs_to_its_sink_alone() {
        let logs = of_part("collector", Some("logs"));
        assert_eq!(logs, "collector/logs");
        assert_eq!(of_part("collector", None), "collector");
        for (name, sink, expected) in [
            ("collector", "collector", true),
            (&*logs, "collector", true),
            ("collector-2", "collector", false),
            ("collector-2/logs", "collector", false),
            ("collector", "collector/logs", false),
        ] {
            assert_eq!(belongs_to(name, sink), expected, "{name} of {sink}");
        }
    }

    #[test]
    fn valid_names_are_safe_path_components() {
        for name in ["archive", "collector/logs", "a-b_c.d/1"] {
            assert!(is_valid(name), "{name}");
        }
        let long = "x".repeat(MAX_LENGTH + 1);
        for name in ["", "/", "a/", "/a", "a//b", ".", "..", "a/../b", ".a", "a b", "ä", &long] {
            assert!(!is_valid(name), "{name}");
        }
    }
}
