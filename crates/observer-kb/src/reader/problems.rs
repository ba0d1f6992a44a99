//! Problems by state.

use observer_core::query::{ProblemPage, ProblemRow, ProblemSort, ProblemsRequest, QueryError};
use observer_figures::state::{Standing, State};
use rusqlite::Connection;

use super::cursor::{self, Cursor, check_limit, check_range};
use super::scope::Sources;
use crate::attempts::{attempts_of, time};
use crate::error::KbError;
use crate::problems::{Computer, NEWEST, ProblemRecord};
use crate::schema::Meta;
use crate::schema::dictionary::{self, Names, OTHER, find};
use crate::settings::Settings;

const BY_WASTED: u8 = 2;
const BY_TIME: u8 = 3;

/// Returns a page of problems.
pub(super) fn problems(
    conn: &Connection,
    settings: &Settings,
    request: &ProblemsRequest,
) -> Result<ProblemPage, QueryError> {
    let limit = check_limit(request.limit)?;
    check_range(request.since, request.until)?;
    let list = match request.sort {
        ProblemSort::Wasted => BY_WASTED,
        ProblemSort::Recent => BY_TIME,
    };
    let after = match Cursor::decode(request.cursor.as_deref(), list)? {
        Some(cursor) => Some((cursor.key, signature_of(conn, &cursor)?)),
        None => None,
    };
    let Some(selection) = Selection::new(conn, settings, request)? else {
        return Ok(ProblemPage::default());
    };
    let mut keys = selection.keys(list)?;
    keys.retain(|key| after.is_none_or(|after| after > *key));
    keys.sort_unstable_by(|a, b| b.cmp(a));
    let (mut problems, mut cursor) = (Vec::new(), None);
    let mut last = None;
    for (key, signature) in keys {
        let Some(row) = selection.row(signature)? else { continue };
        if problems.len() == limit {
            cursor = last;
            break;
        }
        last = Some(Cursor { list, key, item: row.sig_hash.clone().into_bytes() });
        problems.push(row);
    }
    Ok(ProblemPage { problems, cursor: cursor.map(Cursor::encode) })
}

/// Returns the problem that a cursor names. Its number would show how many problems others have.
fn signature_of(conn: &Connection, cursor: &Cursor) -> Result<i64, QueryError> {
    let name = std::str::from_utf8(&cursor.item).map_err(|_| cursor::invalid())?;
    find(conn, "signature", name)?.ok_or_else(cursor::invalid)
}

/// Problems that meet the conditions of a request.
struct Selection<'a> {
    conn: &'a Connection,
    settings: &'a Settings,
    request: &'a ProblemsRequest,
    /// Sources that the caller may read.
    scope: Sources,
    source: Option<i64>,
    model: Option<i64>,
    floor: i64,
}

impl<'a> Selection<'a> {
    /// Returns the selection, or `None` if no problem can meet the conditions.
    fn new(
        conn: &'a Connection,
        settings: &'a Settings,
        request: &'a ProblemsRequest,
    ) -> Result<Option<Self>, KbError> {
        let id = |table: &'static str, name: &Option<String>| match name {
            Some(name) => Ok::<_, KbError>(find(conn, table, name)?.map(Some)),
            None => Ok(Some(None)),
        };
        let scope = Sources::of(conn, &request.scope, None)?;
        let source = id("source", &request.source)?;
        let model = id("model", &request.model)?;
        let (Some(source), Some(model), false) = (source, model, scope.is_none()) else {
            return Ok(None);
        };
        let floor = Meta::Floor.get(conn)?.unwrap_or(0);
        Ok(Some(Self { conn, settings, request, scope, source, model, floor }))
    }

    /// Returns sort key and number of the problems that may meet the conditions.
    fn keys(&self, list: u8) -> Result<Vec<(u64, i64)>, KbError> {
        let micros = |time: observer_core::Timestamp| time.as_microsecond();
        let since = self.request.since.map_or(i64::MIN, micros);
        let until = self.request.until.map_or(i64::MAX, micros);
        let mut statement = self.conn.prepare_cached(
            "SELECT signature, source, last_at, solved, reported + priced FROM problem
             WHERE (last_at >= ?1 OR source IS NULL) AND last_n >= ?2",
        )?;
        let mut rows = statement.query((since, self.floor))?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            let signature: i64 = row.get(0)?;
            let source: Option<i64> = row.get(1)?;
            let last_at: i64 = row.get(2)?;
            let partial = source.is_none() && self.scope != Sources::All;
            if source.is_some_and(|source| !self.scope.allow(source))
                || (!partial && !(since..until).contains(&last_at))
            {
                continue;
            }
            let key = if partial {
                let Some(record) = self.record(signature)? else { continue };
                if !(since..until).contains(&record.last_at) {
                    continue;
                }
                key(list, record.last_at, record.wasted())
            } else {
                let wasted = if row.get::<_, i64>(3)? == 0 { row.get(4)? } else { 0.0 };
                key(list, last_at, wasted)
            };
            keys.push((key, signature));
        }
        Ok(keys)
    }

    /// Returns what the caller may know of a problem.
    fn record(&self, signature: i64) -> Result<Option<ProblemRecord>, KbError> {
        record(self.conn, self.settings, &self.scope, self.floor, signature)
    }

    /// Returns a problem if it meets the conditions.
    fn row(&self, signature: i64) -> Result<Option<ProblemRow>, KbError> {
        let Some(record) = self.record(signature)? else { return Ok(None) };
        let has = |wanted: Option<i64>, part: fn(&crate::problems::ModelEntry) -> i64| {
            wanted.is_none_or(|wanted| record.models.iter().any(|entry| part(entry) == wanted))
        };
        if !has(self.source, |entry| entry.source) || !has(self.model, |entry| entry.model) {
            return Ok(None);
        }
        let Some(standing) = standing(self.conn, &record, self.settings)? else { return Ok(None) };
        let state = state(standing.state);
        if !self.request.states.is_empty() && !self.request.states.contains(&state) {
            return Ok(None);
        }
        let mut kinds = Names::new(self.conn, "kind");
        let name = dictionary::name(self.conn, "signature", signature)?;
        Ok(Some(ProblemRow {
            sig_hash: name.ok_or(KbError::Damaged("a problem"))?,
            state,
            since: standing.since,
            first_seen: time(record.first_at),
            last_seen: time(record.last_at),
            attempts: record.attempts,
            solved: record.solved,
            cost: record.cost(),
            wasted: record.wasted(),
            unpriced: record.unpriced,
            last_kind: kinds.text(record.last_kind)?,
            last_model: dictionary::name(self.conn, "model", record.last_model)?,
        }))
    }
}

/// Returns a number that sorts as the list does.
fn key(list: u8, last_at: i64, wasted: f64) -> u64 {
    if list == BY_TIME {
        // The sign bit is flipped, so that times before 1970 come first.
        last_at as u64 ^ 1 << 63
    } else {
        // The bits of numbers that are not negative sort as the numbers do.
        wasted.max(0.0).to_bits()
    }
}

/// Returns the row of a problem, computed from some sources alone if others made attempts, too.
pub(super) fn record(
    conn: &Connection,
    settings: &Settings,
    sources: &Sources,
    floor: i64,
    signature: i64,
) -> Result<Option<ProblemRecord>, KbError> {
    let Some(record) = ProblemRecord::load(conn, signature, floor)? else { return Ok(None) };
    if record.models.iter().all(|entry| sources.allow(entry.source)) {
        return Ok(Some(record));
    }
    let may_count = |source| source == OTHER || sources.allow(source);
    if !record.models.iter().any(|entry| may_count(entry.source)) {
        return Ok(None);
    }
    let rows = attempts_of(conn, signature, floor, NEWEST, |source| sources.allow(source))?;
    let prices = settings.prices.as_ref();
    let record = Computer::new(conn, &settings.rules, prices, floor).compute(signature, &rows)?;
    Ok((record.attempts > 0).then_some(record))
}

/// Returns the state of a problem at the present time.
pub(super) fn standing(
    conn: &Connection,
    record: &ProblemRecord,
    settings: &Settings,
) -> Result<Option<Standing>, KbError> {
    let floor = Meta::Floor.get(conn)?.unwrap_or(0);
    let mut computer = Computer::new(conn, &settings.rules, settings.prices.as_ref(), floor);
    Ok(computer.state(record)?.standing(settings.now(), &settings.rules))
}

pub(super) fn state(state: State) -> observer_core::query::ProblemState {
    use observer_core::query::ProblemState;
    match state {
        State::New => ProblemState::New,
        State::Failing => ProblemState::Failing,
        State::Broken => ProblemState::Broken,
        State::Flaky => ProblemState::Flaky,
        State::MaybeFixed => ProblemState::MaybeFixed,
        State::Fixed => ProblemState::Fixed,
        State::Regressed => ProblemState::Regressed,
    }
}
