//! Changes of sums, merged before they are written.

use std::collections::BTreeMap;

use observer_core::Usage;
use observer_figures::Sketch;
use rusqlite::{OptionalExtension, Transaction, params};

use super::slots::Level;
use crate::error::KbError;
use crate::outcome::Class;
use crate::schema::dictionary::OTHER;

/// Sources, and models, that sums tell apart: the first ones. Producers choose their names, and
/// nothing else bounds the number of rows.
pub(crate) const TOLD_APART: i64 = 1_000;

/// Returns the number under which a source or a model is counted.
fn counted(id: i64) -> i64 {
    if id > TOLD_APART { OTHER } else { id }
}

/// Key of a row of sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey {
    value: i64,
    level: Level,
    slot: i64,
    source: i64,
    model: i64,
    class: Class,
}

/// Values of one attempt that are summed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    /// Event time in microseconds.
    pub(crate) at: i64,
    pub(crate) source: i64,
    pub(crate) model: i64,
    pub(crate) class: Class,
    pub(crate) ok: bool,
    pub(crate) turns: i64,
    pub(crate) ms: Option<f64>,
    pub(crate) usage: Option<&'a Usage>,
}

/// Sum of the changes of one row.
#[derive(Debug, Default)]
struct Delta {
    attempts: i64,
    solved: i64,
    turns: i64,
    ms: f64,
    cost: f64,
    tokens: [i64; 6],
    added: Vec<f64>,
    removed: Vec<f64>,
}

/// Changes of sums.
#[derive(Debug, Default)]
pub(crate) struct Deltas {
    rows: BTreeMap<RowKey, Delta>,
}

impl Deltas {
    /// Adds an attempt to the sums of all attempts and to those of its labels' values, or takes it
    /// away if `sign` is −1.
    pub(crate) fn add(&mut self, values: Values<'_>, labels: &[i64], sign: i64) {
        let all = Level::ALL.into_iter().map(|level| (0, level));
        let labelled = labels.iter().flat_map(|&value| [(value, Level::Day), (value, Level::Hour)]);
        for (value, level) in all.chain(labelled) {
            let key = RowKey {
                value,
                level,
                slot: level.start(values.at),
                source: counted(values.source),
                model: counted(values.model),
                class: values.class,
            };
            self.rows.entry(key).or_default().add(values, sign);
        }
    }

    /// Writes the changes and forgets them.
    pub(crate) fn write(&mut self, tx: &Transaction<'_>) -> Result<(), KbError> {
        for (key, delta) in std::mem::take(&mut self.rows) {
            upsert(tx, key, &delta)?;
        }
        Ok(())
    }
}

impl Delta {
    fn add(&mut self, values: Values<'_>, sign: i64) {
        self.attempts += sign;
        self.solved += sign * i64::from(values.ok);
        self.turns += sign * values.turns;
        if let Some(ms) = values.ms {
            self.ms += sign as f64 * ms;
            let list = if sign > 0 { &mut self.added } else { &mut self.removed };
            list.push(ms);
        }
        let Some(usage) = values.usage else { return };
        self.cost += sign as f64 * usage.cost_usd.unwrap_or(0.0);
        for (sum, count) in self.tokens.iter_mut().zip(counts(usage)) {
            *sum = sum.saturating_add(sign * count);
        }
    }
}

/// Returns the counts of tokens in the order of the columns.
fn counts(usage: &Usage) -> [i64; 6] {
    [
        usage.input,
        usage.cached_input,
        usage.cache_creation_input,
        usage.cache_creation_1h_input,
        usage.output,
        usage.reasoning,
    ]
    .map(|count| i64::try_from(count).unwrap_or(i64::MAX))
}

fn upsert(tx: &Transaction<'_>, key: RowKey, delta: &Delta) -> Result<(), KbError> {
    let RowKey { value, level, slot, source, model, class } = key;
    let level = level as i64;
    let old: Option<Vec<u8>> = tx
        .prepare_cached(
            "SELECT durations FROM rollup WHERE value = ?1 AND level = ?2 AND slot = ?3
               AND source = ?4 AND model = ?5 AND class = ?6",
        )?
        .query_row((value, level, slot, source, model, class.0), |row| row.get(0))
        .optional()?;
    let mut sketch = match &old {
        Some(old) => Sketch::decode(old).map_err(|_| KbError::Damaged("sums"))?,
        None => Sketch::new(),
    };
    delta.added.iter().for_each(|&ms| sketch.add(ms));
    for &ms in &delta.removed {
        sketch.remove(ms);
    }
    let [input, cached, creation, creation_1h, output, reasoning] = delta.tokens;
    tx.prepare_cached(UPSERT)?.execute(params![
        value,
        level,
        slot,
        source,
        model,
        class.0,
        delta.attempts,
        delta.solved,
        delta.turns,
        delta.ms,
        delta.cost,
        input,
        cached,
        creation,
        creation_1h,
        output,
        reasoning,
        sketch.encode(),
    ])?;
    if delta.attempts < 0 {
        tx.prepare_cached(
            "DELETE FROM rollup WHERE value = ?1 AND level = ?2 AND slot = ?3 AND source = ?4
               AND model = ?5 AND class = ?6 AND attempts = 0",
        )?
        .execute((value, level, slot, source, model, class.0))?;
    }
    Ok(())
}

const UPSERT: &str = "
    INSERT INTO rollup (value, level, slot, source, model, class, attempts, solved, turns, ms, cost,
      input, cached_input, cache_creation_input, cache_creation_1h_input, output, reasoning,
      durations)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
    ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts,
      solved = solved + excluded.solved, turns = turns + excluded.turns, ms = ms + excluded.ms,
      cost = cost + excluded.cost, input = input + excluded.input,
      cached_input = cached_input + excluded.cached_input,
      cache_creation_input = cache_creation_input + excluded.cache_creation_input,
      cache_creation_1h_input = cache_creation_1h_input + excluded.cache_creation_1h_input,
      output = output + excluded.output, reasoning = reasoning + excluded.reasoning,
      durations = excluded.durations";
