//! What the observer says about itself in `/metrics`, and its dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What became of a sink's events.
#[derive(Debug, Default)]
pub(crate) struct SinkAccount {
    pub(crate) accepted: u64,
    pub(crate) pending: u64,
    pub(crate) delivered: u64,
    pub(crate) dead: u64,
    /// Refused, expired or filtered: nothing here may be.
    others: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) sinks: BTreeMap<String, SinkAccount>,
    /// The sum of `observer_events_total`.
    pub(crate) events_total: f64,
}

impl Account {
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
                ("observer_sink_events_total", Some(_)) => sink.others += count,
                _ => {}
            }
        }
        account
    }

    pub(crate) fn closes(&self) -> Result<(), String> {
        for (name, sink) in &self.sinks {
            if sink.accepted != sink.delivered + sink.dead + sink.others + sink.pending {
                return Err(format!("the account of {name} does not close: {sink:?}"));
            }
            if sink.others > 0 {
                return Err(format!("{name} has lost events: {sink:?}"));
            }
        }
        Ok(())
    }
}

fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let at = series.find(&format!("{name}=\""))? + name.len() + 2;
    series[at..].split('"').next()
}

/// A sink's dead letters take up at most 64 MiB; the oldest file of eight goes past that.
const MAX_DEAD_LETTERS: usize = 48 << 20;

/// Those in this folder are `expected`, by their sequence numbers.
pub(crate) fn check_dead_letters(dir: &Path, expected: &BTreeSet<u64>) -> Result<(), String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", dir.display());
    let (mut letters, mut bytes) = (BTreeSet::new(), 0);
    let files = match std::fs::read_dir(dir) {
        Ok(files) => files.collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(wrong(&error)),
    };
    for file in files {
        let text = file
            .and_then(|file| std::fs::read_to_string(file.path()))
            .map_err(|error| wrong(&error))?;
        bytes += text.len();
        for line in text.lines() {
            let letter: serde_json::Value =
                serde_json::from_str(line).map_err(|error| wrong(&error))?;
            let seq = letter["envelope"]["seq"].as_u64();
            letters.insert(seq.ok_or_else(|| wrong(&format!("this is no dead letter: {line}")))?);
        }
    }
    let since = if bytes < MAX_DEAD_LETTERS { 0 } else { letters.first().copied().unwrap_or(0) };
    let missing = expected.range(since..).find(|seq| !letters.contains(seq));
    let odd = letters.difference(expected).next();
    match (missing, odd) {
        (None, None) => Ok(()),
        (Some(seq), _) => Err(wrong(&format!(
            "seq {seq} was refused for good, and is not among the dead letters"
        ))),
        (_, Some(seq)) => Err(wrong(&format!("seq {seq} is a dead letter, and was never refused"))),
    }
}
