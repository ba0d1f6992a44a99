//! Figures from stored events.

use std::collections::BTreeMap;

use rusqlite::Transaction;

use super::memory::{Memory, Numbered, Writer};
use crate::attempts::{self, AttemptRow};
use crate::error::KbError;
use crate::problems::{Changes, Computer, Replaced};
use crate::rollup::{Deltas, Values};
use crate::schema::Meta;
use crate::settings::Settings;

impl Writer {
    /// Derives figures from what was stored since the last call, and makes all of it durable.
    pub(crate) fn flush(&mut self) -> Result<usize, KbError> {
        if !self.memory.dirty {
            return Ok(0);
        }
        // A commit with full synchronization makes the commits before it durable, too.
        self.conn.pragma_update(None, "synchronous", "FULL")?;
        let derived = self.transact(|tx, memory, settings| {
            let derived = memory.derive(tx, settings)?;
            let flushes = Meta::Flushes.get(tx)?.unwrap_or(0);
            Meta::Flushes.set(tx, flushes.wrapping_add(1))?;
            Ok(derived)
        });
        self.conn.pragma_update(None, "synchronous", "NORMAL")?;
        let derived = derived?;
        self.memory.dirty = false;
        Ok(derived)
    }
}

/// Changes of figures, collected before they are written.
#[derive(Debug, Default)]
pub(super) struct Work {
    deltas: Deltas,
    problems: BTreeMap<i64, Changes>,
    /// Attempts that their problem no longer has.
    withdrawn: Vec<AttemptRow>,
}

impl Work {
    /// Adds a new attempt.
    pub(super) fn add(&mut self, new: Numbered) {
        self.count(&new, 1);
        if new.row.signature != 0 {
            self.problems.entry(new.row.signature).or_default().added.push(new.row);
        }
    }

    /// Replaces an attempt by its correction.
    pub(super) fn replace(&mut self, old: Numbered, new: Numbered) {
        self.count(&old, -1);
        self.count(&new, 1);
        let (from, to) = (old.row.signature, new.row.signature);
        if from == to {
            if from != 0 {
                let replaced = Replaced { old: old.row, new: Some(new.row) };
                self.problems.entry(from).or_default().replaced.push(replaced);
            }
            return;
        }
        if from != 0 {
            self.withdrawn.push(AttemptRow { ok: None, ..old.row.clone() });
            let replaced = Replaced { old: old.row, new: None };
            self.problems.entry(from).or_default().replaced.push(replaced);
        }
        if to != 0 {
            self.problems.entry(to).or_default().added.push(new.row);
        }
    }

    fn count(&mut self, attempt: &Numbered, sign: i64) {
        let row = &attempt.row;
        let values = Values {
            at: row.at,
            source: row.source,
            model: row.model,
            class: row.class,
            ok: row.is_ok(),
            turns: row.turns,
            ms: row.ms,
            usage: attempt.has_usage.then_some(&row.usage),
        };
        self.deltas.add(values, &attempt.labels, sign);
    }

    fn write(
        mut self,
        tx: &Transaction<'_>,
        settings: &Settings,
        floor: i64,
    ) -> Result<(), KbError> {
        let mut rows = self.withdrawn;
        for changes in self.problems.values_mut() {
            changes.added.sort_by_key(AttemptRow::order);
            rows.extend(changes.added.iter().cloned());
            rows.extend(changes.replaced.iter().filter_map(|replaced| replaced.new.clone()));
        }
        rows.sort_by_key(|row| (row.signature, row.at, row.n));
        attempts::write(tx, &rows)?;
        drop(rows);
        let mut computer = Computer::new(tx, &settings.rules, settings.prices.as_ref(), floor);
        for (&signature, changes) in &self.problems {
            computer.update(signature, changes)?.save(tx)?;
        }
        self.deltas.write(tx)
    }
}

impl Memory {
    /// Derives figures from pending events. Returns their number.
    pub(super) fn derive(
        &mut self,
        tx: &Transaction<'_>,
        settings: &Settings,
    ) -> Result<usize, KbError> {
        let pending = std::mem::take(&mut self.pending);
        let Some(last) = pending.last().map(|event| event.n) else { return Ok(0) };
        let count = pending.len();
        // Originals, and the corrections that were attached to them now.
        let mut corrected: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for event in pending.iter().filter(|event| event.corrects || event.is_awaited) {
            self.attach(tx, event, &mut corrected)?;
        }
        let mut work = Work::default();
        let first = pending[0].n;
        for event in pending {
            if let Some(attempt) = event.attempt
                && !event.corrects
                && !corrected.contains_key(&event.n)
            {
                work.add(attempt);
            }
        }
        for (original, now) in corrected {
            self.correct(tx, settings, original, original >= first, &now, &mut work)?;
        }
        work.write(tx, settings, self.floor)?;
        Meta::Derived.set(tx, last)?;
        Ok(count)
    }
}
