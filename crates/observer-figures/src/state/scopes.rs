//! Latest success of each scope.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::Attempt;

/// Scopes that are kept. The one whose success is oldest gives way.
pub(super) const LIMIT: usize = 32;

/// Latest success of each scope (model and version) that has one within the window of `flaky`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scopes {
    /// Hash of the scope and time of its latest success, in the order of these times.
    pub(super) successes: Vec<(u64, Timestamp)>,
}

impl Scopes {
    pub(super) fn succeeded(&mut self, attempt: &Attempt<'_>, window: SignedDuration) {
        let scope = hash(&[attempt.model, attempt.version.unwrap_or_default()]);
        self.successes
            .retain(|&(other, at)| other != scope && attempt.at.duration_since(at) < window);
        if self.successes.len() == LIMIT {
            self.successes.remove(0);
        }
        self.successes.push((scope, attempt.at));
    }

    pub(super) fn last_success(&self, attempt: &Attempt<'_>) -> Option<Timestamp> {
        if self.successes.is_empty() {
            return None;
        }
        let scope = hash(&[attempt.model, attempt.version.unwrap_or_default()]);
        self.successes.iter().find(|&&(other, _)| other == scope).map(|&(_, at)| at)
    }
}

/// Returns 64 bits that stand for a list of texts.
pub(super) fn hash(texts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize()[..8].iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}
