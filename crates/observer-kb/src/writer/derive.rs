//! Figures from stored events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::Transaction;

use super::memory::{Memory, Numbered, Pending, Writer};
use crate::attempts::{self, AttemptRow};
use crate::error::KbError;
use crate::problems::{Computer, Replaced};
use crate::rollup::{Deltas, Values};
use crate::schema::Meta;
use crate::settings::Settings;

/// Events up to which a flush derives their figures at once.
const FEW: usize = 8_192;
/// Time by which figures of more events may lag. One derivation from many events changes the row of
/// a problem once, and costs less than several.
const LAG: Duration = Duration::from_secs(3);

impl Writer {
    /// Makes everything that was stored durable, and derives figures from it, unless there is so
    /// much that a later derivation is better. Returns the number of events that figures were
    /// derived from.
    pub(crate) fn flush(&mut self) -> Result<usize, KbError> {
        if !self.memory.dirty {
            return Ok(0);
        }
        // A commit with full synchronization makes the commits before it durable, too.
        self.conn.pragma_update(None, "synchronous", "FULL")?;
        let derived = self.transact(|tx, memory, settings| {
            let few = memory.pending.len() <= FEW;
            let derived = if few || memory.lags() { memory.derive(tx, settings)? } else { 0 };
            let flushes = Meta::Flushes.get(tx)?.unwrap_or(0);
            Meta::Flushes.set(tx, flushes.wrapping_add(1))?;
            Ok(derived)
        });
        self.conn.pragma_update(None, "synchronous", "NORMAL")?;
        let derived = derived?;
        self.memory.dirty = false;
        Ok(derived)
    }

    /// Derives the figures that a flush has left, if they lag. Returns whether there were any.
    pub(super) fn catch_up(&mut self) -> Result<bool, KbError> {
        if self.memory.pending.is_empty() || !self.memory.lags() {
            return Ok(false);
        }
        Ok(self.transact(|tx, memory, settings| memory.derive(tx, settings))? > 0)
    }
}

/// Changes of figures, collected before they are written.
#[derive(Debug, Default)]
pub(super) struct Work {
    deltas: Deltas,
    /// New attempts at problems.
    added: Vec<AttemptRow>,
    /// Replaced attempts by problem.
    replaced: BTreeMap<i64, Vec<Replaced>>,
    /// Attempts that their problem no longer has.
    withdrawn: Vec<AttemptRow>,
}

impl Work {
    /// Moves attempts to another problem.
    pub(super) fn moved(attempts: Vec<AttemptRow>, to: i64) -> Self {
        let withdrawn = attempts.iter().map(|row| AttemptRow { ok: None, ..row.clone() }).collect();
        let added = attempts.into_iter().map(|row| AttemptRow { signature: to, ..row }).collect();
        Self { added, withdrawn, ..Self::default() }
    }

    /// Moves one of several attempts at a problem to another problem.
    pub(super) fn shift(&mut self, row: AttemptRow, to: i64) {
        self.withdrawn.push(AttemptRow { ok: None, ..row.clone() });
        self.added.push(AttemptRow { signature: to, ..row.clone() });
        let left = Replaced { old: row, new: None };
        self.replaced.entry(left.old.signature).or_default().push(left);
    }

    /// Adds a new attempt.
    pub(super) fn add(&mut self, new: Numbered) {
        self.count(&new, 1);
        self.added.push(new.row);
    }

    /// Replaces an attempt by its correction.
    pub(super) fn replace(&mut self, old: Numbered, new: Numbered) {
        self.count(&old, -1);
        self.count(&new, 1);
        let (from, to) = (old.row.signature, new.row.signature);
        if from == to {
            if from != 0 {
                let replaced = Replaced { old: old.row, new: Some(new.row) };
                self.replaced.entry(from).or_default().push(replaced);
            }
            return;
        }
        if from != 0 {
            self.withdrawn.push(AttemptRow { ok: None, ..old.row.clone() });
            let replaced = Replaced { old: old.row, new: None };
            self.replaced.entry(from).or_default().push(replaced);
        }
        self.added.push(new.row);
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

    pub(super) fn write(
        mut self,
        tx: &Transaction<'_>,
        settings: &Settings,
        floor: i64,
    ) -> Result<(), KbError> {
        self.added.retain(|row| row.signature != 0);
        self.added.sort_unstable_by_key(AttemptRow::key);
        attempts::write(tx, &self.added)?;
        let replaced = self.replaced.values().flatten();
        let mut corrected = self.withdrawn;
        corrected.extend(replaced.filter_map(|replaced| replaced.new.clone()));
        corrected.sort_unstable_by_key(AttemptRow::key);
        attempts::write(tx, &corrected)?;
        let mut computer = Computer::new(tx, &settings.rules, settings.prices.as_ref(), floor);
        for added in self.added.chunk_by(|a, b| a.signature == b.signature) {
            let signature = added[0].signature;
            let replaced = self.replaced.remove(&signature).unwrap_or_default();
            computer.update(signature, added, &replaced)?.save(tx)?;
        }
        for (signature, replaced) in self.replaced {
            computer.update(signature, &[], &replaced)?.save(tx)?;
        }
        self.deltas.write(tx)
    }
}

impl Memory {
    /// Returns whether figures lag.
    fn lags(&self) -> bool {
        self.derived_at.elapsed() >= LAG
    }

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
        let plain = |event: &Pending| !event.corrects && !corrected.contains_key(&event.n);
        for attempt in pending.iter().filter(|event| plain(event)).filter_map(Pending::attempt) {
            work.count(attempt, 1);
        }
        // The rows take the place of what they come from.
        let attempts = pending.into_iter().filter(plain).filter_map(|event| event.attempt);
        work.added = attempts.map(|attempt| attempt.row).collect();
        for (original, now) in corrected {
            self.correct(tx, settings, original, original >= first, &now, &mut work)?;
        }
        work.write(tx, settings, self.floor)?;
        Meta::Derived.set(tx, last)?;
        self.derived_at = Instant::now();
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use observer_core::{Batch, Envelope, Event, SinkContext, Timestamp, Uuid};

    use super::*;
    use crate::KbConfig;

    /// Returns a writer that has stored some events, and the folder of its file.
    fn writer(events: usize) -> (Writer, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let context = SinkContext::new("kb", folder.path());
        let settings = KbConfig::in_dir(folder.path().join("kb")).settings(&context).unwrap();
        let mut writer = Writer::open(Arc::new(settings)).unwrap();
        let event =
            Event::parse(r#"{"source":"s","event_kind":"ok","ok":true,"sig_hash":"p"}"#.to_owned())
                .unwrap();
        let envelopes = (1..=events as u64).map(|seq| {
            let (id, event) = (Uuid::from_u128(seq.into()), event.unparsed());
            Arc::new(Envelope { id, seq, received_at: Timestamp::UNIX_EPOCH, event })
        });
        writer.store(&Batch::new(1, envelopes.collect())).unwrap();
        (writer, folder)
    }

    fn attempts(writer: &Writer) -> i64 {
        let sum = "SELECT coalesce(sum(attempts), 0) FROM problem";
        writer.conn.query_row(sum, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn flush_derives_figures_of_few_events() {
        let (mut writer, _folder) = writer(FEW);
        assert_eq!(writer.flush().unwrap(), FEW);
        assert_eq!(attempts(&writer), FEW as i64);
    }

    #[test]
    fn figures_of_many_events_follow_when_they_lag() {
        let (mut writer, _folder) = writer(FEW + 1);
        assert_eq!(writer.flush().unwrap(), 0);
        assert!(!writer.catch_up().unwrap());
        assert_eq!(attempts(&writer), 0);
        writer.memory.derived_at = Instant::now().checked_sub(LAG).unwrap();
        assert!(writer.catch_up().unwrap());
        assert_eq!(attempts(&writer), FEW as i64 + 1);
        assert!(!writer.catch_up().unwrap());
    }

    #[test]
    fn close_derives_what_is_left() {
        let (mut writer, _folder) = writer(FEW + 1);
        writer.flush().unwrap();
        let settings = Arc::clone(&writer.settings);
        writer.close().unwrap();
        let writer = Writer::open(settings).unwrap();
        assert!(writer.memory.pending.is_empty());
        assert_eq!(attempts(&writer), FEW as i64 + 1);
    }

    #[test]
    fn store_derives_figures_before_too_many_events_wait() {
        let (writer, _folder) = writer(crate::writer::store::MOST_PENDING);
        assert!(writer.memory.pending.is_empty());
    }
}
