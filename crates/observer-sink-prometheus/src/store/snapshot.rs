//! The state as bytes.
//!
//! A line of text, then JSON:
//!
//! ```text
//! observer-prometheus 1 5f3c0a91
//! {"position":{"epoch":1,"seq":4711},"event_kinds":["other","ok"],"sources":[["other",{…}],["bot",{…}]],"models":[…],"pairs":[[1,1,0,17]],…}
//! ```
//!
//! The line says what this is, the version of the format, and the CRC-32C of the JSON, in
//! hexadecimal; line feeds may follow. Pairs are a source, an event kind (as places in their lists,
//! from 0), the failures and the successes. Label values are stored and not only counted: on
//! reading, they are given room under the configuration of the day, the known ones first, then in
//! the order of the file. What finds no room any more is left out rather than added to `other`,
//! where `increase` would take years of history for one burst.

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

/// Why bytes are not a state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("not a snapshot of event metrics")]
    Foreign,
    #[error("written in version {0} of the format, and only version {VERSION} is known")]
    Version(u32),
    #[error("the checksum doesn't match")]
    Checksum,
    #[error("the contents don't fit the format")]
    Contents(#[source] serde_json::Error),
    #[error("a count refers to a label value that isn't there")]
    Dangling,
}

/// A state that was read, and how many of its label values and pairs found no room any more.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) state: State,
    pub(crate) left_out: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents<'a> {
    position: Option<Position>,
    #[serde(borrow)]
    event_kinds: Vec<Cow<'a, str>>,
    sources: Vec<(Cow<'a, str>, Cow<'a, SourceTotals>)>,
    models: Vec<(Cow<'a, str>, Cow<'a, ModelTotals>)>,
    pairs: Vec<(usize, usize, u64, u64)>,
    unpriced: u64,
    overflow: Overflow,
}

pub(crate) fn encode(state: &State) -> Vec<u8> {
    let aggregate = &state.aggregate;
    let row = |&((source, kind), [failed, ok]): &((Slot, Slot), ByOk)| {
        (source.index(), kind.index(), failed, ok)
    };
    let contents = Contents {
        position: state.position,
        event_kinds: aggregate.event_kinds.iter().map(|(_, value)| value.into()).collect(),
        sources: named(aggregate.sources.iter(), &aggregate.by_source),
        models: named(aggregate.models.iter(), &aggregate.by_model),
        pairs: aggregate.pairs.rows().iter().map(row).collect(),
        unpriced: aggregate.unpriced,
        overflow: aggregate.overflow,
    };
    let body = serde_json::to_vec(&contents).expect("strings and numbers can be written as JSON");
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

/// Read a state under a configuration that may have changed since it was written.
pub(crate) fn decode(bytes: &[u8], config: &PrometheusConfig) -> Result<Restored, Unreadable> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(Unreadable::Foreign)?;
    let (line, body) = (&bytes[..end], bytes[end + 1..].trim_ascii_end());
    let mut words = std::str::from_utf8(line).map_err(|_| Unreadable::Foreign)?.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(Unreadable::Foreign);
    }
    match words.next().and_then(|word| word.parse().ok()).ok_or(Unreadable::Foreign)? {
        VERSION => {}
        version => return Err(Unreadable::Version(version)),
    }
    let checksum = words.next().and_then(|word| u32::from_str_radix(word, 16).ok());
    if checksum != Some(crc32c::crc32c(body)) {
        return Err(Unreadable::Checksum);
    }
    restore(serde_json::from_slice(body).map_err(Unreadable::Contents)?, config)
}

fn restore(contents: Contents<'_>, config: &PrometheusConfig) -> Result<Restored, Unreadable> {
    let mut aggregate = Aggregate::new(config);
    aggregate.unpriced = contents.unpriced;
    aggregate.overflow = contents.overflow;
    let mut left_out = 0;

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
            None => left_out += 1,
        }
    }
    left_out += kinds.iter().chain(&sources).filter(|slot| slot.is_none()).count();
    for (source, kind, failed, ok) in contents.pairs {
        let source = sources.get(source).ok_or(Unreadable::Dangling)?;
        let kind = kinds.get(kind).ok_or(Unreadable::Dangling)?;
        match source.zip(*kind) {
            Some((source, kind)) if aggregate.pairs.has_room(source, kind) => {
                *aggregate.pairs.entry((source, kind)) = [failed, ok];
            }
            _ => left_out += 1,
        }
    }
    aggregate.seed();
    Ok(Restored { state: State { aggregate, position: contents.position }, left_out })
}

#[cfg(test)]
mod tests;
