//! Rules as a configuration gives them, and the errors in them.

use crate::built_in;
use crate::formats::Shape;
use crate::formats::alphabet::BASE64URL;
use crate::formats::token::Token;
use crate::keys;

/// Longest name of a rule, in bytes.
pub(crate) const MAX_NAME: usize = 32;

/// Shortest prefix of a secret, in bytes.
pub(crate) const MIN_PREFIX: usize = 3;

/// Reaction to a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// Replaces the secret by `[redacted:RULE]`.
    #[default]
    Mask,
    /// Replaces the secret by `[redacted:RULE:HASH]`. The hash is the start of the HMAC-SHA-256 of
    /// the secret, so equal secrets have equal hashes.
    Hash,
    /// Empties the string that contains the secret.
    Drop,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 3] = [Self::Mask, Self::Hash, Self::Drop];

    /// Returns the name of the action in a configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mask => "mask",
            Self::Hash => "hash",
            Self::Drop => "drop",
        }
    }
}

/// Change of a built-in rule, or a rule of one's own.
///
/// ```
/// use observer_redact::{Action, Redactor, Rule};
///
/// let rule = Rule {
///     keys: vec!["employee_number".into()],
///     prefixes: vec!["acme_".into()],
///     action: Some(Action::Drop),
///     ..Rule::default()
/// };
/// let redactor = Redactor::builder().rule("acme", rule).build()?;
/// let json = r#"{"log":"acme_0123456789abcdef","employeeNumber":"4711"}"#;
/// let redacted = redactor.redact(json, |_| Some(())).unwrap();
/// assert_eq!(redacted.json, r#"{"log":"","employeeNumber":""}"#);
/// # Ok::<(), observer_redact::RuleError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// False to leave the secrets of the rule alone.
    pub enabled: bool,
    /// Reaction; `None` for that of all rules.
    pub action: Option<Action>,
    /// Names of keys whose string values are secrets, in any spelling; in addition to those of a
    /// built-in rule.
    pub keys: Vec<String>,
    /// Prefixes of secrets, which are followed by letters, digits, `_` and `-`; in addition to the
    /// formats of a built-in rule.
    pub prefixes: Vec<String>,
    /// Smallest number of bytes after a prefix of `prefixes`.
    pub min_length: usize,
}

impl Default for Rule {
    /// Returns an enabled rule without keys and prefixes, for secrets with at least 16 bytes after
    /// their prefix.
    fn default() -> Self {
        Self { enabled: true, action: None, keys: Vec::new(), prefixes: Vec::new(), min_length: 16 }
    }
}

/// Error type for rules that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The name can't be that of a rule.
    #[error(
        "{name:?} can't be the name of a rule; use at most {MAX_NAME} lower-case letters, digits \
         and `_`"
    )]
    Name {
        /// Name of the rule.
        name: String,
    },
    /// The rule is not built in and has nothing to look for.
    #[error(
        "the rule {name:?} is not built in{}; a rule of your own needs `keys` or `prefixes`",
        nearest.map(|nearest| format!(" (did you mean {nearest:?}?)")).unwrap_or_default()
    )]
    Empty {
        /// Name of the rule.
        name: String,
        /// Built-in rule with a similar name.
        nearest: Option<&'static str>,
    },
    /// A name can't be that of a key.
    #[error("{key:?} can't be a key of the rule {name:?}: {reason}")]
    Key {
        /// Name of the rule.
        name: String,
        /// Name of the key.
        key: String,
        /// Reason, as a clause.
        reason: &'static str,
    },
    /// A prefix is too short, or has characters that prefixes can't have.
    #[error(
        "{prefix:?} can't be a prefix of the rule {name:?}; use at least {MIN_PREFIX} letters, \
         digits, `_`, `-`, `.` and `/`"
    )]
    Prefix {
        /// Name of the rule.
        name: String,
        /// The prefix.
        prefix: String,
    },
    /// The smallest length is zero.
    #[error("`min_length` of the rule {name:?} is 0; use at least 1")]
    Length {
        /// Name of the rule.
        name: String,
    },
    /// A rule hashes secrets, and there is no key.
    #[error("the rule {name:?} hashes secrets, which needs a key")]
    NoKey {
        /// Name of the rule.
        name: String,
    },
    /// The prefixes are too many or too long together.
    #[error("the prefixes of all rules are too many; remove some")]
    TooLarge,
}

/// Built-in or own rule, as it applies.
pub(crate) struct Resolved {
    pub(crate) name: String,
    pub(crate) action: Option<Action>,
    /// Normalised names.
    pub(crate) keys: Vec<String>,
    pub(crate) formats: Vec<(Vec<String>, Shape)>,
}

/// Returns the enabled rules: those that are not built in, then the built-in ones in their order.
pub(crate) fn resolve(rules: &[(String, Rule)]) -> Result<Vec<Resolved>, RuleError> {
    let mut resolved = Vec::new();
    for (name, rule) in rules {
        check(name, rule)?;
        if rule.enabled && !is_built_in(name) {
            resolved.push(Resolved::new(name, rule));
        }
    }
    let unchanged = Rule::default();
    for name in built_in::names() {
        let configured = rules.iter().find(|(configured, _)| configured == name);
        let rule = configured.map_or(&unchanged, |(_, rule)| rule);
        if rule.enabled {
            resolved.push(Resolved::new(name, rule));
        }
    }
    Ok(resolved)
}

fn is_built_in(name: &str) -> bool {
    built_in::names().any(|built_in| built_in == name)
}

fn check(name: &str, rule: &Rule) -> Result<(), RuleError> {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let owned = || name.to_owned();
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_name) {
        return Err(RuleError::Name { name: owned() });
    }
    if !is_built_in(name) && rule.keys.is_empty() && rule.prefixes.is_empty() {
        return Err(RuleError::Empty { name: owned(), nearest: nearest(name) });
    }
    for key in &rule.keys {
        if let Some(reason) = keys::invalid(key) {
            return Err(RuleError::Key { name: owned(), key: key.clone(), reason });
        }
    }
    let is_prefix =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    for prefix in &rule.prefixes {
        if prefix.len() < MIN_PREFIX || !prefix.bytes().all(is_prefix) {
            return Err(RuleError::Prefix { name: owned(), prefix: prefix.clone() });
        }
    }
    if rule.min_length == 0 {
        return Err(RuleError::Length { name: owned() });
    }
    Ok(())
}

/// Returns the built-in rule whose name is the same but for separators or an ending.
fn nearest(name: &str) -> Option<&'static str> {
    let bare = |name: &str| name.replace('_', "");
    built_in::names().find(|known| {
        let (known, name) = (bare(known), bare(name));
        known.starts_with(&name) || name.starts_with(&known)
    })
}

impl Resolved {
    fn new(name: &str, rule: &Rule) -> Self {
        let own = rule.keys.iter().map(|key| keys::normalized(key));
        let keys = own.chain(built_in::keys_of(name).map(str::to_owned)).collect();
        let token = Token::at_least(rule.min_length, &BASE64URL);
        let own = (!rule.prefixes.is_empty()).then(|| (rule.prefixes.clone(), Shape::Token(token)));
        let built_in = built_in::formats_of(name).map(|format| {
            (format.prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(), format.shape)
        });
        let formats = own.into_iter().chain(built_in).collect();
        Self { name: name.to_owned(), action: rule.action, keys, formats }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Redactor;

    fn own(keys: &[&str], prefixes: &[&str]) -> Rule {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Rule { keys: owned(keys), prefixes: owned(prefixes), ..Rule::default() }
    }

    fn error(name: &str, rule: Rule) -> String {
        Redactor::builder().rule(name, rule).build().unwrap_err().to_string()
    }

    #[test]
    fn invalid_rule_is_an_error_that_names_it() {
        for (name, rule, expected) in [
            (
                "Acme",
                own(&["acme_key"], &[]),
                "\"Acme\" can't be the name of a rule; use at most 32 lower-case letters, digits \
                 and `_`",
            ),
            (
                "passwords",
                Rule::default(),
                "the rule \"passwords\" is not built in (did you mean \"password\"?); a rule of \
                 your own needs `keys` or `prefixes`",
            ),
            (
                "acme",
                Rule { enabled: false, ..Rule::default() },
                "the rule \"acme\" is not built in; a rule of your own needs `keys` or `prefixes`",
            ),
            (
                "acme",
                own(&["a.b"], &[]),
                "\"a.b\" can't be a key of the rule \"acme\": it needs at least four letters or \
                 digits",
            ),
            (
                "acme",
                own(&[], &["acme "]),
                "\"acme \" can't be a prefix of the rule \"acme\"; use at least 3 letters, digits, \
                 `_`, `-`, `.` and `/`",
            ),
            (
                "acme",
                Rule { min_length: 0, ..own(&[], &["acme_"]) },
                "`min_length` of the rule \"acme\" is 0; use at least 1",
            ),
            (
                "jwt",
                Rule { action: Some(Action::Hash), ..Rule::default() },
                "the rule \"jwt\" hashes secrets, which needs a key",
            ),
        ] {
            assert_eq!(error(name, rule), expected);
        }
    }

    #[test]
    fn changed_rule_keeps_its_place_among_the_built_in_ones() {
        let changed = Rule { action: Some(Action::Drop), ..Rule::default() };
        let redactor = Redactor::builder()
            .rule("openai", changed)
            .rule("acme", own(&["acme_key"], &[]))
            .build()
            .unwrap();
        let rules: Vec<_> = redactor.rules().collect();
        assert_eq!(rules[0], ("acme", Action::Mask));
        let place = |name| rules.iter().position(|(rule, _)| *rule == name);
        assert!(place("anthropic") < place("openai"));
        assert_eq!(rules[place("openai").unwrap()].1, Action::Drop);
    }

    #[test]
    fn disabled_rule_finds_nothing() {
        let json = r#"{"token":"abc","password":"abc"}"#;
        let disabled = Rule { enabled: false, ..Rule::default() };
        let redactor = Redactor::builder().rule("token", disabled).build().unwrap();
        let redacted = redactor.redact(json, |_| Some(())).unwrap();
        assert_eq!(redacted.json, r#"{"token":"abc","password":"[redacted:password]"}"#);
        assert!(!redactor.counts().snapshot().contains_key("token"));
    }

    #[test]
    fn own_key_and_prefix_are_added_to_a_built_in_rule() {
        let redactor =
            Redactor::builder().rule("token", own(&["ticket"], &["tick_"])).build().unwrap();
        let json = r#"{"Ticket":"a","token":"b","log":"tick_0123456789abcdef!"}"#;
        assert_eq!(
            redactor.redact(json, |_| Some(())).unwrap().json,
            r#"{"Ticket":"[redacted:token]","token":"[redacted:token]","log":"[redacted:token]!"}"#
        );
        assert_eq!(redactor.counts().snapshot()["token"], 3);
    }

    #[test]
    fn many_prefixes_are_found_like_few() {
        let prefixes: Vec<_> = (100..400).map(|number| format!("n{number}_")).collect();
        let prefixes: Vec<_> = prefixes.iter().map(String::as_str).collect();
        let redactor = Redactor::builder().rule("acme", own(&[], &prefixes)).build().unwrap();
        let json = r#"{"a":"n250_0123456789abcdef"}"#;
        assert!(redactor.may_match(json));
        assert!(!redactor.may_match(r#"{"a":"n250_0123456789abcde"}"#));
        let redacted = redactor.redact(json, |_| Some(())).unwrap();
        assert_eq!(redacted.json, r#"{"a":"[redacted:acme]"}"#);
    }
}
