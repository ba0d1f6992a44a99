//! Section `[redact]`: replacement of secrets in events.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use observer_core::private_files;
use observer_core::redact::{Action, RedactionCounts, Redactor, RedactorBuilder, Rule};
use serde::Deserialize;

use super::parse::key_path::KeyPath;
use super::{Config, ConfigError, Problem};

/// Length of the key of hashes, in bytes.
const KEY_BYTES: usize = 32;

/// Settings of redaction.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedactConfig {
    /// False to store events as they are.
    pub enabled: bool,
    /// Reaction of the rules without one of their own.
    pub action: RedactAction,
    /// Changes of built-in rules, and further rules, by name.
    pub rules: BTreeMap<String, RedactRule>,
}

/// Reaction to a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedactAction {
    /// The secret is replaced by `[redacted:RULE]`.
    #[default]
    Mask,
    /// The secret is replaced by `[redacted:RULE:HASH]`.
    Hash,
    /// The string that contains the secret becomes empty.
    Drop,
}

/// Change of a built-in rule, or a further rule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedactRule {
    /// False to leave the secrets of the rule alone.
    pub enabled: bool,
    /// Reaction; by default that of all rules.
    pub action: Option<RedactAction>,
    /// Names of keys whose string values are secrets.
    pub keys: Vec<String>,
    /// Prefixes of secrets.
    pub prefixes: Vec<String>,
    /// Smallest number of bytes after a prefix.
    pub min_length: usize,
}

impl Default for RedactConfig {
    fn default() -> Self {
        Self { enabled: true, action: RedactAction::default(), rules: BTreeMap::new() }
    }
}

impl Default for RedactRule {
    fn default() -> Self {
        let Rule { enabled, keys, prefixes, min_length, .. } = Rule::default();
        Self { enabled, action: None, keys, prefixes, min_length }
    }
}

impl From<RedactAction> for Action {
    fn from(action: RedactAction) -> Self {
        match action {
            RedactAction::Mask => Self::Mask,
            RedactAction::Hash => Self::Hash,
            RedactAction::Drop => Self::Drop,
        }
    }
}

impl RedactConfig {
    fn builder(&self) -> RedactorBuilder {
        let builder = Redactor::builder().action(self.action.into());
        self.rules.iter().fold(builder, |builder, (name, rule)| {
            let RedactRule { enabled, action, keys, prefixes, min_length } = rule.clone();
            let action = action.map(Action::from);
            builder.rule(name, Rule { enabled, action, keys, prefixes, min_length })
        })
    }

    /// Returns the redactor with a key that nobody else has, so that nothing is read or written.
    pub(crate) fn preview(&self) -> Option<Redactor> {
        self.enabled.then(|| self.builder().hash_key("preview").build().ok()).flatten()
    }

    pub(super) fn problems(&self) -> Option<Problem> {
        let error = self.builder().hash_key("validation").build().err()?;
        Some(Problem::new(KeyPath::of(["redact", "rules"]), error.to_string()))
    }
}

impl Config {
    /// Builds the redactor, which adds to `counts`; `None` if redaction is disabled. If a rule
    /// hashes secrets, its key is read from the data folder, and created there at first.
    ///
    /// # Errors
    /// If a rule is invalid, or the key can't be read or created.
    pub fn load_redactor(&self, counts: &RedactionCounts) -> Result<Option<Redactor>, ConfigError> {
        if !self.redact.enabled {
            return Ok(None);
        }
        let mut builder = self.redact.builder().counts(counts.clone());
        if builder.hashes() {
            let path = self.redaction_key();
            let key = load_key(&path).map_err(|error| {
                let message = format!("the key of hashes, {}, {error}", path.display());
                self.invalid(vec![Problem::new("redact", message)])
            })?;
            builder = builder.hash_key(key);
        }
        let invalid = |error: observer_core::redact::RuleError| {
            self.invalid(vec![Problem::new(KeyPath::of(["redact", "rules"]), error.to_string())])
        };
        builder.build().map(Some).map_err(invalid)
    }

    /// Returns the path of the key of hashes.
    fn redaction_key(&self) -> PathBuf {
        self.data_dir.join("redact.key")
    }
}

fn load_key(path: &Path) -> Result<Vec<u8>, String> {
    let found = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return create_key(path).map_err(|error| format!("can't be created: {error}"));
        }
        read => read.map_err(|error| format!("can't be read: {error}"))?,
    };
    if found.len() != KEY_BYTES {
        return Err(format!(
            "has {} bytes and not {KEY_BYTES}; restore it, or remove it for a new key and other \
             hashes",
            found.len()
        ));
    }
    Ok(found)
}

/// Creates the key under another name first, so that it is complete or absent.
fn create_key(path: &Path) -> io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        private_files::create_folder(folder)?;
    }
    let incomplete = path.with_extension("key.new");
    let mut file =
        private_files::options().write(true).create(true).truncate(true).open(&incomplete)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(incomplete, path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn rejected(text: &str, expected: &str) {
        let error = observer_core::report(&Config::parse(text).unwrap_err());
        assert_eq!(error, format!("configuration: {expected}"), "{text}");
    }

    #[test]
    fn invalid_rule_is_reported_with_its_key() {
        rejected("[redact]\nenable = true", "redact.enable: unknown key; did you mean `enabled`?");
        rejected(
            "[redact.rules.jtw]",
            "redact.rules: the rule \"jtw\" is not built in; a rule of your own needs `keys` or \
             `prefixes`",
        );
        rejected(
            "[redact.rules.acme]\nprefixes = ['a b']",
            "redact.rules: \"a b\" can't be a prefix of the rule \"acme\"; use at least 3 letters, \
             digits, `_`, `-`, `.` and `/`",
        );
    }

    #[test]
    fn disabled_redaction_has_no_redactor() {
        let config = Config::parse("[redact]\nenabled = false").unwrap();
        assert_eq!(config.load_redactor(&RedactionCounts::default()).unwrap(), None);
        assert!(config.redact.preview().is_none());
    }

    #[cfg(unix)]
    #[test]
    fn key_of_hashes_is_created_once_and_private() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let text = format!("data_dir = {data_dir:?}\n[redact.rules.token]\naction = \"hash\"");
        let config = Config::parse(&text).unwrap();
        assert!(config.redact.preview().is_some());
        let path = config.redaction_key();
        assert!(!path.exists(), "a preview creates nothing");

        let redact = || {
            let redactor = config.load_redactor(&RedactionCounts::default()).unwrap().unwrap();
            redactor.redact(r#"{"token":"t"}"#, |_| Some(())).unwrap().json
        };
        let (first, second) = (redact(), redact());
        assert_eq!(first, second);
        assert!(first.starts_with(r#"{"token":"[redacted:token:"#), "{first}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        fs::write(&path, "short").unwrap();
        let error = config.load_redactor(&RedactionCounts::default()).unwrap_err();
        assert!(observer_core::report(&error).contains("has 5 bytes and not 32"), "{error}");
    }
}
