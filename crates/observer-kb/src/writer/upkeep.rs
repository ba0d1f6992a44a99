//! Work between batches, in small steps: figures that were left, merging, and deletion of old
//! events.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::aliases::Aliases;
use super::memory::{Memory, Writer};
use super::reprice::Repricing;
use crate::attempts::{drop_runs, merge_step};
use crate::error::KbError;
use crate::index::{delete_block, merge_blocks};
use crate::rollup::Level;
use crate::schema::Meta;
use crate::settings::Settings;

/// Events that are deleted in one step.
const DELETED: i64 = 2_000;
/// Deletions after which problems without events are looked for.
const SWEEP: u64 = 32;

/// Time between two looks at the prices.
const PRICES: Duration = Duration::from_secs(600);

/// Progress of the upkeep.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// Deletions since problems without events were looked for.
    deletions: u64,
    /// When prices were looked at.
    prices: Option<Instant>,
    repricing: Option<Repricing>,
    aliases: Option<Aliases>,
}

impl Upkeep {
    /// Does one step of the work that is due. Returns whether there was any.
    pub(crate) fn step(&mut self, writer: &mut Writer) -> Result<bool, KbError> {
        if writer.catch_up()? {
            return Ok(true);
        }
        if writer.transact(|tx, _, _| merge_blocks(tx))? {
            return Ok(true);
        }
        if self.delete(writer)? {
            return Ok(true);
        }
        let aliases = match &mut self.aliases {
            Some(aliases) => aliases,
            none => none.insert(Aliases::of(writer)?),
        };
        if aliases.step(writer)? {
            return Ok(true);
        }
        if self.reprice(writer)? {
            return Ok(true);
        }
        writer.transact(|tx, memory, _| merge_step(tx, memory.floor))
    }

    /// Computes costs anew after prices have changed.
    fn reprice(&mut self, writer: &mut Writer) -> Result<bool, KbError> {
        if self.repricing.is_none() && self.prices.is_none_or(|at| at.elapsed() >= PRICES) {
            self.prices = Some(Instant::now());
            self.repricing = Repricing::due(writer)?;
        }
        let Some(repricing) = self.repricing else { return Ok(false) };
        self.repricing = repricing.step(writer)?;
        Ok(true)
    }

    /// Deletes the oldest events if they are too old or take too much space.
    fn delete(&mut self, writer: &mut Writer) -> Result<bool, KbError> {
        let expired = writer.settings.retain.and_then(|retain| {
            let oldest = writer.settings.now().checked_sub(retain).ok()?;
            Some(oldest.as_microsecond())
        });
        let is_full = used(&writer.conn)? > writer.settings.max_size;
        if expired.is_none() && !is_full {
            return Ok(false);
        }
        let deleted = writer.transact(|tx, memory, settings| {
            delete_events(tx, memory, settings, is_full, expired)
        })?;
        if !deleted {
            return Ok(false);
        }
        let is_due = self.deletions.is_multiple_of(SWEEP);
        self.deletions += 1;
        if is_due {
            writer.transact(|tx, memory, _| {
                tx.prepare_cached("DELETE FROM problem WHERE last_n < ?1")?
                    .execute([memory.floor])?;
                Ok(())
            })?;
        }
        Ok(true)
    }
}

/// Returns the bytes in use.
pub(crate) fn used(conn: &Connection) -> Result<u64, KbError> {
    let pragma = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok((pages * pragma("page_size")?).max(0) as u64)
}

/// Deletes the oldest events. Those that figures don't include yet stay. Returns whether there were
/// any to delete.
fn delete_events(
    tx: &Transaction<'_>,
    memory: &mut Memory,
    settings: &Settings,
    is_full: bool,
    expired: Option<i64>,
) -> Result<bool, KbError> {
    let derived = Meta::Derived.get(tx)?.unwrap_or(0);
    let floor = match is_full {
        true => nth(tx, derived)?,
        false => expired.map(|before| first_since(tx, derived, before)).transpose()?.flatten(),
    };
    let Some(floor) = floor.filter(|&floor| floor > memory.floor) else { return Ok(false) };
    for sql in [
        "DELETE FROM event WHERE n < ?1",
        "DELETE FROM correction WHERE original < ?1",
        "DELETE FROM unresolved WHERE n < ?1",
    ] {
        tx.prepare_cached(sql)?.execute([floor])?;
    }
    let gone: Vec<i64> = tx
        .prepare_cached("SELECT id FROM block WHERE first + count <= ?1")?
        .query_map([floor], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for block in gone {
        delete_block(tx, block)?;
    }
    drop_runs(tx, floor)?;
    if let (Some(before), Some(_)) = (expired, settings.retain) {
        for level in Level::ALL {
            tx.prepare_cached("DELETE FROM rollup WHERE level = ?1 AND slot < ?2")?
                .execute((level as i64, level.start(before)))?;
        }
    }
    Meta::Floor.set(tx, floor)?;
    memory.floor = floor;
    memory.seen.delete_before(floor);
    Ok(true)
}

/// Returns the event before which a step deletes if space is needed.
fn nth(tx: &Transaction<'_>, derived: i64) -> Result<Option<i64>, KbError> {
    let mut statement = tx.prepare_cached("SELECT n FROM event ORDER BY n LIMIT 1 OFFSET ?1")?;
    let n: Option<i64> = statement.query_row([DELETED], |row| row.get(0)).optional()?;
    Ok(Some(n.unwrap_or(derived).min(derived)))
}

/// Returns the first of the oldest events that was received at or after a time, or that a step does
/// not reach.
fn first_since(tx: &Transaction<'_>, derived: i64, before: i64) -> Result<Option<i64>, KbError> {
    let mut statement =
        tx.prepare_cached("SELECT n, received_at FROM event ORDER BY n LIMIT ?1")?;
    let mut rows = statement.query([DELETED])?;
    let mut floor = None;
    while let Some(row) = rows.next()? {
        let n: i64 = row.get(0)?;
        if row.get::<_, i64>(1)? >= before || n >= derived {
            return Ok(Some(n.min(derived)));
        }
        floor = Some(n + 1);
    }
    Ok(floor)
}
