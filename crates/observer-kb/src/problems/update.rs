//! New and corrected attempts in the row of a problem.

use std::rc::Rc;

use hashbrown::HashMap;
use observer_core::Pricing;
use observer_figures::state::{Attempt, Fold, Past, Rules, RulesId};
use rusqlite::Connection;

use super::NEWEST;
use super::encoding::ModelEntry;
use super::row::ProblemRecord;
use crate::attempts::{AttemptRow, attempts_of, time};
use crate::error::KbError;
use crate::outcome::Basis;
use crate::schema::dictionary::{self, OTHER};

/// Attempt that a correction withdrew or changed.
#[derive(Debug, Clone)]
pub(crate) struct Replaced {
    /// The attempt as it was.
    pub(crate) old: AttemptRow,
    /// The attempt as it is, if it still belongs to the same problem.
    pub(crate) new: Option<AttemptRow>,
}

/// Computes rows of problems from attempts.
pub(crate) struct Computer<'a> {
    conn: &'a Connection,
    rules: &'a Rules,
    rules_id: RulesId,
    prices: &'a dyn Pricing,
    /// Oldest event that was not deleted.
    floor: i64,
    models: HashMap<i64, Rc<str>>,
    versions: HashMap<i64, Rc<str>>,
}

impl<'a> Computer<'a> {
    pub(crate) fn new(
        conn: &'a Connection,
        rules: &'a Rules,
        prices: &'a dyn Pricing,
        floor: i64,
    ) -> Self {
        let (models, versions) = (HashMap::new(), HashMap::new());
        Self { conn, rules, rules_id: rules.id(), prices, floor, models, versions }
    }

    /// Returns the row of a problem after some changes: new attempts, sorted by time, and replaced
    /// ones. The attempts are stored already.
    pub(crate) fn update(
        &mut self,
        signature: i64,
        added: &[AttemptRow],
        replaced: &[Replaced],
    ) -> Result<ProblemRecord, KbError> {
        let mut record = ProblemRecord::load(self.conn, signature, self.floor)?
            .unwrap_or(ProblemRecord { signature, ..ProblemRecord::default() });
        let fold = match record.fold.as_slice() {
            [] if record.attempts == 0 => Some(Fold::default()),
            fold => Fold::decode(fold, self.rules_id).ok(),
        };
        let appended = match fold {
            Some(fold) if replaced.is_empty() => self.push_all(fold, added)?,
            _ => None,
        };
        for attempt in added {
            let cost = self.cost(attempt)?;
            add(&mut record, attempt, cost, appended.is_some());
        }
        match appended {
            Some(fold) => record.fold = fold.encode(self.rules_id),
            None => record = self.recompute(record, replaced)?,
        }
        Ok(record)
    }

    /// Adds attempts to a fold; returns `None` if one precedes those that it has.
    fn push_all(
        &mut self,
        mut fold: Fold,
        attempts: &[AttemptRow],
    ) -> Result<Option<Fold>, KbError> {
        for row in attempts {
            let (model, version) = (self.model(row.model)?, self.version(row.version)?);
            if fold.push(&fold_attempt(row, &model, &version), self.rules).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(fold))
    }

    /// Computes a row from its attempts. If the problem has more of them than can be read, or some
    /// were deleted, the counts and sums are adjusted and the rest follows from the newest ones.
    pub(crate) fn recompute(
        &mut self,
        mut counted: ProblemRecord,
        replaced: &[Replaced],
    ) -> Result<ProblemRecord, KbError> {
        for Replaced { old, new } in replaced {
            let cost = self.cost(old)?;
            subtract(&mut counted, old, cost);
            if let Some(new) = new {
                let cost = self.cost(new)?;
                add(&mut counted, new, cost, false);
            }
        }
        let rows = attempts_of(self.conn, counted.signature, self.floor, NEWEST, |_| true)?;
        let record = self.count(counted.signature, &rows)?;
        let older = counted.attempts.saturating_sub(record.attempts);
        let past = Past {
            attempts: older,
            solved: counted.solved.saturating_sub(record.solved).min(older),
            first: (time(counted.first_at), 0),
        };
        let fold = self.fold(&rows, past)?.encode(self.rules_id);
        if older == 0 {
            return Ok(ProblemRecord { fold, ..record });
        }
        (counted.last_ok, counted.last_kind) = (record.last_ok, record.last_kind);
        counted.last_model = record.last_model;
        Ok(ProblemRecord { fold, ..counted })
    }

    /// Returns the state of a problem. After a change of the thresholds it is computed anew.
    pub(crate) fn state(&mut self, record: &ProblemRecord) -> Result<Fold, KbError> {
        if let Ok(fold) = Fold::decode(&record.fold, self.rules_id) {
            return Ok(fold);
        }
        let again = self.recompute(record.clone(), &[])?;
        Fold::decode(&again.fold, self.rules_id).map_err(|_| KbError::Damaged("a problem"))
    }

    /// Returns the row of a problem with these attempts, sorted by time, and no others.
    pub(crate) fn compute(
        &mut self,
        signature: i64,
        rows: &[AttemptRow],
    ) -> Result<ProblemRecord, KbError> {
        let record = self.count(signature, rows)?;
        let none = Past { attempts: 0, solved: 0, first: (time(0), 0) };
        Ok(ProblemRecord { fold: self.fold(rows, none)?.encode(self.rules_id), ..record })
    }

    /// Returns the counts and sums of attempts, sorted by time, without a state.
    pub(crate) fn count(
        &mut self,
        signature: i64,
        rows: &[AttemptRow],
    ) -> Result<ProblemRecord, KbError> {
        let mut record = ProblemRecord { signature, ..ProblemRecord::default() };
        for row in rows {
            let cost = self.cost(row)?;
            add(&mut record, row, cost, true);
        }
        Ok(record)
    }

    fn fold(&mut self, rows: &[AttemptRow], past: Past) -> Result<Fold, KbError> {
        let mut texts = Vec::with_capacity(rows.len());
        for row in rows {
            texts.push((self.model(row.model)?, self.version(row.version)?));
        }
        let attempts: Vec<_> = rows
            .iter()
            .zip(&texts)
            .map(|(row, (model, version))| fold_attempt(row, model, version))
            .collect();
        Ok(Fold::of_recent(past, &attempts, self.rules))
    }

    /// Returns the cost of an attempt in US dollars, if it is known.
    pub(crate) fn cost(&mut self, attempt: &AttemptRow) -> Result<Option<f64>, KbError> {
        if attempt.class.basis() != Basis::Tokens {
            return Ok(attempt.cost);
        }
        let model = self.model(attempt.model)?;
        Ok(attempt.cost_by(self.prices, &model))
    }

    fn model(&mut self, id: i64) -> Result<Rc<str>, KbError> {
        name(self.conn, "model", &mut self.models, id)
    }

    fn version(&mut self, id: i64) -> Result<Rc<str>, KbError> {
        name(self.conn, "version", &mut self.versions, id)
    }
}

/// Returns the text of a number in a dictionary, or an empty text.
fn name(
    conn: &Connection,
    table: &str,
    known: &mut HashMap<i64, Rc<str>>,
    id: i64,
) -> Result<Rc<str>, KbError> {
    if let Some(name) = known.get(&id) {
        return Ok(Rc::clone(name));
    }
    let name: Rc<str> = dictionary::name(conn, table, id)?.unwrap_or_default().into();
    known.insert(id, Rc::clone(&name));
    Ok(name)
}

/// Returns an attempt as the state machine wants it. An empty version is none.
pub(crate) fn fold_attempt<'a>(row: &AttemptRow, model: &'a str, version: &'a str) -> Attempt<'a> {
    Attempt::new(row.n as u64, row.time(), row.is_ok())
        .model(model)
        .version((!version.is_empty()).then_some(version))
}

/// Adds an attempt to the counts and sums. If it is `last`, it follows all others.
fn add(record: &mut ProblemRecord, row: &AttemptRow, cost: Option<f64>, last: bool) {
    let ok = row.is_ok();
    if record.attempts == 0 {
        (record.first_at, record.last_at) = (row.at, row.at);
        record.source = Some(row.source);
    } else if record.source != Some(row.source) {
        record.source = None;
    }
    if last {
        record.changes += u64::from(record.attempts > 0 && record.last_ok != ok);
        (record.last_ok, record.last_kind, record.last_model) = (ok, row.kind, row.model);
    }
    record.first_at = record.first_at.min(row.at);
    record.last_at = record.last_at.max(row.at);
    record.last_n = record.last_n.max(row.n);
    record.attempts += 1;
    record.solved += u64::from(ok);
    match row.class.basis() {
        Basis::Tokens => record.priced += cost.unwrap_or(0.0),
        _ => record.reported += cost.unwrap_or(0.0),
    }
    record.unpriced += u64::from(row.is_unpriced(cost));
    let entry = entry_of(record, row);
    entry.attempts += 1;
    entry.solved += u64::from(ok);
    entry.known += u64::from(cost.is_some());
    entry.cost += cost.unwrap_or(0.0);
    entry.first_at = entry.first_at.min(row.at);
    entry.last_at = entry.last_at.max(row.at);
    if ok {
        entry.last_ok = Some(entry.last_ok.map_or(row.at, |at| at.max(row.at)));
    }
}

/// Takes an attempt away from the counts and sums. Times stay as they are.
fn subtract(record: &mut ProblemRecord, row: &AttemptRow, cost: Option<f64>) {
    let ok = u64::from(row.is_ok());
    record.attempts = record.attempts.saturating_sub(1);
    record.solved = record.solved.saturating_sub(ok);
    match row.class.basis() {
        Basis::Tokens => record.priced -= cost.unwrap_or(0.0),
        _ => record.reported -= cost.unwrap_or(0.0),
    }
    record.unpriced = record.unpriced.saturating_sub(u64::from(row.is_unpriced(cost)));
    let entry = entry_of(record, row);
    entry.attempts = entry.attempts.saturating_sub(1);
    entry.solved = entry.solved.saturating_sub(ok);
    entry.known = entry.known.saturating_sub(u64::from(cost.is_some()));
    entry.cost -= cost.unwrap_or(0.0);
    if entry.solved == 0 {
        entry.last_ok = None;
    }
    record.models.retain(|entry| entry.attempts > 0);
}

/// Sources and models of a problem that are distinguished. Further models count as one for each
/// source, so that a source has its attempts however many models another one names.
const ENTRIES: usize = 256;
/// Entries with those for the further models of each source. Further sources count as one.
const ALL_ENTRIES: usize = 1_024;

fn entry_of<'a>(record: &'a mut ProblemRecord, row: &AttemptRow) -> &'a mut ModelEntry {
    let position =
        |key: (i64, i64)| record.models.iter().position(|entry| (entry.source, entry.model) == key);
    let mut key = (row.source, row.model);
    let mut found = position(key);
    for (limit, together) in [(ENTRIES, (row.source, OTHER)), (ALL_ENTRIES, (OTHER, OTHER))] {
        if found.is_none() && record.models.len() >= limit {
            key = together;
            found = position(key);
        }
    }
    let at = found.unwrap_or_else(|| {
        record.models.push(ModelEntry {
            source: key.0,
            model: key.1,
            first_at: row.at,
            last_at: row.at,
            ..ModelEntry::default()
        });
        record.models.len() - 1
    });
    &mut record.models[at]
}
