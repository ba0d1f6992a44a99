//! The row of a problem.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::encoding::{self, ModelEntry};
use crate::error::KbError;
use crate::schema::Meta;

/// Columns in the order that [`ProblemRecord::read`] expects.
pub(crate) const COLUMNS: &str = "signature, source, first_at, last_at, last_n, attempts, solved, \
     changes, reported, priced, unpriced, last_ok, last_kind, last_model, fold, models";

/// What the store keeps of one problem. Times are in microseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ProblemRecord {
    pub(crate) signature: i64,
    /// The only source of attempts, or `None` if there are several.
    pub(crate) source: Option<i64>,
    pub(crate) first_at: i64,
    pub(crate) last_at: i64,
    /// Newest event.
    pub(crate) last_n: i64,
    pub(crate) attempts: u64,
    pub(crate) solved: u64,
    /// Changes between success and failure.
    pub(crate) changes: u64,
    /// Reported cost in US dollars.
    pub(crate) reported: f64,
    /// Cost of tokens in US dollars, by the prices when the row was written.
    pub(crate) priced: f64,
    /// Attempts with tokens and without a price.
    pub(crate) unpriced: u64,
    pub(crate) last_ok: bool,
    pub(crate) last_kind: i64,
    pub(crate) last_model: i64,
    /// Encoded state.
    pub(crate) fold: Vec<u8>,
    pub(crate) models: Vec<ModelEntry>,
}

impl ProblemRecord {
    /// Reads a row of [`COLUMNS`].
    pub(crate) fn read(row: &Row<'_>) -> Result<Self, KbError> {
        let first_at = row.get(2)?;
        let mut models = Vec::new();
        let data = row.get_ref(15)?.as_blob().map_err(|_| KbError::Damaged("a problem"))?;
        encoding::decode(data, first_at, |entry| models.push(entry))?;
        let count = |at: usize| row.get::<_, i64>(at).map(|count| count.max(0) as u64);
        Ok(Self {
            signature: row.get(0)?,
            source: row.get(1)?,
            first_at,
            last_at: row.get(3)?,
            last_n: row.get(4)?,
            attempts: count(5)?,
            solved: count(6)?,
            changes: count(7)?,
            reported: row.get(8)?,
            priced: row.get(9)?,
            unpriced: count(10)?,
            last_ok: row.get(11)?,
            last_kind: row.get(12)?,
            last_model: row.get(13)?,
            fold: row.get(14)?,
            models,
        })
    }

    /// Reads the row of a problem, unless its events were deleted: the newest one is before `floor`.
    pub(crate) fn load(
        conn: &Connection,
        signature: i64,
        floor: i64,
    ) -> Result<Option<Self>, KbError> {
        let sql = format!("SELECT {COLUMNS} FROM problem WHERE signature = ?1 AND last_n >= ?2");
        let mut statement = conn.prepare_cached(&sql)?;
        let key = (signature, floor);
        let found = statement.query_row(key, |row| Ok(Self::read(row))).optional()?;
        found.transpose()
    }

    /// Writes the row; one without attempts is deleted.
    pub(crate) fn save(&self, tx: &Transaction<'_>) -> Result<(), KbError> {
        if self.attempts == 0 {
            tx.prepare_cached("DELETE FROM problem WHERE signature = ?1")?
                .execute([self.signature])?;
            return Ok(());
        }
        let sql = format!(
            "INSERT OR REPLACE INTO problem ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
             ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
        );
        tx.prepare_cached(&sql)?.execute(params![
            self.signature,
            self.source,
            self.first_at,
            self.last_at,
            self.last_n,
            self.attempts as i64,
            self.solved as i64,
            self.changes as i64,
            self.reported,
            self.priced,
            self.unpriced as i64,
            self.last_ok,
            self.last_kind,
            self.last_model,
            self.fold,
            encoding::encode(&self.models, self.first_at),
        ])?;
        Ok(())
    }

    /// Returns the cost of all attempts in US dollars, as far as it is known.
    pub(crate) fn cost(&self) -> f64 {
        self.reported + self.priced
    }

    /// Returns the cost in US dollars if no attempt solved the problem, or else 0.
    pub(crate) fn wasted(&self) -> f64 {
        if self.solved == 0 { self.cost() } else { 0.0 }
    }
}

/// Calls `each` with the figures by source and model of every problem whose last attempt is not
/// before a time in microseconds. Problems whose events were deleted don't count.
pub(crate) fn each_entries(
    conn: &Connection,
    since: i64,
    mut each: impl FnMut(&[ModelEntry]),
) -> Result<(), KbError> {
    let floor = Meta::Floor.get(conn)?.unwrap_or(0);
    let mut statement = conn.prepare_cached(
        "SELECT first_at, models FROM problem WHERE last_at >= ?1 AND last_n >= ?2",
    )?;
    let mut rows = statement.query((since, floor))?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let data = row.get_ref(1)?.as_blob().map_err(|_| KbError::Damaged("a problem"))?;
        entries.clear();
        encoding::decode(data, row.get(0)?, |entry| entries.push(entry))?;
        each(&entries);
    }
    Ok(())
}
