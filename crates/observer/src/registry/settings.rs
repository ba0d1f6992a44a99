//! Validation of the settings common to every sink.

use std::time::Duration;

use observer_core::SinkSettings;

use crate::config::Problem;
use crate::config::parse::key_path::KeyPath;

/// Returns the problems in the settings of the sink at `at`.
pub(super) fn problems(settings: &SinkSettings, at: &KeyPath) -> Vec<Problem> {
    let SinkSettings { retry, timeout, .. } = settings;
    let mut problems = Vec::new();
    let mut reject = |applies: bool, keys: &[&str], message: &str| {
        if applies {
            problems.push(Problem::new(at.join(&KeyPath::of(keys.iter().copied())), message));
        }
    };
    reject(*timeout == Some(Duration::ZERO), &["timeout"], "must be longer than 0s");
    reject(retry.initial == Duration::ZERO, &["retry", "initial"], "must be longer than 0s");
    reject(retry.max < retry.initial, &["retry", "max"], "must be at least retry.initial");
    problems
}
