//! What the settings of every sink can't be.

use std::time::Duration;

use observer_core::SinkSettings;

use crate::config::Problem;
use crate::config::key::KeyPath;

/// Everything in the settings of the sink at `at` that can't be.
pub(super) fn problems(settings: &SinkSettings, at: &KeyPath) -> Vec<Problem> {
    let SinkSettings { retry, timeout, .. } = settings;
    let mut problems = Vec::new();
    let mut refuse = |applies: bool, keys: &[&str], message: &str| {
        if applies {
            problems.push(Problem::new(at.join(&KeyPath::of(keys.iter().copied())), message));
        }
    };
    refuse(*timeout == Some(Duration::ZERO), &["timeout"], "must be longer than 0s");
    refuse(retry.initial == Duration::ZERO, &["retry", "initial"], "must be longer than 0s");
    refuse(retry.max < retry.initial, &["retry", "max"], "must not be shorter than retry.initial");
    problems
}
