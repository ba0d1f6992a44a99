//! Search in blocks.

use rusqlite::{Connection, OptionalExtension};

use super::Term;
use super::block::{halves, key};
use crate::error::KbError;

/// Block of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) id: i64,
    /// Its first event.
    pub(crate) first: i64,
    /// Number of its events.
    pub(crate) count: i64,
    /// Earliest and latest time of receipt.
    pub(crate) received: (i64, i64),
}

/// Returns all blocks, newest first.
pub(crate) fn blocks(conn: &Connection) -> Result<Vec<Block>, KbError> {
    let mut statement = conn.prepare_cached(
        "SELECT id, first, count, min_received_at, max_received_at FROM block
         ORDER BY first DESC",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Block {
            id: row.get(0)?,
            first: row.get(1)?,
            count: row.get(2)?,
            received: (row.get(3)?, row.get(4)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns the offsets of the events of a block that may have a term, in ascending order.
fn offsets(conn: &Connection, block: i64, term: Term) -> Result<Vec<u16>, KbError> {
    let wanted = key(block, term);
    let from_bytes =
        |data: &[u8]| data.as_chunks().0.iter().map(|o| u16::from_le_bytes(*o)).collect();
    let posting = conn
        .prepare_cached("SELECT data FROM posting WHERE key = ?1")?
        .query_row([wanted], |row| Ok(from_bytes(row.get_ref(0)?.as_blob().unwrap_or_default())))
        .optional()?;
    if let Some(offsets) = posting {
        return Ok(offsets);
    }
    let mut statement = conn.prepare_cached(
        "SELECT data FROM chunk WHERE key <= ?1 AND key >= ?2 ORDER BY key DESC LIMIT 1",
    )?;
    let found = statement.query_row((wanted, key(block, 0)), |row| {
        Ok(in_chunk(row.get_ref(0)?.as_blob().unwrap_or_default(), term))
    });
    Ok(found.optional()?.unwrap_or_default())
}

fn in_chunk(data: &[u8], term: Term) -> Vec<u16> {
    let (terms, offsets) = halves(data);
    let start = terms.partition_point(|found| u32::from_le_bytes(*found) < term);
    terms[start..]
        .iter()
        .zip(&offsets[start..])
        .take_while(|(found, _)| u32::from_le_bytes(**found) == term)
        .map(|(_, offset)| u16::from_le_bytes(*offset))
        .collect()
}

/// Returns the events of a block that may meet all conditions, in ascending order. Each condition
/// is a list of terms, one of which an event must have.
pub(crate) fn candidates(
    conn: &Connection,
    block: &Block,
    conditions: &[Vec<Term>],
) -> Result<Vec<i64>, KbError> {
    let mut found: Option<Vec<u16>> = None;
    for terms in conditions {
        let mut any = Vec::new();
        for &term in terms {
            any.extend(offsets(conn, block.id, term)?);
        }
        if terms.len() > 1 {
            any.sort_unstable();
            any.dedup();
        }
        let both = match found {
            None => any,
            Some(found) => intersection(&found, &any),
        };
        if both.is_empty() {
            return Ok(Vec::new());
        }
        found = Some(both);
    }
    Ok(match found {
        Some(offsets) => offsets.into_iter().map(|at| block.first + i64::from(at)).collect(),
        None => (block.first..block.first + block.count).collect(),
    })
}

fn intersection(a: &[u16], b: &[u16]) -> Vec<u16> {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut from = 0;
    let mut both = Vec::with_capacity(short.len());
    for &offset in short {
        from += long[from..].partition_point(|&other| other < offset);
        if long.get(from) == Some(&offset) {
            both.push(offset);
        }
    }
    both
}

/// Calls `accept` with each event in a block that may have a term, newest first, until it returns
/// a value.
pub(crate) fn newest_with<T>(
    conn: &Connection,
    term: Term,
    mut accept: impl FnMut(i64) -> Result<Option<T>, KbError>,
) -> Result<Option<T>, KbError> {
    for block in blocks(conn)? {
        for offset in offsets(conn, block.id, term)?.into_iter().rev() {
            if let Some(found) = accept(block.first + i64::from(offset))? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intersection_has_what_both_have() {
        assert_eq!(intersection(&[1, 3, 5, 7], &[0, 3, 4, 7, 9]), [3, 7]);
        assert_eq!(intersection(&[], &[1]), [0_u16; 0]);
        assert_eq!(intersection(&[9], &[1, 9]), [9]);
    }
}
