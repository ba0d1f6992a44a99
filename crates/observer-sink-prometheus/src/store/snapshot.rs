//! The snapshot: a file in the state folder that holds all counts and their position.
//!
//! # Layout
//!
//! A header line of ASCII text, a line feed, and one JSON object (the body), which has no line
//! breaks in the file:
//!
//! ```text
//! observer-prometheus 1 5f3c0a91
//! {"position":{"epoch":1,"seq":4711},"event_kinds":["other","ok"],
//!  "sources":[["other",{…}],["bot",{…}]],"models":[…],"pairs":[[1,1,0,17]],…}
//! ```
//!
//! The header holds a magic word, the version of the format, and the CRC-32C of the body as eight
//! hexadecimal digits. Line feeds may follow the body. The fields of the body are:
//!
//! - `position`: epoch and sequence number up to which events are counted, or `null`.
//! - `event_kinds`: label values. The first one is always `other`.
//! - `sources`, `models`: label values with their totals.
//! - `pairs`: counts of `observer_events_total`, each as an index into `sources`, an index into
//!   `event_kinds`, the number of failures and the number of successes.
//! - `phases`: counts of `observer_phases_total`, each as an index into `sources`, an index into
//!   `event_kinds`, and the count. Missing if there are none, as in snapshots of version 0.1.
//! - `unpriced`, `overflow`: the remaining counters.
//!
//! # Reading
//!
//! A header with another version, a wrong checksum or unknown fields makes the snapshot unreadable;
//! the [store](super) then moves it aside. Label values are added under the present configuration:
//! known values first, then the others in the order of the file. Values and pairs beyond the limits
//! are omitted. They are not added to `other`, where `increase` would see their whole history as
//! one burst.

use std::borrow::Cow;

use observer_core::Position;
use serde::{Deserialize, Serialize};

use crate::aggregate::labels::Slot;
use crate::aggregate::pairs::ByOk;
use crate::aggregate::{Aggregate, ModelTotals, Overflow, SourceTotals};
use crate::config::PrometheusConfig;
use crate::store::state::State;

const MAGIC: &str = "observer-prometheus";
const VERSION: u32 = 1;

/// Reason for which a snapshot can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("not a snapshot of event metrics")]
    Foreign,
    #[error("unknown version {0} of the format; this program reads version {VERSION}")]
    Version(u32),
    #[error("the checksum does not match")]
    Checksum,
    #[error("the contents do not match the format")]
    Contents(#[source] serde_json::Error),
    #[error("a count refers to a missing label value")]
    Dangling,
}

/// State that was read from a snapshot.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) state: State,
    /// Number of label values and pairs that exceed the limits.
    pub(crate) omitted: usize,
}

/// Body of a snapshot.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents<'a> {
    position: Option<Position>,
    #[serde(borrow)]
    event_kinds: Vec<Cow<'a, str>>,
    sources: Vec<(Cow<'a, str>, Cow<'a, SourceTotals>)>,
    models: Vec<(Cow<'a, str>, Cow<'a, ModelTotals>)>,
    pairs: Vec<(usize, usize, u64, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    phases: Vec<(usize, usize, u64)>,
    unpriced: u64,
    overflow: Overflow,
}

/// Encodes a state.
pub(crate) fn encode(state: &State) -> Vec<u8> {
    let aggregate = &state.aggregate;
    let row = |&((source, kind), [failed, ok]): &((Slot, Slot), ByOk)| {
        (source.index(), kind.index(), failed, ok)
    };
    let phase =
        |&((source, kind), count): &((Slot, Slot), u64)| (source.index(), kind.index(), count);
    let contents = Contents {
        position: state.position,
        event_kinds: aggregate.event_kinds.iter().map(|(_, value)| value.into()).collect(),
        sources: named(aggregate.sources.iter(), &aggregate.by_source),
        models: named(aggregate.models.iter(), &aggregate.by_model),
        pairs: aggregate.pairs.rows().iter().map(row).collect(),
        phases: aggregate.phases.rows().iter().map(phase).collect(),
        unpriced: aggregate.unpriced,
        overflow: aggregate.overflow,
    };
    let body = serde_json::to_vec(&contents).expect("strings and numbers serialize to JSON");
    let mut bytes = format!("{MAGIC} {VERSION} {:08x}\n", crc32c::crc32c(&body)).into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}

fn named<'a, S, T: Clone>(
    labels: impl Iterator<Item = (S, &'a str)>,
    totals: &'a [T],
) -> Vec<(Cow<'a, str>, Cow<'a, T>)> {
    labels.zip(totals).map(|((_, value), totals)| (value.into(), Cow::Borrowed(totals))).collect()
}

/// Decodes a state under a configuration that may have changed since it was written.
pub(crate) fn decode(bytes: &[u8], config: &PrometheusConfig) -> Result<Restored, SnapshotError> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(SnapshotError::Foreign)?;
    let (line, body) = (&bytes[..end], bytes[end + 1..].trim_ascii_end());
    let mut words = std::str::from_utf8(line).map_err(|_| SnapshotError::Foreign)?.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(SnapshotError::Foreign);
    }
    match words.next().and_then(|word| word.parse().ok()).ok_or(SnapshotError::Foreign)? {
        VERSION => {}
        version => return Err(SnapshotError::Version(version)),
    }
    let checksum = words.next().and_then(|word| u32::from_str_radix(word, 16).ok());
    if checksum != Some(crc32c::crc32c(body)) {
        return Err(SnapshotError::Checksum);
    }
    restore(serde_json::from_slice(body).map_err(SnapshotError::Contents)?, config)
}

fn restore(contents: Contents<'_>, config: &PrometheusConfig) -> Result<Restored, SnapshotError> {
    let mut aggregate = Aggregate::new(config);
    aggregate.unpriced = contents.unpriced;
    aggregate.overflow = contents.overflow;
    let mut omitted = 0;

    let kinds: Vec<_> =
        contents.event_kinds.iter().map(|value| aggregate.event_kinds.slot(value)).collect();
    let mut sources = Vec::with_capacity(contents.sources.len());
    for (value, totals) in contents.sources {
        let slot = aggregate.restore_source(&value);
        if let Some(slot) = slot {
            aggregate.by_source[slot.index()] = totals.into_owned();
        }
        sources.push(slot);
    }
    for (value, totals) in contents.models {
        match aggregate.restore_model(&value) {
            Some(slot) => aggregate.by_model[slot.index()] = totals.into_owned(),
            None => omitted += 1,
        }
    }
    omitted += kinds.iter().chain(&sources).filter(|slot| slot.is_none()).count();
    let pair = |source: usize, kind: usize| {
        let source = sources.get(source).ok_or(SnapshotError::Dangling)?;
        let kind = kinds.get(kind).ok_or(SnapshotError::Dangling)?;
        Ok(source.zip(*kind))
    };
    for (source, kind, failed, ok) in contents.pairs {
        match pair(source, kind)? {
            Some((source, kind)) if aggregate.pairs.accepts(source, kind) => {
                *aggregate.pairs.entry((source, kind)) = [failed, ok];
            }
            _ => omitted += 1,
        }
    }
    for (source, kind, count) in contents.phases {
        match pair(source, kind)? {
            Some((source, kind)) if aggregate.phases.accepts(source, kind) => {
                *aggregate.phases.entry((source, kind)) = count;
            }
            _ => omitted += 1,
        }
    }
    aggregate.seed();
    Ok(Restored { state: State { aggregate, position: contents.position }, omitted })
}

#[cfg(test)]
mod tests;
