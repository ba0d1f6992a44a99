//! Merging of runs, in steps.

use rusqlite::{OptionalExtension, Transaction};

use super::{DEAD, LIVE, SOURCE, TARGET};
use crate::error::KbError;

/// Runs of a level that become one of the next.
const FAN_IN: i64 = 8;
/// Rows that a step copies or deletes, about.
const STEP_ROWS: i64 = 4_000;

/// Does one step of the work that is due. Returns whether there was any.
pub(crate) fn merge_step(tx: &Transaction<'_>, floor: i64) -> Result<bool, KbError> {
    if delete_dead(tx)? {
        return Ok(true);
    }
    let target = tx
        .prepare_cached("SELECT id FROM run WHERE state = ?1")?
        .query_row([TARGET], |row| row.get(0))
        .optional()?;
    match target {
        Some(target) => copy(tx, target, floor)?,
        None => return begin(tx),
    }
    Ok(true)
}

/// Chooses the lowest level with enough closed runs.
fn begin(tx: &Transaction<'_>) -> Result<bool, KbError> {
    // The newest run of level 0 may be open.
    let level: Option<i64> = tx
        .prepare_cached(
            "SELECT level FROM run WHERE state = ?1 GROUP BY level
             HAVING count(*) > ?2 ORDER BY level LIMIT 1",
        )?
        .query_row((LIVE, FAN_IN), |row| row.get(0))
        .optional()?;
    let Some(level) = level else { return Ok(false) };
    tx.prepare_cached(
        "UPDATE run SET state = ?1 WHERE id IN
           (SELECT id FROM run WHERE level = ?2 AND state = ?3 ORDER BY id LIMIT ?4)",
    )?
    .execute((SOURCE, level, LIVE, FAN_IN))?;
    tx.prepare_cached(
        "INSERT INTO run (level, rows, state, cursor, last_n)
         SELECT ?1, 0, ?2, ?3, max(last_n) FROM run WHERE state = ?4",
    )?
    .execute((level + 1, TARGET, i64::MIN, SOURCE))?;
    Ok(true)
}

/// Copies the next rows of the sources, and completes the merge after the last ones. Attempts
/// before `floor` are left out.
fn copy(tx: &Transaction<'_>, target: i64, floor: i64) -> Result<(), KbError> {
    let after: i64 = tx
        .prepare_cached("SELECT cursor FROM run WHERE id = ?1")?
        .query_row([target], |row| row.get(0))?;
    let bound = bound(tx, after)?;
    let copied = tx
        .prepare_cached(
            "INSERT OR REPLACE INTO attempt
             SELECT ?1, a.signature, a.at, a.n, a.ok, a.source, a.kind, a.model, a.version,
               a.class, a.cost, a.ms, a.turns, a.input, a.cached_input, a.cache_creation_input,
               a.cache_creation_1h_input, a.output, a.reasoning, a.failure, a.id, a.text
             FROM run r CROSS JOIN attempt a ON a.run = r.id
             WHERE r.state = ?2 AND a.signature > ?3 AND a.signature <= ?4 AND a.n >= ?5
             ORDER BY a.signature, a.at, a.n, r.id",
        )?
        .execute((target, SOURCE, after, bound.unwrap_or(i64::MAX), floor))?;
    tx.prepare_cached("UPDATE run SET rows = rows + ?2, cursor = ?3 WHERE id = ?1")?.execute((
        target,
        copied as i64,
        bound.unwrap_or(i64::MAX),
    ))?;
    if bound.is_none() {
        tx.prepare_cached("UPDATE run SET state = ?1 WHERE state = ?2")?.execute((DEAD, SOURCE))?;
        tx.prepare_cached("UPDATE run SET state = ?1 WHERE id = ?2")?.execute((LIVE, target))?;
    }
    Ok(())
}

/// Returns the last problem of the step after problem `after`, or `None` if the step is the last.
fn bound(tx: &Transaction<'_>, after: i64) -> Result<Option<i64>, KbError> {
    let bound = tx
        .prepare_cached(
            "SELECT min(bound) FROM (
               SELECT (SELECT signature FROM attempt a WHERE a.run = r.id AND a.signature > ?2
                       ORDER BY a.signature LIMIT 1 OFFSET ?3) AS bound
               FROM run r WHERE r.state = ?1)",
        )?
        .query_row((SOURCE, after, STEP_ROWS / FAN_IN), |row| row.get(0))?;
    Ok(bound)
}

/// Drops runs all of whose attempts are before `floor`.
pub(crate) fn drop_runs(tx: &Transaction<'_>, floor: i64) -> Result<(), KbError> {
    tx.prepare_cached("UPDATE run SET state = ?1 WHERE state = ?2 AND last_n < ?3 AND level > 0")?
        .execute((DEAD, LIVE, floor))?;
    Ok(())
}

/// Deletes rows of a run that was merged or dropped. Returns whether there were any.
fn delete_dead(tx: &Transaction<'_>) -> Result<bool, KbError> {
    let dead: Option<i64> = tx
        .prepare_cached("SELECT id FROM run WHERE state = ?1 ORDER BY id LIMIT 1")?
        .query_row([DEAD], |row| row.get(0))
        .optional()?;
    let Some(run) = dead else { return Ok(false) };
    let bound: Option<i64> = tx
        .prepare_cached(
            "SELECT signature FROM attempt WHERE run = ?1 ORDER BY signature LIMIT 1 OFFSET ?2",
        )?
        .query_row((run, STEP_ROWS), |row| row.get(0))
        .optional()?;
    tx.prepare_cached("DELETE FROM attempt WHERE run = ?1 AND signature <= ?2")?
        .execute((run, bound.unwrap_or(i64::MAX)))?;
    if bound.is_none() {
        tx.prepare_cached("DELETE FROM run WHERE id = ?1")?.execute([run])?;
    }
    Ok(true)
}
