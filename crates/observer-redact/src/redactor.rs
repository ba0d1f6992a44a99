//! The redactor: rules that are ready for use.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::counts::RedactionCounts;
use crate::filter::{Format, Prefixes};
use crate::keys::{KeyFilter, Keys};
use crate::mark;
use crate::rule::{self, Action, Rule, RuleError};
use crate::walk::{Redacted, Redaction};

/// Rules that are ready for use. A clone shares them.
///
/// ```
/// use observer_redact::Redactor;
///
/// let redactor = Redactor::default();
/// let json = r#"{"note":"see 41","env":{"DB_PASSWORD":"hunter2"}}"#;
/// let redacted = redactor.redact(json, |_| Some(())).unwrap();
/// assert_eq!(redacted.json, r#"{"note":"see 41","env":{"DB_PASSWORD":"[redacted:password]"}}"#);
/// assert_eq!(&*redacted.found[0].path, "env.DB_PASSWORD");
/// assert_eq!(redactor.counts().snapshot()["password"], 1);
/// ```
#[derive(Clone)]
pub struct Redactor(Arc<Inner>);

struct Inner {
    rules: Vec<ActiveRule>,
    prefixes: Prefixes,
    keys: Keys,
    hash_key: Vec<u8>,
    counts: RedactionCounts,
    /// What the redactor was built from, for comparison.
    origin: (Vec<(String, Rule)>, Action),
}

#[derive(Debug)]
pub(crate) struct ActiveRule {
    pub(crate) name: Arc<str>,
    pub(crate) action: Action,
    count: Arc<AtomicU64>,
}

/// Builder of a [`Redactor`].
#[derive(Debug, Clone, Default)]
pub struct RedactorBuilder {
    rules: Vec<(String, Rule)>,
    action: Action,
    hash_key: Vec<u8>,
    counts: RedactionCounts,
}

impl RedactorBuilder {
    /// Adds a rule, or changes the built-in rule of that name.
    #[must_use]
    pub fn rule(mut self, name: impl Into<String>, rule: Rule) -> Self {
        self.rules.push((name.into(), rule));
        self
    }

    /// Sets the reaction of the rules that have none of their own; by default
    /// [`Mask`](Action::Mask).
    #[must_use]
    pub fn action(mut self, action: Action) -> Self {
        self.action = action;
        self
    }

    /// Sets the key of the HMAC, for rules that [hash](Action::Hash). It must not be known to those
    /// who see the hashes, and not be empty.
    #[must_use]
    pub fn hash_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.hash_key = key.into();
        self
    }

    /// Sets the counts that the redactor adds to; by default new ones.
    #[must_use]
    pub fn counts(mut self, counts: RedactionCounts) -> Self {
        self.counts = counts;
        self
    }

    /// Returns whether a rule hashes secrets, so that a [key](Self::hash_key) is needed.
    #[must_use]
    pub fn hashes(&self) -> bool {
        self.action == Action::Hash
            || self.rules.iter().any(|(_, rule)| rule.enabled && rule.action == Some(Action::Hash))
    }

    /// Checks the rules and makes them ready for use.
    ///
    /// # Errors
    /// If a rule is invalid; the error names it.
    pub fn build(self) -> Result<Redactor, RuleError> {
        let resolved = rule::resolve(&self.rules)?;
        let (mut rules, mut names, mut formats) = (Vec::new(), Vec::new(), Vec::new());
        for (index, rule) in resolved.into_iter().enumerate() {
            let action = rule.action.unwrap_or(self.action);
            if action == Action::Hash && self.hash_key.is_empty() {
                return Err(RuleError::NoKey { name: rule.name });
            }
            names.extend(rule.keys.into_iter().map(|key| (key.into_boxed_str(), index)));
            formats.extend(rule.formats.into_iter().map(|(prefixes, shape)| Format {
                prefixes,
                shape,
                rule: index,
            }));
            let count = self.counts.counter(&rule.name);
            rules.push(ActiveRule { name: rule.name.into(), action, count });
        }
        Ok(Redactor(Arc::new(Inner {
            rules,
            prefixes: Prefixes::new(formats)?,
            keys: Keys::new(names.into_iter()),
            hash_key: self.hash_key,
            counts: self.counts,
            origin: (self.rules, self.action),
        })))
    }
}

impl Redactor {
    /// Returns a builder with the built-in rules.
    #[must_use]
    pub fn builder() -> RedactorBuilder {
        RedactorBuilder::default()
    }

    /// Returns the filter of keys, for a parser that passes over them anyway.
    #[inline]
    #[must_use]
    pub fn key_filter(&self) -> &KeyFilter {
        self.0.keys.filter()
    }

    /// Returns `false` if [`redact`](Self::redact) would find nothing in a valid JSON text that has
    /// no key that [may be secret](KeyFilter::may_be_secret).
    #[must_use]
    pub fn may_match(&self, json: &str) -> bool {
        self.0.prefixes.may_match(json)
    }

    /// Returns a valid JSON text with its secrets replaced; `None` if there are none.
    ///
    /// For each key of the outermost object, `place` returns what identifies the member in the
    /// result, or `None` for a member that stays as it is. Keys are unescaped. Secrets are counted.
    #[must_use]
    pub fn redact<P: Copy>(
        &self,
        json: &str,
        place: impl Fn(&[u8]) -> Option<P>,
    ) -> Option<Redacted<P>> {
        let redacted = Redaction::new(self, json, place).run()?;
        for found in &redacted.found {
            if let Some(rule) = self.0.rules.iter().find(|rule| rule.name == found.rule) {
                rule.count.fetch_add(1, Ordering::Relaxed);
            }
        }
        Some(redacted)
    }

    /// Returns the counts of redacted secrets.
    #[must_use]
    pub fn counts(&self) -> &RedactionCounts {
        &self.0.counts
    }

    /// Returns the names of the enabled rules.
    pub fn rules(&self) -> impl Iterator<Item = (&str, Action)> {
        self.0.rules.iter().map(|rule| (&*rule.name, rule.action))
    }

    pub(crate) fn prefixes(&self) -> &Prefixes {
        &self.0.prefixes
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    pub(crate) fn rule(&self, index: usize) -> &ActiveRule {
        &self.0.rules[index]
    }

    /// Returns the text in place of a secret.
    pub(crate) fn replacement(&self, rule: usize, secret: &[u8]) -> String {
        let rule = self.rule(rule);
        match rule.action {
            Action::Mask => mark::plain(&rule.name),
            Action::Hash => mark::hashed(&rule.name, &self.0.hash_key, secret),
            Action::Drop => String::new(),
        }
    }
}

impl Default for Redactor {
    /// Returns the built-in rules, which mask.
    fn default() -> Self {
        Self::builder().build().expect("the built-in rules are valid")
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.rules()).finish()
    }
}

impl PartialEq for Redactor {
    /// Returns whether the rules and the key are the same.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || self.0.origin == other.0.origin && self.0.hash_key == other.0.hash_key
    }
}

impl Eq for Redactor {}
