//! Numbers of redacted secrets by rule.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Numbers of redacted secrets by rule, which outlive the redactors that count. A clone is the same
/// counts.
#[derive(Debug, Clone, Default)]
pub struct RedactionCounts {
    by_rule: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
}

impl RedactionCounts {
    /// Returns the counter of a rule, which starts at zero.
    pub(crate) fn counter(&self, rule: &str) -> Arc<AtomicU64> {
        let mut by_rule = self.by_rule.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(by_rule.entry(rule.to_owned()).or_default())
    }

    /// Returns the counts by the names of rules.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        let by_rule = self.by_rule.lock().unwrap_or_else(PoisonError::into_inner);
        by_rule.iter().map(|(rule, count)| (rule.clone(), count.load(Ordering::Relaxed))).collect()
    }
}
