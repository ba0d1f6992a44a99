//! What a single value can't know of itself.

use std::time::Duration;

use super::journal::LEAST_SEGMENTS;
use super::sinks::name_problem;
use super::{Config, Problem, key::KeyPath};

/// Everything in the configuration that can't be.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let Config { data_dir, server, ingest, journal, sinks, .. } = config;
    let mut problems = Vec::new();
    let mut refuse = |applies: bool, key: &str, message: &str| {
        if applies {
            problems.push(Problem::new(key, message));
        }
    };

    refuse(data_dir.as_os_str().is_empty(), "data_dir", "must not be empty");
    refuse(server.listen.is_empty(), "server.listen", "must name at least one address");
    for (key, timeout) in [
        ("server.body_timeout", server.body_timeout),
        ("server.header_timeout", server.header_timeout),
        ("server.ingest_timeout", server.ingest_timeout),
        ("ingest.dedup.window", ingest.dedup.window),
    ] {
        refuse(timeout == Duration::ZERO, key, "must be longer than 0s");
    }
    refuse(ingest.dedup.max_keys == 0, "ingest.dedup.max_keys", "must be at least 1");
    refuse(journal.path.as_os_str().is_empty(), "journal.path", "must not be empty");
    for (key, size) in [
        ("server.max_body", server.max_body),
        ("journal.max_size", journal.max_size),
        ("journal.segment_size", journal.segment_size),
    ] {
        refuse(size == 0, key, "must be larger than 0");
    }
    let least = journal.segment_size.saturating_mul(LEAST_SEGMENTS);
    refuse(
        journal.max_size > 0 && journal.max_size < least,
        "journal.max_size",
        "must be at least twice journal.segment_size, since room is made by removing whole segments",
    );

    let names = sinks.keys().filter_map(|name| name_problem(name).map(|problem| (name, problem)));
    problems.extend(names.map(|(name, problem)| Problem::new(KeyPath::of(["sinks", name]), problem)));
    problems
}
