//! What happened before on one problem.

use std::collections::HashMap;

use observer_core::query::{
    Attempt, FailureGroup, NextModel, Problem, ProblemModel, ProblemRequest, QueryError, SolvedBy,
    Summary, SummaryRequest, SummaryStyle, Transition,
};
use observer_core::{Envelope, Timestamp, Uuid};
use observer_figures::clean::Style;
use observer_figures::fingerprint::summarize;
use observer_figures::rates::{changes, flip_rate};
use observer_figures::state::{Fold, Standing, transitions};
use observer_figures::summary::{NO_ATTEMPTS, hint_id, summary as text_of};
use observer_figures::{
    Failure, Fingerprint, ModelFigures, Next, Problem as Figures, Sketch, Spend, Worked,
};
use rusqlite::Connection;

use super::problems::{record, state};
use super::rivals::Tables;
use super::scope::Sources;
use super::similar::similar;
use crate::attempts::{AttemptRow, attempts_of, time};
use crate::error::KbError;
use crate::problems::{Computer, ModelEntry, NEWEST, ProblemRecord, fold_attempt};
use crate::rollup::interval;
use crate::schema::Meta;
use crate::schema::dictionary::{Names, OTHER, find};
use crate::settings::Settings;
use crate::writer::{corrections_of, load};

/// Groups of failures that are returned.
const GROUPS: usize = 10;
/// Similar signatures that are returned for an unknown one.
const SIMILAR: usize = 5;

/// Returns what happened before on one problem, and whether the comparison of models should be
/// computed anew.
pub(super) fn problem(
    conn: &Connection,
    settings: &Settings,
    tables: &Tables,
    request: &ProblemRequest,
) -> Result<(Problem, Option<Sources>), QueryError> {
    let sources = Sources::of(conn, &request.scope, None)?;
    let model = request.model.as_deref();
    let known = Known::load(conn, settings, &sources, &request.sig_hash, model)?;
    let Some(mut known) = known else {
        let what = format!("attempt at the problem {:?}", request.sig_hash);
        return Err(QueryError::not_found(what));
    };
    let (figures, is_stale) = known.figures(tables)?;
    let mut problem = known.problem(&figures)?;
    if request.history > 0 {
        problem.history = Some(known.history(request.history)?);
    }
    if request.transitions > 0 {
        problem.transitions = Some(known.transitions(request.transitions)?);
    }
    Ok((problem, is_stale.then_some(sources)))
}

/// Returns the summary of one problem.
pub(super) fn summary(
    conn: &Connection,
    settings: &Settings,
    tables: &Tables,
    request: &SummaryRequest,
) -> Result<(Summary, Option<Sources>), QueryError> {
    if request.max_chars == 0 {
        return Err(QueryError::bad_request("max_chars", "must be at least 1"));
    }
    let sources = Sources::of(conn, &request.scope, None)?;
    let model = request.model.as_deref();
    let Some(mut known) = Known::load(conn, settings, &sources, &request.sig_hash, model)? else {
        let similar = similar(conn, settings, &request.scope, &request.sig_hash, SIMILAR)?;
        let text = NO_ATTEMPTS.chars().take(request.max_chars).collect();
        return Ok((Summary { text, hint_id: None, similar }, None));
    };
    let (figures, is_stale) = known.figures(tables)?;
    let style = match request.style {
        SummaryStyle::Markdown => Style::Markdown,
        _ => Style::Prompt,
    };
    let text = text_of(&figures, style, settings.now(), request.max_chars);
    let summary = Summary { text, hint_id: Some(hint_id(&figures)), similar: Vec::new() };
    Ok((summary, is_stale.then_some(sources)))
}

/// Row and newest attempts of a problem.
struct Known<'a> {
    conn: &'a Connection,
    settings: &'a Settings,
    sources: Sources,
    sig_hash: String,
    record: ProblemRecord,
    /// Figures of all models, also of those that the request leaves out.
    all_models: Vec<ModelEntry>,
    /// Sorted by time; at most [`NEWEST`].
    rows: Vec<AttemptRow>,
    costs: Vec<Option<f64>>,
    fold: Fold,
    /// Error lines of failures that were read.
    errors: HashMap<i64, Option<String>>,
    /// True if there are corrections at all.
    has_corrections: bool,
    models: Names<'a>,
    kinds: Names<'a>,
    versions: Names<'a>,
}

impl<'a> Known<'a> {
    fn load(
        conn: &'a Connection,
        settings: &'a Settings,
        sources: &Sources,
        sig_hash: &str,
        model: Option<&str>,
    ) -> Result<Option<Self>, KbError> {
        let sig_hash = settings.problem(sig_hash);
        let floor = Meta::Floor.get(conn)?.unwrap_or(0);
        let Some(signature) = find(conn, "signature", sig_hash)? else { return Ok(None) };
        let Some(mut record) = record(conn, settings, sources, floor, signature)? else {
            return Ok(None);
        };
        let counts = |source| sources.allow(source);
        let mut rows = attempts_of(conn, signature, floor, NEWEST, counts)?;
        let prices = settings.prices.as_ref();
        let mut computer = Computer::new(conn, &settings.rules, prices, floor);
        let mut all_models = Vec::new();
        if let Some(model) = model {
            let Some(model) = find(conn, "model", model)? else { return Ok(None) };
            all_models = record.models;
            rows.retain(|row| row.model == model);
            record = computer.compute(signature, &rows)?;
        }
        if rows.is_empty() {
            return Ok(None);
        }
        if record.attempts == rows.len() as u64 {
            // All attempts are known, so that their costs follow from the present prices.
            let counted = computer.count(signature, &rows)?;
            record = ProblemRecord { fold: record.fold, ..counted };
        }
        if model.is_none() {
            all_models.clone_from(&record.models);
        }
        let costs = rows.iter().map(|row| computer.cost(row)).collect::<Result<_, _>>()?;
        let fold = computer.state(&record)?;
        let has_corrections = conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM correction)")?
            .query_row([], |row| row.get(0))?;
        Ok(Some(Self {
            errors: HashMap::new(),
            has_corrections,
            conn,
            settings,
            sources: sources.clone(),
            sig_hash: sig_hash.to_owned(),
            record,
            all_models,
            rows,
            costs,
            fold,
            models: Names::new(conn, "model"),
            kinds: Names::new(conn, "kind"),
            versions: Names::new(conn, "version"),
        }))
    }

    /// Returns what the summary is made of, and whether the comparison of models is stale.
    fn figures(&mut self, tables: &Tables) -> Result<(Figures, bool), KbError> {
        let (next, is_stale) = self.next(tables)?;
        let models = model_figures(&mut self.models, &self.record.models)?;
        let newest = match self.rows.last() {
            Some(row) => Some((row.time(), self.id(row)?.to_string())),
            None => None,
        };
        let figures = Figures {
            sig_hash: self.sig_hash.clone(),
            attempts: self.record.attempts,
            solved: self.record.solved,
            models,
            failures: self.failures()?,
            worked: self.worked()?,
            next,
            standing: self.standing(),
            newest,
        };
        Ok((figures, is_stale))
    }

    /// Returns the model to try next, and whether the comparison that it rests on is stale.
    fn next(&mut self, tables: &Tables) -> Result<(Next, bool), KbError> {
        // Models that are counted together are none that can be tried.
        self.all_models.retain(|entry| entry.model != OTHER);
        let models = model_figures(&mut self.models, &self.all_models)?;
        if models.iter().any(|model| model.solved > 0) {
            return Ok((Next::choose(&models, &[]), false));
        }
        let failed: Vec<String> = models.iter().map(|model| model.model.clone()).collect();
        let answer = tables.get(self.conn, &self.sources)?;
        Ok((Next::choose(&models, &answer.table.rivals(&failed)), answer.is_stale))
    }

    fn standing(&self) -> Option<Standing> {
        self.fold.standing(self.settings.now(), &self.settings.rules)
    }

    /// Returns the id of an attempt's event.
    fn id(&self, row: &AttemptRow) -> Result<Uuid, KbError> {
        if let Some(shown) = &row.shown {
            return Ok(shown.id);
        }
        let id: Vec<u8> = self
            .conn
            .prepare_cached("SELECT id FROM event WHERE n = ?1")?
            .query_row([row.n], |row| row.get(0))?;
        Uuid::from_slice(&id).map_err(|_| KbError::Damaged("an event"))
    }

    /// Returns the largest groups of failures.
    fn failures(&mut self) -> Result<Vec<Failure>, KbError> {
        // Number of failures and index of the last one, by fingerprint.
        let mut groups: HashMap<i64, (u64, usize)> = HashMap::new();
        for (index, row) in self.rows.iter().enumerate().filter(|(_, row)| !row.is_ok()) {
            let group = groups.entry(row.failure).or_default();
            *group = (group.0 + 1, index);
        }
        let mut groups: Vec<(i64, (u64, usize))> = groups.into_iter().collect();
        groups.sort_unstable_by_key(|&(_, (count, index))| std::cmp::Reverse((count, index)));
        groups.truncate(GROUPS);
        let mut failures = Vec::with_capacity(groups.len());
        for (fingerprint, (count, index)) in groups {
            let row = self.rows[index].clone();
            let kind = self.kinds.text(row.kind)?;
            failures.push(Failure {
                text: self.error(&row, &kind)?,
                kind,
                fingerprint: Fingerprint::from_u64(fingerprint as u64),
                count,
                last: row.time(),
            });
        }
        Ok(failures)
    }

    /// Returns the last correction of an attempt.
    fn correction(&self, n: i64) -> Result<Option<Envelope>, KbError> {
        if !self.has_corrections {
            return Ok(None);
        }
        Ok(corrections_of(self.conn, n)?.pop().map(|(_, envelope)| envelope))
    }

    /// Returns the error line of a failure: that of its last correction, or else its own.
    fn error(&mut self, row: &AttemptRow, kind: &str) -> Result<Option<String>, KbError> {
        if let Some(shown) = &row.shown {
            return Ok(shown.text.as_deref().map(str::to_owned));
        }
        let n = row.n;
        if let Some(text) = self.errors.get(&n) {
            return Ok(text.clone());
        }
        let envelope = match self.correction(n)? {
            Some(correction) => Some(correction),
            None => load(self.conn, n)?.map(|(_, envelope)| envelope),
        };
        let extra = envelope.as_ref().map(|envelope| envelope.event.extra().unwrap_or("{}"));
        let text = extra.and_then(|extra| summarize(kind, extra).text);
        self.errors.insert(n, text.clone());
        Ok(text)
    }

    /// Returns the last success.
    fn worked(&mut self) -> Result<Option<Worked>, KbError> {
        let Some(index) = self.rows.iter().rposition(AttemptRow::is_ok) else { return Ok(None) };
        let row = &self.rows[index];
        Ok(Some(Worked {
            model: self.models.text(row.model)?,
            event: self.id(row)?.to_string(),
            at: row.time(),
            cost: self.costs[index],
        }))
    }

    fn problem(&mut self, figures: &Figures) -> Result<Problem, KbError> {
        let record = &self.record;
        let standing = self.standing().ok_or(KbError::Damaged("a problem"))?;
        let all_changes = if record.attempts as usize == self.rows.len() {
            changes(self.rows.iter().map(AttemptRow::is_ok))
        } else {
            record.changes
        };
        let next = &figures.next;
        Ok(Problem {
            sig_hash: self.sig_hash.clone(),
            state: state(standing.state),
            since: standing.since,
            first_seen: time(record.first_at),
            last_seen: time(record.last_at),
            attempts: record.attempts,
            solved: record.solved,
            ci: interval(record.solved, record.attempts),
            cost: record.cost(),
            wasted: record.wasted(),
            unpriced: record.unpriced,
            cost_per_solved: (record.solved > 0
                && record.models.iter().any(|entry| entry.known > 0))
            .then(|| record.cost() / record.solved as f64),
            flip_rate: flip_rate(all_changes, record.attempts),
            models: self.problem_models(figures)?,
            failures: figures.failures.iter().map(failure_group).collect(),
            solved_by: figures.worked.as_ref().and_then(solved_by),
            next: Some(NextModel {
                model: next.model().map(str::to_owned),
                why: next.why(),
                comparable_on: next.comparable_on().unwrap_or(0),
            }),
            hint_id: hint_id(figures),
            history: None,
            transitions: None,
        })
    }

    fn problem_models(&mut self, figures: &Figures) -> Result<Vec<ProblemModel>, KbError> {
        let mut durations: HashMap<String, (Sketch, Option<Timestamp>)> = HashMap::new();
        for row in &self.rows {
            let (sketch, last) = durations.entry(self.models.text(row.model)?).or_default();
            row.ms.iter().for_each(|&ms| sketch.add(ms));
            *last = (*last).max(Some(row.time()));
        }
        let mut models: Vec<ProblemModel> = Vec::with_capacity(figures.models.len());
        for model in &figures.models {
            let (sketch, last) = durations.remove(&model.model).unwrap_or_default();
            models.push(ProblemModel {
                model: (!model.model.is_empty()).then(|| model.model.clone()),
                attempts: model.attempts,
                solved: model.solved,
                ci: interval(model.solved, model.attempts),
                cost: model.spend.usd,
                p50_ms: sketch.p50(),
                p95_ms: sketch.p95(),
                last: last.unwrap_or(time(self.record.last_at)),
            });
        }
        models.sort_by(|a, b| b.attempts.cmp(&a.attempts).then_with(|| a.model.cmp(&b.model)));
        Ok(models)
    }

    fn history(&mut self, limit: usize) -> Result<Vec<Attempt>, KbError> {
        let mut sources = Names::new(self.conn, "source");
        let mut history = Vec::new();
        let newest: Vec<usize> = (0..self.rows.len()).rev().take(limit).collect();
        for index in newest {
            let row = self.rows[index].clone();
            let kind = self.kinds.text(row.kind)?;
            let event = match self.correction(row.n)? {
                Some(correction) => (correction.id, Some(self.id(&row)?)),
                None => (self.id(&row)?, None),
            };
            history.push(Attempt {
                event: event.0,
                at: row.time(),
                source: sources.text(row.source)?,
                ok: row.is_ok(),
                model: self.models.get(row.model)?,
                version: self.versions.get(row.version)?,
                cost: self.costs[index],
                duration_ms: row.ms,
                text: if row.is_ok() { None } else { self.error(&row, &kind)? },
                kind,
                corrects: event.1,
            });
        }
        Ok(history)
    }

    fn transitions(&mut self, limit: usize) -> Result<Vec<Transition>, KbError> {
        let mut texts = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            texts.push((self.models.text(row.model)?, self.versions.text(row.version)?));
        }
        let attempts: Vec<_> = self
            .rows
            .iter()
            .zip(&texts)
            .map(|(row, (model, version))| fold_attempt(row, model, version))
            .collect();
        let changes = transitions(&attempts, self.settings.now(), &self.settings.rules);
        let newest = changes.into_iter().rev().take(limit);
        let named = newest.map(|change| {
            // A change by time alone has the event from which the time counts.
            let row = self.rows.iter().find(|row| row.n as u64 == change.cause);
            let caused = row.filter(|row| row.time() == change.at);
            Ok(Transition {
                state: state(change.state),
                at: change.at,
                event: caused.map(|row| self.id(row)).transpose()?,
            })
        });
        named.collect()
    }
}

/// Returns figures by model over all sources.
fn model_figures(
    names: &mut Names<'_>,
    entries: &[ModelEntry],
) -> Result<Vec<ModelFigures>, KbError> {
    let mut figures: Vec<ModelFigures> = Vec::new();
    for entry in entries {
        let model = names.text(entry.model)?;
        let at = figures.iter().position(|found| found.model == model).unwrap_or_else(|| {
            figures.push(ModelFigures { model, ..ModelFigures::default() });
            figures.len() - 1
        });
        let found = &mut figures[at];
        found.attempts += entry.attempts;
        found.solved += entry.solved;
        found.spend =
            found.spend + Spend { usd: entry.cost, known: entry.known, attempts: entry.attempts };
        found.last_solved = found.last_solved.max(entry.last_ok.map(time));
    }
    Ok(figures)
}

fn failure_group(failure: &Failure) -> FailureGroup {
    FailureGroup {
        kind: failure.kind.clone(),
        fingerprint: failure.fingerprint.to_string(),
        count: failure.count,
        text: failure.text.clone(),
        last: failure.last,
    }
}

fn solved_by(worked: &Worked) -> Option<SolvedBy> {
    Some(SolvedBy {
        model: (!worked.model.is_empty()).then(|| worked.model.clone()),
        event: Uuid::parse_str(&worked.event).ok()?,
        at: worked.at,
        cost: worked.cost,
    })
}
