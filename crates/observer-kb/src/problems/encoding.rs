//! Figures of a problem by source and model, in the column `models`.
//!
//! One byte of version (1), then for each entry: source and model (zigzag), attempts, solved attempts
//! and attempts with a known cost as variable-length integers (LEB128); first and last attempt as
//! distances in microseconds from the first attempt at the problem (zigzag, then LEB128); the last
//! success in the same way plus 1, or 0 for none; the cost as 8 bytes.

use crate::error::KbError;

const VERSION: u8 = 1;

/// Figures of one source and model on one problem. Times are in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct ModelEntry {
    pub(crate) source: i64,
    pub(crate) model: i64,
    pub(crate) attempts: u64,
    pub(crate) solved: u64,
    /// Attempts whose cost is known.
    pub(crate) known: u64,
    pub(crate) first_at: i64,
    pub(crate) last_at: i64,
    pub(crate) last_ok: Option<i64>,
    /// Sum of known costs in US dollars.
    pub(crate) cost: f64,
}

/// Encodes entries, given the time of the first attempt at the problem.
pub(super) fn encode(entries: &[ModelEntry], first_at: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + entries.len() * 32);
    out.push(VERSION);
    let distance = |at: i64| zigzag(at.wrapping_sub(first_at));
    for entry in entries {
        put(&mut out, zigzag(entry.source));
        put(&mut out, zigzag(entry.model));
        put(&mut out, entry.attempts);
        put(&mut out, entry.solved);
        put(&mut out, entry.known);
        put(&mut out, distance(entry.first_at));
        put(&mut out, distance(entry.last_at));
        put(&mut out, entry.last_ok.map_or(0, |at| distance(at).saturating_add(1)));
        out.extend_from_slice(&entry.cost.to_le_bytes());
    }
    out
}

/// Decodes what [`encode`] wrote, and passes each entry to `each`.
pub(crate) fn decode(
    data: &[u8],
    first_at: i64,
    mut each: impl FnMut(ModelEntry),
) -> Result<(), KbError> {
    let damaged = || KbError::Damaged("a problem");
    let Some((&VERSION, mut data)) = data.split_first() else { return Err(damaged()) };
    let time = |distance: u64| first_at.wrapping_add(unzigzag(distance));
    while !data.is_empty() {
        let mut get = || take(&mut data).ok_or_else(damaged);
        let mut entry = ModelEntry {
            source: unzigzag(get()?),
            model: unzigzag(get()?),
            attempts: get()?,
            solved: get()?,
            known: get()?,
            first_at: time(get()?),
            last_at: time(get()?),
            last_ok: get()?.checked_sub(1).map(time),
            cost: 0.0,
        };
        let (cost, rest) = data.split_first_chunk().ok_or_else(damaged)?;
        entry.cost = f64::from_le_bytes(*cost);
        data = rest;
        each(entry);
    }
    Ok(())
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn take(data: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = data.split_first()?;
    *data = rest;
    if first < 0x80 {
        return Some(first.into());
    }
    let mut value = u64::from(first & 0x7f);
    for shift in (7..64).step_by(7) {
        let (&byte, rest) = data.split_first()?;
        *data = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn entries()(
            ids in (-1..1_i64 << 40, -1..1_i64 << 40),
            counts in (any::<u64>(), any::<u64>(), any::<u64>()),
            times in (-1_i64 << 55..1_i64 << 55, -1_i64 << 55..1_i64 << 55),
            last_ok in prop::option::of(-1_i64 << 55..1_i64 << 55),
            cost in 0.0..1e12_f64,
        ) -> ModelEntry {
            ModelEntry {
                source: ids.0,
                model: ids.1,
                attempts: counts.0,
                solved: counts.1,
                known: counts.2,
                first_at: times.0,
                last_at: times.1,
                last_ok,
                cost,
            }
        }
    }

    proptest! {
        #[test]
        fn decoded_entries_equal_the_encoded_ones(
            entries in prop::collection::vec(entries(), 0..5),
            first_at in -1_i64 << 55..1_i64 << 55,
        ) {
            let mut found = Vec::new();
            decode(&encode(&entries, first_at), first_at, |entry| found.push(entry)).unwrap();
            prop_assert_eq!(found, entries);
        }

        #[test]
        fn damaged_bytes_are_an_error_or_other_entries(
            data in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = decode(&data, 0, |_| ());
        }
    }

    #[test]
    fn truncated_entry_is_damaged() {
        let data = encode(&[ModelEntry { attempts: 300, ..ModelEntry::default() }], 0);
        for length in (0..data.len()).filter(|&length| length != 1) {
            assert!(decode(&data[..length], 0, |_| ()).is_err(), "{length}");
        }
    }
}
