//! The attempts at one problem.

use observer_core::{Usage, Uuid};
use rusqlite::{CachedStatement, Connection, Row};

use super::{AttemptRow, Shown, TARGET};
use crate::error::KbError;
use crate::outcome::Class;

/// Returns the newest attempts at a problem by sources that count, in the order of time. `floor` is
/// the oldest event that was not deleted.
pub(crate) fn attempts_of(
    conn: &Connection,
    signature: i64,
    floor: i64,
    limit: usize,
    counts: impl Fn(i64) -> bool,
) -> Result<Vec<AttemptRow>, KbError> {
    let mut runs =
        conn.prepare_cached("SELECT id FROM run WHERE state < ?1 ORDER BY level, id DESC")?;
    let runs: Vec<i64> = runs.query_map([TARGET], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut select = select(conn)?;
    let mut found = Vec::new();
    for run in runs {
        let mut rows = select.query((run, signature))?;
        let mut left = limit;
        while left > 0
            && let Some(row) = rows.next()?
        {
            let row = read(row, signature)?;
            // The row of an attempt that was moved away hides an older one, whatever its source.
            if row.ok.is_none() || counts(row.source) {
                left -= 1;
                found.push(row);
            }
        }
    }
    // Stable: of rows with the same key, that of the newest run remains first.
    found.sort_by_key(AttemptRow::order);
    found.dedup_by_key(|row| row.order());
    found.retain(|row| row.ok.is_some() && row.n >= floor);
    let excess = found.len().saturating_sub(limit);
    found.drain(..excess);
    Ok(found)
}

/// Returns the statement that selects the newest rows of a run. A file of version 2 that no writer
/// has opened yet has no columns for [`Shown`].
fn select(conn: &Connection) -> Result<CachedStatement<'_>, KbError> {
    let sql = |shown: &str| {
        format!(
            "SELECT at, n, ok, source, kind, model, version, class, cost, ms, turns, input,
               cached_input, cache_creation_input, cache_creation_1h_input, output, reasoning,
               failure, {shown}
             FROM attempt WHERE run = ?1 AND signature = ?2 ORDER BY at DESC, n DESC"
        )
    };
    let older = |_| conn.prepare_cached(&sql("NULL, NULL"));
    Ok(conn.prepare_cached(&sql("id, text")).or_else(older)?)
}

fn read(row: &Row<'_>, signature: i64) -> Result<AttemptRow, KbError> {
    let count = |at: usize| row.get::<_, i64>(at).map(|count| count.max(0) as u64);
    let mut usage = Usage::default();
    usage.input = count(11)?;
    usage.cached_input = count(12)?;
    usage.cache_creation_input = count(13)?;
    usage.cache_creation_1h_input = count(14)?;
    usage.output = count(15)?;
    usage.reasoning = count(16)?;
    let shown =
        match row.get_ref(18)?.as_blob_or_null().map_err(|_| KbError::Damaged("an attempt"))? {
            Some(id) => {
                let id = Uuid::from_slice(id).map_err(|_| KbError::Damaged("an attempt"))?;
                Some(Shown { id, text: row.get(19)? })
            }
            None => None,
        };
    Ok(AttemptRow {
        signature,
        at: row.get(0)?,
        n: row.get(1)?,
        ok: row.get(2)?,
        source: row.get(3)?,
        kind: row.get(4)?,
        model: row.get(5)?,
        version: row.get(6)?,
        class: Class(row.get(7)?),
        cost: row.get(8)?,
        ms: row.get(9)?,
        turns: row.get(10)?,
        usage,
        failure: row.get(17)?,
        shown,
    })
}
