//! Latest success of each scope.

use jiff::{SignedDuration, Timestamp};

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
        let scope = number(attempt);
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
        let scope = number(attempt);
        self.successes.iter().find(|&&(other, _)| other == scope).map(|&(_, at)| at)
    }
}

/// Returns a number that stands for a model and a version.
fn number(attempt: &Attempt<'_>) -> u64 {
    // UTF-8 does not contain the byte between them.
    let version = attempt.version.unwrap_or_default();
    hash(attempt.model.bytes().chain([0xff]).chain(version.bytes()))
}

/// Returns a 64-bit hash that is the same in every process and version (FNV-1a).
pub(super) fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
