//! Corrections of outcomes.
//!
//! An outcome with `replaces` is no attempt. It is attached to the outcome that it names, by the id
//! that the observer or the producer gave, within the same source. A correction of a correction
//! belongs to the original outcome. If the original has not arrived, the correction waits.

use std::collections::BTreeMap;

use observer_core::{Envelope, Uuid};
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::derive::Work;
use super::memory::{EVENT_COLUMNS, Memory, Numbered, Pending, envelope, normalized, target_hash};
use crate::error::KbError;
use crate::index::{Field, newest_with, term};
use crate::outcome::{Outcome, time_of};
use crate::settings::Settings;

/// What a correction names.
enum Target {
    /// An outcome that it corrects.
    Original(i64),
    /// Nothing that has arrived.
    Unknown,
    /// An event that can't be corrected: a phase.
    Unfit,
}

impl Memory {
    /// Attaches a correction to its original, and those that wait for an event to it.
    pub(super) fn attach(
        &mut self,
        tx: &Transaction<'_>,
        event: &Pending,
        corrected: &mut BTreeMap<i64, Vec<i64>>,
    ) -> Result<(), KbError> {
        let Some((_, envelope)) = load(tx, event.n)? else { return Ok(()) };
        let mut original = event.n;
        if event.corrects {
            let target = envelope.event.replaces().unwrap_or_default();
            match self.resolve(tx, &envelope, event.n, target)? {
                Target::Original(found) => original = found,
                Target::Unknown => return self.wait(tx, &envelope, event.n, target),
                Target::Unfit => return Ok(()),
            }
            attach(tx, original, event.n, corrected)?;
        }
        self.attach_waiting(tx, &envelope, original, corrected)
    }

    /// Attaches what waits for an event to an original, and what waits for those in turn.
    fn attach_waiting(
        &mut self,
        tx: &Transaction<'_>,
        envelope: &Envelope,
        original: i64,
        corrected: &mut BTreeMap<i64, Vec<i64>>,
    ) -> Result<(), KbError> {
        let source = envelope.event.source();
        let own = envelope.id.hyphenated().to_string();
        let producers = envelope.event.id().map(normalized).filter(|id| *id != own);
        for name in [own].into_iter().chain(producers) {
            if !self.waiting.contains(&target_hash(source, &name)) {
                continue;
            }
            let waiting: Vec<i64> = tx
                .prepare_cached(
                    "DELETE FROM unresolved WHERE target = ?2 AND n <> ?3
                       AND source = (SELECT id FROM source WHERE name = ?1) RETURNING n",
                )?
                .query_map((source, &name, original), |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for n in waiting {
                attach(tx, original, n, corrected)?;
                if let Some((_, envelope)) = load(tx, n)? {
                    self.attach_waiting(tx, &envelope, original, corrected)?;
                }
            }
        }
        Ok(())
    }

    fn wait(
        &mut self,
        tx: &Transaction<'_>,
        envelope: &Envelope,
        n: i64,
        target: &str,
    ) -> Result<(), KbError> {
        let source = self.dictionaries.sources.id(tx, envelope.event.source())?;
        let target = normalized(target);
        tx.prepare_cached("INSERT INTO unresolved (n, source, target) VALUES (?1, ?2, ?3)")?
            .execute((n, source, &target))?;
        self.waiting.insert(target_hash(envelope.event.source(), &target));
        Ok(())
    }

    fn resolve(
        &self,
        conn: &Connection,
        envelope: &Envelope,
        n: i64,
        target: &str,
    ) -> Result<Target, KbError> {
        let source = envelope.event.source();
        let mut found = None;
        if let Ok(id) = Uuid::parse_str(target) {
            found = self.find(conn, id)?;
        }
        if found.is_none() {
            found = self.find_producers(conn, source, target, n)?;
        }
        let Some((found, original)) = found.map(|n| load(conn, n)).transpose()?.flatten() else {
            return Ok(Target::Unknown);
        };
        if found == n || original.event.source() != source {
            return Ok(Target::Unknown);
        }
        if original.event.is_phase() {
            return Ok(Target::Unfit);
        }
        if original.event.replaces().is_none() {
            return Ok(Target::Original(found));
        }
        let of: Option<i64> = conn
            .prepare_cached("SELECT original FROM correction WHERE n = ?1")?
            .query_row([found], |row| row.get(0))
            .optional()?;
        Ok(of.map_or(Target::Unknown, Target::Original))
    }

    /// Returns the newest outcome of a source with this id of the producer, other than `except`.
    fn find_producers(
        &self,
        conn: &Connection,
        source: &str,
        id: &str,
        except: i64,
    ) -> Result<Option<i64>, KbError> {
        let wanted = term(Field::ProducerId, &[source.as_bytes(), id.as_bytes()]);
        let is_it = |n: i64| -> Result<Option<i64>, KbError> {
            if n < self.floor || n == except {
                return Ok(None);
            }
            let found = load(conn, n)?.is_some_and(|(_, envelope)| {
                let event = &envelope.event;
                event.source() == source && event.id() == Some(id) && !event.is_phase()
            });
            Ok(found.then_some(n))
        };
        for n in self.head.with(wanted) {
            if let Some(n) = is_it(n)? {
                return Ok(Some(n));
            }
        }
        newest_with(conn, wanted, is_it)
    }

    /// Replaces the figures of an original by those of its corrections. `is_new` if they don't
    /// include it yet; `now` are the corrections that they don't include.
    pub(super) fn correct(
        &mut self,
        tx: &Transaction<'_>,
        settings: &Settings,
        original: i64,
        is_new: bool,
        now: &[i64],
        work: &mut Work,
    ) -> Result<(), KbError> {
        let Some((_, envelope)) = load(tx, original)? else { return Ok(()) };
        let Some(outcome) = Outcome::of(&envelope.event) else { return Ok(()) };
        let at = time_of(&envelope).as_microsecond();
        let all = corrections_of(tx, original)?;
        let (mut old, mut new) = (outcome.clone(), outcome);
        for (n, correction) in &all {
            let Some(correction) = Outcome::of(&correction.event) else { continue };
            new = new.corrected(&correction);
            if !now.contains(n) {
                old = old.corrected(&correction);
            }
        }
        let mut number = |outcome: Outcome| -> Result<Numbered, KbError> {
            self.number(tx, settings, (original, envelope.id), at, outcome)
        };
        let new = number(new)?;
        if is_new {
            work.add(new);
        } else {
            work.replace(number(old)?, new);
        }
        Ok(())
    }
}

fn attach(
    tx: &Transaction<'_>,
    original: i64,
    n: i64,
    corrected: &mut BTreeMap<i64, Vec<i64>>,
) -> Result<(), KbError> {
    tx.prepare_cached("INSERT OR IGNORE INTO correction (original, n) VALUES (?1, ?2)")?
        .execute((original, n))?;
    corrected.entry(original).or_default().push(n);
    Ok(())
}

/// Returns the corrections of an event in the order of receipt.
pub(crate) fn corrections_of(
    conn: &Connection,
    original: i64,
) -> Result<Vec<(i64, Envelope)>, KbError> {
    let numbers: Vec<i64> = conn
        .prepare_cached("SELECT n FROM correction WHERE original = ?1 ORDER BY n")?
        .query_map([original], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let loaded = numbers.into_iter().map(|n| load(conn, n));
    loaded.filter_map(Result::transpose).collect()
}

/// Reads an event.
pub(crate) fn load(conn: &Connection, n: i64) -> Result<Option<(i64, Envelope)>, KbError> {
    let sql = format!("SELECT {EVENT_COLUMNS} FROM event WHERE n = ?1");
    let mut statement = conn.prepare_cached(&sql)?;
    let found = statement.query_row([n], |row| Ok(envelope(row))).optional()?;
    found.transpose()
}
