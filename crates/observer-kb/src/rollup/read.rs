//! Sums that are read, and priced.

use std::collections::HashMap;

use observer_core::query::{Interval, Tokens};
use observer_core::{Pricing, Usage};
use observer_figures::{Interval as Wilson, Sketch};
use rusqlite::{Connection, Row};

use super::slots::Slots;
use crate::attempts::time;
use crate::error::KbError;
use crate::outcome::{Basis, Class};
use crate::schema::dictionary::Names;

/// Key of a group of sums: model or hint, and source. A part that a query doesn't ask for is 0.
pub(crate) type Key = (i64, i64);

/// What a query groups by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Model.
    Model,
    /// Model and source.
    ModelAndSource,
    /// Source.
    Source,
    /// Attempts with a hint (1), and without (0).
    Hint,
    /// Everything.
    All,
}

impl Group {
    fn key(self, row: &SlotRow) -> Key {
        match self {
            Self::Model => (row.model, 0),
            Self::ModelAndSource => (row.model, row.source),
            Self::Source => (0, row.source),
            Self::Hint => (i64::from(row.class.hinted()), 0),
            Self::All => (0, 0),
        }
    }
}

/// Sums over attempts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) attempts: u64,
    pub(crate) solved: u64,
    pub(crate) turns: u64,
    pub(crate) ms: f64,
    pub(crate) reported: f64,
    pub(crate) priced: f64,
    pub(crate) unpriced: u64,
    /// Attempts whose cost is known.
    pub(crate) known: u64,
    pub(crate) unpriced_tokens: u64,
    pub(crate) tokens: Tokens,
    pub(crate) durations: Sketch,
}

impl Sums {
    pub(crate) fn cost(&self) -> f64 {
        self.reported + self.priced
    }

    /// Returns the cost per solved attempt, if one is solved and the cost of any is known.
    pub(crate) fn cost_per_solved(&self) -> Option<f64> {
        (self.solved > 0 && self.known > 0).then(|| self.cost() / self.solved as f64)
    }

    /// Returns the interval of the ratio of solved attempts; everything from 0 to 1 without any.
    pub(crate) fn interval(&self) -> Interval {
        interval(self.solved, self.attempts)
    }

    /// Adds other sums.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.solved += other.solved;
        self.turns += other.turns;
        self.ms += other.ms;
        self.reported += other.reported;
        self.priced += other.priced;
        self.unpriced += other.unpriced;
        self.known += other.known;
        self.unpriced_tokens = self.unpriced_tokens.saturating_add(other.unpriced_tokens);
        self.tokens += other.tokens;
        self.durations.merge(&other.durations);
    }

    /// Returns what is left of these sums without others that are a part of them.
    pub(crate) fn without(&self, part: &Self) -> Self {
        let tokens = Tokens {
            input: self.tokens.input.saturating_sub(part.tokens.input),
            cached_input: self.tokens.cached_input.saturating_sub(part.tokens.cached_input),
            cache_creation_input: self
                .tokens
                .cache_creation_input
                .saturating_sub(part.tokens.cache_creation_input),
            output: self.tokens.output.saturating_sub(part.tokens.output),
            reasoning: self.tokens.reasoning.saturating_sub(part.tokens.reasoning),
        };
        let mut durations = self.durations.clone();
        durations.subtract(&part.durations);
        Self {
            attempts: self.attempts.saturating_sub(part.attempts),
            solved: self.solved.saturating_sub(part.solved),
            turns: self.turns.saturating_sub(part.turns),
            ms: rest(self.ms, part.ms),
            reported: rest(self.reported, part.reported),
            priced: rest(self.priced, part.priced),
            unpriced: self.unpriced.saturating_sub(part.unpriced),
            known: self.known.saturating_sub(part.known),
            unpriced_tokens: self.unpriced_tokens.saturating_sub(part.unpriced_tokens),
            tokens,
            durations,
        }
    }

    fn add(&mut self, row: &SlotRow, prices: &dyn Pricing, model: &str) {
        self.attempts += row.attempts;
        self.solved += row.solved;
        self.turns += row.turns;
        self.ms += row.ms;
        self.reported += row.cost;
        self.tokens += Tokens::from(&row.usage);
        self.durations.merge(&row.durations);
        let rates = match row.class.basis() {
            Basis::None => return,
            Basis::Reported => {
                self.known += row.attempts;
                return;
            }
            Basis::Tokens => prices.rates(&row.class.rate_query(model, time(row.slot))),
        };
        match row.class.cost(rates, &row.usage) {
            Some(cost) => {
                self.priced += cost;
                self.known += row.attempts;
            }
            None => {
                self.unpriced += row.attempts;
                let tokens = row.usage.input.saturating_add(row.usage.output);
                self.unpriced_tokens = self.unpriced_tokens.saturating_add(tokens);
            }
        }
    }
}

/// Returns the difference of two sums, without what rounding leaves of equal ones.
fn rest(sum: f64, part: f64) -> f64 {
    let rest = sum - part;
    if rest > sum * 1e-12 { rest } else { 0.0 }
}

/// Returns the interval of a ratio; everything from 0 to 1 without attempts.
pub(crate) fn interval(solved: u64, attempts: u64) -> Interval {
    let wilson = Wilson::wilson(solved, attempts);
    wilson.map_or(Interval { low: 0.0, high: 1.0 }, |wilson| Interval {
        low: wilson.low,
        high: wilson.high,
    })
}

struct SlotRow {
    slot: i64,
    source: i64,
    model: i64,
    class: Class,
    attempts: u64,
    solved: u64,
    turns: u64,
    ms: f64,
    cost: f64,
    usage: Usage,
    durations: Sketch,
}

impl SlotRow {
    fn read(row: &Row<'_>) -> Result<Self, KbError> {
        let count = |at: usize| row.get::<_, i64>(at).map(|count| count.max(0) as u64);
        let mut usage = Usage::default();
        usage.input = count(9)?;
        usage.cached_input = count(10)?;
        usage.cache_creation_input = count(11)?;
        usage.cache_creation_1h_input = count(12)?;
        usage.output = count(13)?;
        usage.reasoning = count(14)?;
        let durations = row.get_ref(15)?.as_blob().map_err(|_| KbError::Damaged("sums"))?;
        Ok(Self {
            slot: row.get(0)?,
            source: row.get(1)?,
            model: row.get(2)?,
            class: Class(row.get(3)?),
            attempts: count(4)?,
            solved: count(5)?,
            turns: count(6)?,
            ms: row.get(7)?,
            cost: row.get(8)?,
            usage,
            durations: Sketch::decode(durations).map_err(|_| KbError::Damaged("sums"))?,
        })
    }
}

/// Conditions on the attempts that are summed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions {
    /// Sources that count; `None` for all.
    pub(crate) sources: Option<Vec<i64>>,
    /// Model that counts; `None` for all.
    pub(crate) model: Option<i64>,
}

impl Conditions {
    fn meets(&self, row: &SlotRow) -> bool {
        self.sources.as_ref().is_none_or(|sources| sources.contains(&row.source))
            && self.model.is_none_or(|model| row.model == model)
    }
}

/// Returns the sums of slots by group. `value` is 0 for all attempts, or a value of a label.
pub(crate) fn read(
    conn: &Connection,
    prices: &dyn Pricing,
    value: i64,
    slots: &Slots,
    conditions: &Conditions,
    group: Group,
) -> Result<HashMap<Key, Sums>, KbError> {
    let mut statement = conn.prepare_cached(
        "SELECT slot, source, model, class, attempts, solved, turns, ms, cost, input, cached_input,
           cache_creation_input, cache_creation_1h_input, output, reasoning, durations
         FROM rollup WHERE value = ?1 AND level = ?2 AND slot >= ?3 AND slot < ?4",
    )?;
    let mut models = Names::new(conn, "model");
    let mut sums: HashMap<Key, Sums> = HashMap::new();
    for &(level, first, end) in slots {
        let mut rows = statement.query((value, level as i64, first, end))?;
        while let Some(row) = rows.next()? {
            let row = SlotRow::read(row)?;
            if conditions.meets(&row) {
                let model = models.text(row.model)?;
                sums.entry(group.key(&row)).or_default().add(&row, prices, &model);
            }
        }
    }
    Ok(sums)
}
