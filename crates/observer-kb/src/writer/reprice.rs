//! Costs of problems after a change of prices.
//!
//! The row of a problem has the cost of its tokens by the prices when it was written. A fingerprint
//! of the prices of all models tells that they have changed; the rows are then computed anew, some
//! at a time. Everything else is priced when it is read.

use std::hash::{DefaultHasher, Hash, Hasher};

use observer_core::{CONTEXT_THRESHOLDS, RateQuery, ServiceTier, context_bucket};
use rusqlite::{Connection, Transaction};

use super::memory::{Memory, Writer};
use crate::error::KbError;
use crate::problems::{Computer, ProblemRecord};
use crate::schema::Meta;
use crate::settings::Settings;

/// Rows that are computed in one step.
const STEP: i64 = 100;

/// Progress after a change of prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repricing {
    /// Last problem that was computed.
    after: i64,
    /// Fingerprint of the new prices.
    prices: i64,
}

impl Repricing {
    /// Returns what is to be done if prices have changed since rows were written.
    pub(super) fn due(writer: &mut Writer) -> Result<Option<Self>, KbError> {
        let prices = fingerprint(&writer.conn, &writer.settings)?;
        if Meta::Prices.get(&writer.conn)? == Some(prices) {
            return Ok(None);
        }
        Ok(Some(Self { after: i64::MIN, prices }))
    }

    /// Computes some rows. Returns what is left to do.
    pub(super) fn step(self, writer: &mut Writer) -> Result<Option<Self>, KbError> {
        writer.transact(|tx, memory, settings| self.compute(tx, memory, settings))
    }

    fn compute(
        self,
        tx: &Transaction<'_>,
        memory: &Memory,
        settings: &Settings,
    ) -> Result<Option<Self>, KbError> {
        let signatures: Vec<i64> = tx
            .prepare_cached(
                "SELECT signature FROM problem WHERE signature > ?1 ORDER BY signature LIMIT ?2",
            )?
            .query_map((self.after, STEP), |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let prices = settings.prices.as_ref();
        let mut computer = Computer::new(tx, &settings.rules, prices, memory.floor);
        for &signature in &signatures {
            let record = ProblemRecord::load(tx, signature, memory.floor)?;
            // Others have no tokens to be priced.
            let priced = record.filter(|record| record.priced > 0.0 || record.unpriced > 0);
            if let Some(record) = priced {
                computer.recompute(record, &[])?.save(tx)?;
            }
        }
        match signatures.last() {
            Some(&after) => Ok(Some(Self { after, ..self })),
            None => {
                Meta::Prices.set(tx, self.prices)?;
                Ok(None)
            }
        }
    }
}

/// Returns a number that changes with the prices of the models that occur.
fn fingerprint(conn: &Connection, settings: &Settings) -> Result<i64, KbError> {
    let mut statement = conn.prepare_cached("SELECT name FROM model ORDER BY id")?;
    let mut rows = statement.query([])?;
    let contexts = CONTEXT_THRESHOLDS.map(|context| context_bucket(context + 1));
    let mut hash = DefaultHasher::new();
    while let Some(row) = rows.next()? {
        let model = row.get_ref(0)?.as_str().unwrap_or_default();
        let at = settings.now();
        let standard = [0].into_iter().chain(contexts).map(|c| (c, ServiceTier::Standard));
        for (context, service_tier) in standard.chain(ServiceTier::ALL.map(|tier| (0, tier))) {
            let query = RateQuery { model, at, context, service_tier, local: false };
            // Only what has a price counts, so that a new model without one changes nothing.
            if let Some(rates) = settings.prices.rates(&query) {
                model.hash(&mut hash);
                format!("{rates:?}").hash(&mut hash);
            }
        }
    }
    Ok(hash.finish() as i64)
}
