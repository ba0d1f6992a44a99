//! The open run.

use rusqlite::{OptionalExtension, Transaction};

use super::{AttemptRow, LIVE};
use crate::error::KbError;

/// Rows from which the open run is closed.
const RUN_ROWS: i64 = 131_072;

/// Writes rows, which are sorted by problem and time, into the open run.
pub(crate) fn write(tx: &Transaction<'_>, rows: &[AttemptRow]) -> Result<(), KbError> {
    let Some(last) = rows.iter().map(|row| row.n).max() else { return Ok(()) };
    let run = open_run(tx)?;
    let mut insert = tx.prepare_cached(
        "INSERT OR REPLACE INTO attempt (run, signature, at, n, ok, source, kind, model, version,
           class, cost, ms, turns, input, cached_input, cache_creation_input,
           cache_creation_1h_input, output, reasoning, failure, id, text)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
           ?19, ?20, ?21, ?22)",
    )?;
    for row in rows {
        let usage = &row.usage;
        insert.execute(rusqlite::params![
            run,
            row.signature,
            row.at,
            row.n,
            row.ok,
            row.source,
            row.kind,
            row.model,
            row.version,
            row.class.0,
            row.cost,
            row.ms,
            row.turns,
            usage.input as i64,
            usage.cached_input as i64,
            usage.cache_creation_input as i64,
            usage.cache_creation_1h_input as i64,
            usage.output as i64,
            usage.reasoning as i64,
            row.failure,
            row.shown.as_ref().map(|shown| shown.id.as_bytes()),
            row.shown.as_ref().and_then(|shown| shown.text.as_deref()),
        ])?;
    }
    tx.prepare_cached("UPDATE run SET rows = rows + ?2, last_n = max(last_n, ?3) WHERE id = ?1")?
        .execute((run, rows.len() as i64, last))?;
    Ok(())
}

fn open_run(tx: &Transaction<'_>) -> Result<i64, KbError> {
    let open = tx
        .prepare_cached(
            "SELECT id FROM run WHERE level = 0 AND state = ?1 AND rows < ?2
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row((LIVE, RUN_ROWS), |row| row.get(0))
        .optional()?;
    if let Some(run) = open {
        return Ok(run);
    }
    let run = tx
        .prepare_cached(
            "INSERT INTO run (level, rows, state, cursor, last_n) VALUES (0, 0, ?1, 0, 0)",
        )?
        .insert([LIVE])?;
    Ok(run)
}
