//! Counts of the sinks in `/metrics`, and the dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Counts of one sink's events.
#[derive(Debug, Default)]
pub(crate) struct SinkAccount {
    pub(crate) accepted: u64,
    pub(crate) pending: u64,
    pub(crate) delivered: u64,
    pub(crate) dead: u64,
    pub(crate) expired: u64,
    /// Events with any other result, such as filtered. There must be none.
    others: u64,
}

/// Counts read from `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) sinks: BTreeMap<String, SinkAccount>,
    /// Sum of `observer_events_total`.
    pub(crate) events_total: f64,
}

impl Account {
    /// Reads the text format.
    pub(crate) fn read(metrics: &str) -> Self {
        let mut account = Self::default();
        for line in metrics.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            if series.starts_with("observer_events_total{") {
                account.events_total += value;
            }
            let Some(sink) = label(series, "sink") else { continue };
            let sink = account.sinks.entry(sink.to_owned()).or_default();
            let count = value as u64;
            match (series.split('{').next().unwrap_or_default(), label(series, "result")) {
                ("observer_sink_accepted_events_total", _) => sink.accepted = count,
                ("observer_sink_pending_events", _) => sink.pending = count,
                ("observer_sink_events_total", Some("delivered")) => sink.delivered = count,
                ("observer_sink_events_total", Some("dead")) => sink.dead = count,
                ("observer_sink_events_total", Some("expired")) => sink.expired = count,
                ("observer_sink_events_total", Some(_)) => sink.others += count,
                _ => {}
            }
        }
        account
    }

    /// Checks that each sink accounts for all of its events, and has lost none unless it is one
    /// of those whose events `may_expire`.
    pub(crate) fn check_balance(&self, may_expire: impl Fn(&str) -> bool) -> Result<(), String> {
        for (name, sink) in &self.sinks {
            let resolved = sink.delivered + sink.dead + sink.expired + sink.others;
            if sink.accepted != resolved + sink.pending {
                return Err(format!("the counts of {name} do not add up: {sink:?}"));
            }
            if sink.others > 0 || (sink.expired > 0 && !may_expire(name)) {
                return Err(format!("{name} has lost events: {sink:?}"));
            }
        }
        Ok(())
    }
}

/// Returns the value of a label of a series.
fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let at = series.find(&format!("{name}=\""))? + name.len() + 2;
    series[at..].split('"').next()
}

/// Size in bytes above which the oldest dead letters may be gone: a store holds at most 64 MiB, in
/// eight files.
const MAX_DEAD_LETTERS: usize = 48 << 20;

/// Checks that the dead letters in a folder are those of `rejected` events, by their sequence
/// numbers, and that those from `since` on are all there.
pub(crate) fn check_dead_letters(
    dir: &Path,
    rejected: &BTreeSet<u64>,
    since: u64,
) -> Result<(), String> {
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", dir.display());
    let (mut letters, mut bytes) = (BTreeSet::new(), 0);
    let files = match std::fs::read_dir(dir) {
        Ok(files) => files.collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(fail(&error)),
    };
    for file in files {
        let text = file
            .and_then(|file| std::fs::read_to_string(file.path()))
            .map_err(|error| fail(&error))?;
        bytes += text.len();
        for line in text.lines() {
            let letter: serde_json::Value =
                serde_json::from_str(line).map_err(|error| fail(&error))?;
            let seq = letter["envelope"]["seq"].as_u64();
            letters.insert(seq.ok_or_else(|| fail(&format!("not a dead letter: {line}")))?);
        }
    }
    let oldest = if bytes < MAX_DEAD_LETTERS { 0 } else { letters.first().copied().unwrap_or(0) };
    let missing = rejected.range(since.max(oldest)..).find(|seq| !letters.contains(seq));
    let odd = letters.difference(rejected).next();
    match (missing, odd) {
        (None, None) => Ok(()),
        (Some(seq), _) => {
            Err(fail(&format!("seq {seq} was rejected permanently but is not a dead letter")))
        }
        (_, Some(seq)) => Err(fail(&format!("seq {seq} is a dead letter but was never rejected"))),
    }
}
