//! Models head to head on the problems that both tried.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use observer_figures::compare::{Pairs, Tries};
use observer_figures::{Rival, Spend};
use rusqlite::Connection;

use super::scope::Sources;
use crate::error::KbError;
use crate::problems::{ModelEntry, each_entries};
use crate::schema::Meta;
use crate::schema::dictionary::Names;

/// Models that are compared with each other.
const MODELS: usize = 64;
/// Time for which a table is used although there are newer attempts, as a multiple of the time that
/// it took to compute.
const REUSE: u32 = 200;
/// Computations that are cheap enough to be done for each query.
const CHEAP: Duration = Duration::from_millis(2);
/// Tables for different sources that are kept.
const TABLES: usize = 16;

/// What one model did at one problem.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Effort {
    pub(super) tries: Tries,
    pub(super) spend: Spend,
}

impl Effort {
    pub(super) fn add(&mut self, entry: &ModelEntry) {
        self.tries.attempts += entry.attempts;
        self.tries.solved += entry.solved;
        self.spend =
            self.spend + Spend { usd: entry.cost, known: entry.known, attempts: entry.attempts };
    }
}

/// Common problems of all pairs of models, by the name of a model and those of the others.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<String, BTreeMap<String, Pairs>>);

impl Table {
    fn compute(conn: &Connection, sources: &Sources) -> Result<Self, KbError> {
        let models = most_used(conn)?;
        let width = models.len();
        let index: HashMap<i64, usize> = models.iter().copied().zip(0..).collect();
        let mut table = vec![Pairs::default(); width * width];
        let mut tried: Vec<(usize, Effort)> = Vec::new();
        each_entries(conn, i64::MIN, |entries| {
            tried.clear();
            for entry in entries.iter().filter(|entry| sources.allow(entry.source)) {
                let Some(&model) = index.get(&entry.model) else { continue };
                let at = tried.iter().position(|(found, _)| *found == model).unwrap_or_else(|| {
                    tried.push((model, Effort::default()));
                    tried.len() - 1
                });
                tried[at].1.add(entry);
            }
            for (place, (a, first)) in tried.iter().enumerate() {
                for (b, second) in &tried[place + 1..] {
                    let (a, first, b, second) =
                        if a < b { (*a, first, *b, second) } else { (*b, second, *a, first) };
                    table[a * width + b].add(first.tries, first.spend, second.tries, second.spend);
                }
            }
        })?;
        let mut names = Names::new(conn, "model");
        let mut pairs: BTreeMap<String, BTreeMap<String, Pairs>> = BTreeMap::new();
        for (place, common) in table.into_iter().enumerate().filter(|(_, p)| p.common() > 0) {
            let (a, b) = (names.text(models[place / width])?, names.text(models[place % width])?);
            pairs.entry(b.clone()).or_default().insert(a.clone(), common.swapped());
            pairs.entry(a).or_default().insert(b, common);
        }
        Ok(Self(pairs))
    }

    /// Returns the common problems of models that failed with all others.
    pub(super) fn rivals(&self, failed: &[String]) -> Vec<Rival> {
        let failed = self.0.iter().filter(|(model, _)| failed.contains(model));
        let rivals = failed.flat_map(|(failed, others)| {
            others.iter().map(move |(candidate, pairs)| Rival {
                failed: failed.clone(),
                candidate: candidate.clone(),
                pairs: *pairs,
            })
        });
        rivals.collect()
    }
}

fn most_used(conn: &Connection) -> Result<Vec<i64>, KbError> {
    let mut statement = conn.prepare_cached(
        "SELECT model FROM rollup WHERE value = 0 AND level = 0 AND model <> 0
         GROUP BY model ORDER BY sum(attempts) DESC, model LIMIT ?1",
    )?;
    let rows = statement.query_map([MODELS as i64], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Tables that were computed, by sources.
#[derive(Debug, Default)]
pub(super) struct Tables {
    known: Mutex<HashMap<Option<Vec<i64>>, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    table: Arc<Table>,
    /// Last event that the table includes.
    derived: i64,
    took: Duration,
    at: Instant,
    /// True if it is being computed anew.
    is_renewed: bool,
}

/// Table of a query, and whether the caller should have it computed anew afterwards.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) table: Arc<Table>,
    pub(super) is_stale: bool,
}

impl Tables {
    fn lock(&self) -> MutexGuard<'_, HashMap<Option<Vec<i64>>, Known>> {
        self.known.lock().expect("no thread panics while it holds the lock")
    }

    /// Returns the table of some sources. One that takes long to compute is returned although newer
    /// attempts are missing in it.
    pub(super) fn get(&self, conn: &Connection, sources: &Sources) -> Result<Answer, KbError> {
        let derived = Meta::Derived.get(conn)?.unwrap_or(0);
        if let Some(known) = self.lock().get_mut(&sources.list()) {
            let is_current = known.derived == derived;
            if is_current || known.took > CHEAP {
                let is_stale =
                    !is_current && !known.is_renewed && known.at.elapsed() > known.took * REUSE;
                known.is_renewed |= is_stale;
                return Ok(Answer { table: Arc::clone(&known.table), is_stale });
            }
        }
        self.renew(conn, sources).map(|table| Answer { table, is_stale: false })
    }

    /// Computes the table of some sources.
    pub(super) fn renew(
        &self,
        conn: &Connection,
        sources: &Sources,
    ) -> Result<Arc<Table>, KbError> {
        let start = Instant::now();
        let derived = Meta::Derived.get(conn)?.unwrap_or(0);
        let table = Arc::new(Table::compute(conn, sources)?);
        let mut tables = self.lock();
        if tables.len() >= TABLES {
            tables.clear();
        }
        tables.insert(
            sources.list(),
            Known {
                table: Arc::clone(&table),
                derived,
                took: start.elapsed(),
                at: Instant::now(),
                is_renewed: false,
            },
        );
        Ok(table)
    }
}
