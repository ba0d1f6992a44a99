//! Figures of models, and the comparison of two of them.

use std::collections::HashMap;

use hashbrown::HashMap as FastMap;
use observer_core::Timestamp;
use observer_core::query::{
    Comparison, ModelFigures, Models, ModelsRequest, QueryError, Tokens, Verdict,
};
use observer_figures::compare::Pairs;
use observer_figures::{Comparison as Figures, Verdict as Found};
use rusqlite::Connection;

use super::cursor::check_range;
use super::rivals::Effort;
use super::scope::Sources;
use super::usage::{conditions, slots};
use crate::attempts::{AttemptRow, attempts_of};
use crate::error::KbError;
use crate::outcome::Basis;
use crate::problems::{Computer, ModelEntry, NEWEST, each_entries};
use crate::rollup::{Group, Key, Level, Sums, read};
use crate::schema::Meta;
use crate::schema::dictionary::{self, find};
use crate::settings::Settings;

/// Returns figures of models.
pub(super) fn models(
    conn: &Connection,
    settings: &Settings,
    request: &ModelsRequest,
) -> Result<Models, QueryError> {
    check_range(request.since, request.until)?;
    check_pair(request.compare.as_ref())?;
    let query = Query {
        conn,
        settings,
        request,
        sources: Sources::of(conn, &request.scope, request.source.as_deref())?,
        since: request.since.map_or(i64::MIN, Timestamp::as_microsecond),
        until: request.until.map_or(i64::MAX, Timestamp::as_microsecond),
    };
    let pair = query.pair()?;
    let (sums, shared) = match request.sig_hash.as_deref() {
        Some(signature) => query.of_problem(signature, pair)?,
        None => (query.sums()?, query.shared(pair)?),
    };
    let mut models = Vec::with_capacity(sums.len());
    for (key, sums) in sums {
        models.push(query.figures(key, &sums, &shared)?);
    }
    models.sort_by(|a, b| {
        b.attempts.cmp(&a.attempts).then_with(|| (&a.model, &a.source).cmp(&(&b.model, &b.source)))
    });
    let comparison = request.compare.as_ref().map(|(a, b)| comparison(a, b, shared.pairs));
    Ok(Models { models, comparison })
}

fn check_pair(pair: Option<&(String, String)>) -> Result<(), QueryError> {
    match pair {
        Some((a, b)) if a == b => {
            Err(QueryError::bad_request("b", format!("must be another model than `a`, {a:?}")))
        }
        _ => Ok(()),
    }
}

/// Problems that models tried, and those that two of them have in common.
#[derive(Debug, Default)]
struct Shared {
    /// Number of problems, and of those that another model tried, too.
    counts: FastMap<Key, (u64, u64)>,
    pairs: Pairs,
    /// Keys of the problem at hand; emptied for each, so that nothing is allocated.
    keys: Vec<Key>,
}

/// Numbers of the two models to compare; −1 stands for a model without attempts.
type Pair = Option<(i64, i64)>;

struct Query<'a> {
    conn: &'a Connection,
    settings: &'a Settings,
    request: &'a ModelsRequest,
    sources: Sources,
    since: i64,
    until: i64,
}

impl Query<'_> {
    fn pair(&self) -> Result<Pair, KbError> {
        let Some((a, b)) = &self.request.compare else { return Ok(None) };
        let id = |name: &str| Ok::<_, KbError>(find(self.conn, "model", name)?.unwrap_or(-1));
        Ok(Some((id(a)?, id(b)?)))
    }

    fn key(&self, model: i64, source: i64) -> Key {
        if self.request.by_source { (model, source) } else { (model, 0) }
    }

    /// Returns sums by model, and by source if that is asked for.
    fn sums(&self) -> Result<HashMap<Key, Sums>, QueryError> {
        let source = self.request.source.as_deref();
        let Some(conditions) = conditions(self.conn, &self.sources, source, None)? else {
            return Ok(HashMap::new());
        };
        let (since, until) = (self.request.since, self.request.until);
        let slots = slots(self.conn, since, until, Level::Quarter)?;
        let group = if self.request.by_source { Group::ModelAndSource } else { Group::Model };
        Ok(read(self.conn, self.settings.prices.as_ref(), 0, &slots, &conditions, group)?)
    }

    /// Counts problems by model.
    fn shared(&self, pair: Pair) -> Result<Shared, KbError> {
        let mut shared = Shared::default();
        each_entries(self.conn, self.since, |entries| self.add(&mut shared, entries, pair))?;
        Ok(shared)
    }

    /// Adds the models that tried one problem within the range.
    fn add(&self, shared: &mut Shared, entries: &[ModelEntry], pair: Pair) {
        let counts = |entry: &&ModelEntry| {
            self.sources.allow(entry.source)
                && entry.last_at >= self.since
                && entry.first_at < self.until
        };
        let Shared { counts: totals, pairs, keys } = shared;
        let (mut efforts, mut first, mut is_comparable) = ([None; 2], None, false);
        keys.clear();
        // Entries differ in source or model.
        let differ =
            self.request.by_source || entries.iter().all(|entry| entry.source == entries[0].source);
        for entry in entries.iter().filter(counts) {
            let key = self.key(entry.model, entry.source);
            if differ || !keys.contains(&key) {
                keys.push(key);
            }
            if entry.model != 0 {
                is_comparable |= *first.get_or_insert(entry.model) != entry.model;
            }
            let Some((a, b)) = pair else { continue };
            for (_, effort) in [a, b].into_iter().zip(&mut efforts).filter(|p| p.0 == entry.model) {
                // A success before the range is none within it.
                let solved = match entry.last_ok {
                    Some(at) if at >= self.since => entry.solved,
                    _ => 0,
                };
                let effort: &mut Effort = effort.get_or_insert_default();
                effort.add(&ModelEntry { solved, ..*entry });
            }
        }
        for &key in keys.iter() {
            let (problems, comparable) = totals.entry(key).or_default();
            *problems += 1;
            *comparable += u64::from(is_comparable && key.0 != 0);
        }
        if let [Some(a), Some(b)] = efforts {
            pairs.add(a.tries, a.spend, b.tries, b.spend);
        }
    }

    /// Returns sums and counts from the attempts at one problem.
    fn of_problem(
        &self,
        signature: &str,
        pair: Pair,
    ) -> Result<(HashMap<Key, Sums>, Shared), KbError> {
        let mut sums: HashMap<Key, Sums> = HashMap::new();
        let mut shared = Shared::default();
        let signature = self.settings.problem(signature);
        let Some(signature) = find(self.conn, "signature", signature)? else {
            return Ok((sums, shared));
        };
        let floor = Meta::Floor.get(self.conn)?.unwrap_or(0);
        let prices = self.settings.prices.as_ref();
        let mut computer = Computer::new(self.conn, &self.settings.rules, prices, floor);
        let counts = |source| self.sources.allow(source);
        let mut rows = attempts_of(self.conn, signature, floor, NEWEST, counts)?;
        rows.retain(|row| row.at >= self.since && row.at < self.until);
        for row in &rows {
            let cost = computer.cost(row)?;
            add_attempt(sums.entry(self.key(row.model, row.source)).or_default(), row, cost);
        }
        let record = computer.compute(signature, &rows)?;
        self.add(&mut shared, &record.models, pair);
        Ok((sums, shared))
    }

    fn figures(&self, key: Key, sums: &Sums, shared: &Shared) -> Result<ModelFigures, KbError> {
        let (problems, comparable_on) = shared.counts.get(&key).copied().unwrap_or_default();
        Ok(ModelFigures {
            model: dictionary::name(self.conn, "model", key.0)?,
            source: dictionary::name(self.conn, "source", key.1)?,
            attempts: sums.attempts,
            solved: sums.solved,
            ci: sums.interval(),
            cost: sums.cost(),
            reported: sums.reported,
            priced: sums.priced,
            unpriced: sums.unpriced,
            cost_per_solved: sums.cost_per_solved(),
            tokens: sums.tokens,
            turns: sums.turns,
            p50_ms: sums.durations.p50(),
            p95_ms: sums.durations.p95(),
            problems,
            comparable_on,
        })
    }
}

/// Adds one attempt to sums.
pub(super) fn add_attempt(sums: &mut Sums, row: &AttemptRow, cost: Option<f64>) {
    sums.attempts += 1;
    sums.solved += u64::from(row.is_ok());
    sums.turns += row.turns.max(0) as u64;
    sums.ms += row.ms.unwrap_or(0.0);
    row.ms.iter().for_each(|&ms| sums.durations.add(ms));
    sums.tokens += Tokens::from(&row.usage);
    match row.class.basis() {
        Basis::Tokens => sums.priced += cost.unwrap_or(0.0),
        _ => sums.reported += cost.unwrap_or(0.0),
    }
    sums.known += u64::from(cost.is_some());
    if row.is_unpriced(cost) {
        sums.unpriced += 1;
        sums.unpriced_tokens += row.usage.input + row.usage.output;
    }
}

fn comparison(a: &str, b: &str, pairs: Pairs) -> Comparison {
    let figures = Figures::of(pairs);
    let per_solved = |effort: observer_figures::compare::Effort| {
        let is_known = effort.solved > 0 && effort.spend.known > 0;
        is_known.then(|| effort.spend.usd / effort.solved as f64)
    };
    Comparison {
        a: a.to_owned(),
        b: b.to_owned(),
        verdict: verdict(figures.verdict),
        common: pairs.common(),
        both: pairs.both.into(),
        only_a: pairs.only_a.into(),
        only_b: pairs.only_b.into(),
        neither: pairs.neither.into(),
        p: figures.p,
        a_cost_per_solved: per_solved(pairs.a),
        b_cost_per_solved: per_solved(pairs.b),
        text: figures.text(a, b),
    }
}

fn verdict(found: Found) -> Verdict {
    match found {
        Found::NotComparable => Verdict::NotComparable,
        Found::NotEnough => Verdict::NotEnough,
        Found::Same => Verdict::Same,
        Found::WithinOneRun => Verdict::WithinOneRun,
        Found::UnequalAttempts => Verdict::UnequalAttempts,
        Found::ABetter => Verdict::ABetter,
        Found::BBetter => Verdict::BBetter,
    }
}
