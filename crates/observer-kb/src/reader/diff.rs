//! What changed since a moment.

use observer_core::query::{Change, Diff, DiffEntry, DiffRequest, DiffSide, QueryError};
use rusqlite::Connection;

use super::cursor::check_limit;
use super::scope::Sources;
use crate::attempts::{AttemptRow, attempts_of};
use crate::error::KbError;
use crate::problems::{Computer, NEWEST};
use crate::schema::Meta;
use crate::schema::dictionary::{self, Names, find};
use crate::settings::Settings;

/// Ratio of two means from which a problem is dearer or slower.
const WORSE: f64 = 1.25;

/// Returns what changed since a moment, by problem.
pub(super) fn diff(
    conn: &Connection,
    settings: &Settings,
    request: &DiffRequest,
) -> Result<Diff, QueryError> {
    let limit = check_limit(request.limit)?;
    let now = settings.now();
    if request.since > now {
        return Err(QueryError::bad_request("since", "must not be in the future"));
    }
    let sources = Sources::of(conn, &request.scope, request.source.as_deref())?;
    let model = match &request.model {
        Some(model) => Some(find(conn, "model", model)?.unwrap_or(-1)),
        None => None,
    };
    let since = request.since.as_microsecond();
    let start = since.saturating_sub(now.as_microsecond() - since);
    let floor = Meta::Floor.get(conn)?.unwrap_or(0);
    let prices = settings.prices.as_ref();
    let mut sides = Sides {
        computer: Computer::new(conn, &settings.rules, prices, floor),
        kinds: Names::new(conn, "kind"),
        models: Names::new(conn, "model"),
    };
    let mut entries = Vec::new();
    for signature in candidates(conn, start, since)? {
        let counts = |source| sources.allow(source);
        let mut rows = attempts_of(conn, signature, floor, NEWEST, counts)?;
        rows.retain(|row| model.is_none_or(|model| row.model == model));
        let split = rows.partition_point(|row| row.at < since);
        let (before, after) = rows.split_at(split);
        let in_period = before.partition_point(|row| row.at < start);
        let before = if in_period < before.len() { &before[in_period..] } else { before };
        let Some(before_side) = sides.of(before)? else { continue };
        let after_side = sides.of(after)?;
        let is_recent = in_period < split;
        let name = dictionary::name(conn, "signature", signature)?;
        let sig_hash = name.ok_or(KbError::Damaged("a problem"))?;
        for change in changes(&before_side, after_side.as_ref(), before, after, is_recent) {
            if request.changes.is_empty() || request.changes.contains(&change) {
                entries.push(DiffEntry {
                    sig_hash: sig_hash.clone(),
                    change,
                    before: before_side.clone(),
                    after: after_side.clone(),
                });
            }
        }
    }
    let last = |entry: &DiffEntry| entry.after.as_ref().unwrap_or(&entry.before).last;
    entries.sort_by(|a, b| {
        let latest = last(b).cmp(&last(a));
        a.change.cmp(&b.change).then(latest).then_with(|| a.sig_hash.cmp(&b.sig_hash))
    });
    let omitted = entries.len().saturating_sub(limit) as u64;
    entries.truncate(limit);
    Ok(Diff { since: request.since, entries, omitted })
}

/// Returns the problems that were tried before the moment, and since the start of the period.
fn candidates(conn: &Connection, start: i64, since: i64) -> Result<Vec<i64>, KbError> {
    let mut statement =
        conn.prepare_cached("SELECT signature FROM problem WHERE last_at >= ?1 AND first_at < ?2")?;
    let rows = statement.query_map((start, since), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

struct Sides<'a> {
    computer: Computer<'a>,
    kinds: Names<'a>,
    models: Names<'a>,
}

impl Sides<'_> {
    /// Returns figures of attempts, or `None` without any.
    fn of(&mut self, rows: &[AttemptRow]) -> Result<Option<DiffSide>, KbError> {
        let Some(last) = rows.last() else { return Ok(None) };
        let mut costs = Vec::new();
        for row in rows {
            costs.extend(self.computer.cost(row)?);
        }
        let times: Vec<f64> = rows.iter().filter_map(|row| row.ms).collect();
        Ok(Some(DiffSide {
            attempts: rows.len() as u64,
            solved: rows.iter().filter(|row| row.is_ok()).count() as u64,
            last_kind: self.kinds.text(last.kind)?,
            last_model: self.models.get(last.model)?,
            last: last.time(),
            mean_cost: mean(&costs),
            mean_ms: mean(&times),
        }))
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Returns what changed. `is_recent` if there are attempts in the period before the moment.
fn changes(
    before: &DiffSide,
    after: Option<&DiffSide>,
    before_rows: &[AttemptRow],
    after_rows: &[AttemptRow],
    is_recent: bool,
) -> Vec<Change> {
    let Some(after) = after else {
        return if is_recent { vec![Change::NoLongerRun] } else { Vec::new() };
    };
    let was_ok = before_rows.last().is_some_and(AttemptRow::is_ok);
    let is_ok = after_rows.last().is_some_and(AttemptRow::is_ok);
    let is_worse = |before: Option<f64>, after: Option<f64>| match (before, after) {
        (Some(before), Some(after)) => after > 0.0 && after >= before * WORSE,
        _ => false,
    };
    let mut changes = Vec::new();
    match (was_ok, is_ok) {
        (true, false) => changes.push(Change::Failed),
        (false, true) => changes.push(Change::Fixed),
        _ => {}
    }
    if is_worse(before.mean_cost, after.mean_cost) {
        changes.push(Change::Dearer);
    }
    if is_worse(before.mean_ms, after.mean_ms) {
        changes.push(Change::Slower);
    }
    changes
}
