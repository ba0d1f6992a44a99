//! Tokens, cost and time by model, source, day or label; hints.

use std::cmp::Ordering;

use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};
use observer_core::Timestamp;
use observer_core::query::{
    HintFigures, Hints, HintsRequest, QueryError, UsageBy, UsageFigures, UsageReport, UsageRequest,
};
use rusqlite::{Connection, OptionalExtension};

use super::cursor::{check_limit, check_range};
use super::scope::Sources;
use crate::attempts::time;
use crate::error::KbError;
use crate::rollup::{Conditions, Group, Key, Level, Slots, Sums, TOLD_APART, cover, read};
use crate::schema::dictionary::{self, OTHER, OTHER_NAME, find};
use crate::settings::Settings;
use crate::writer::LABELS;

/// Returns the slots of a range of time whose ends may be open, as far as there are sums.
pub(super) fn slots(
    conn: &Connection,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    finest: Level,
) -> Result<Slots, KbError> {
    let Some((first, end)) = extent(conn)? else { return Ok(Slots::new()) };
    let since = since.map_or(first, |since| since.as_microsecond().max(first));
    let until = until.map_or(end, |until| ceil_micros(until).min(end));
    Ok(if since < until { cover(since, until, finest) } else { Slots::new() })
}

fn ceil_micros(time: Timestamp) -> i64 {
    let micros = time.as_microsecond();
    micros + i64::from(i128::from(micros) * 1_000 < time.as_nanosecond())
}

/// Returns the times between which there are attempts.
fn extent(conn: &Connection) -> Result<Option<(i64, i64)>, KbError> {
    let level = Level::Quarter;
    let end = |order: &str| -> Result<Option<i64>, KbError> {
        let sql = format!(
            "SELECT slot FROM rollup WHERE value = 0 AND level = ?1 ORDER BY slot {order} LIMIT 1"
        );
        let slot = conn.prepare_cached(&sql)?.query_row([level as i64], |row| row.get(0));
        Ok(slot.optional()?)
    };
    Ok(end("ASC")?.zip(end("DESC")?).map(|(first, last)| (first, last + level.length())))
}

/// Returns the conditions of a query, or `None` if no attempt can meet them.
///
/// # Errors
/// If a source or a model is named that sums count as `other`, or the caller may read such a
/// source.
pub(super) fn conditions(
    conn: &Connection,
    sources: &Sources,
    source: Option<&str>,
    model: Option<&str>,
) -> Result<Option<Conditions>, QueryError> {
    if let Some(source) = source {
        counted(conn, "source", source)?;
    }
    let sources_read = sources.list();
    if let Some(&id) = sources_read.iter().flatten().find(|id| **id > TOLD_APART) {
        let name = dictionary::name(conn, "source", id)?.unwrap_or_default();
        return Err(counted_as_other("source", &name));
    }
    let model = match model.map(|model| counted(conn, "model", model)).transpose()? {
        Some(None) => return Ok(None),
        model => model.flatten(),
    };
    Ok((!sources.is_none()).then_some(Conditions { sources: sources_read, model }))
}

/// Returns the number under which a source or a model is counted in sums; `None` if it is unknown.
fn counted(conn: &Connection, table: &'static str, name: &str) -> Result<Option<i64>, QueryError> {
    match find(conn, table, name)? {
        None if name == OTHER_NAME => Ok(Some(OTHER)),
        Some(id) if id > TOLD_APART => Err(counted_as_other(table, name)),
        found => Ok(found),
    }
}

/// Returns the error for a source or a model that sums don't tell apart.
fn counted_as_other(table: &'static str, name: &str) -> QueryError {
    let detail = format!(
        "sums distinguish the first {TOLD_APART} {table}s, and count {name:?} as {OTHER_NAME:?}"
    );
    QueryError::bad_request(table, detail)
}

/// Returns a usage report.
pub(super) fn usage(
    conn: &Connection,
    settings: &Settings,
    request: &UsageRequest,
) -> Result<UsageReport, QueryError> {
    let limit = check_limit(request.limit)?;
    check_range(request.since, request.until)?;
    let sources = Sources::of(conn, &request.scope, request.source.as_deref())?;
    let (source, model) = (request.source.as_deref(), request.model.as_deref());
    let mut rows = match conditions(conn, &sources, source, model)? {
        None => Vec::new(),
        Some(conditions) => {
            let report = Report { conn, settings, request, conditions };
            match &request.by {
                UsageBy::Model => report.by_key(Group::Model, "model", |key| key.0)?,
                UsageBy::Source => report.by_key(Group::Source, "source", |key| key.1)?,
                UsageBy::Day => report.by_day()?,
                UsageBy::Label(label) => report.by_label(label)?,
            }
        }
    };
    let mut total = Sums::default();
    rows.iter().for_each(|(_, sums)| total.merge(sums));
    if request.by != UsageBy::Day {
        rows.sort_by(|a, b| by_cost(&a.1, &b.1).then_with(|| a.0.cmp(&b.0)));
    }
    let omitted = rows.len().saturating_sub(limit);
    if request.by == UsageBy::Day {
        rows.drain(..omitted);
    }
    let omitted = omitted as u64;
    let rows = rows.into_iter().take(limit).map(|(key, sums)| figures(key, &sums)).collect();
    Ok(UsageReport { rows, total: figures(None, &total), omitted })
}

fn by_cost(a: &Sums, b: &Sums) -> Ordering {
    b.cost().total_cmp(&a.cost()).then(b.attempts.cmp(&a.attempts))
}

struct Report<'a> {
    conn: &'a Connection,
    settings: &'a Settings,
    request: &'a UsageRequest,
    conditions: Conditions,
}

type Rows = Vec<(Option<String>, Sums)>;

impl Report<'_> {
    fn by_key(
        &self,
        group: Group,
        table: &'static str,
        part: impl Fn(Key) -> i64,
    ) -> Result<Rows, KbError> {
        let slots = slots(self.conn, self.request.since, self.request.until, Level::Quarter)?;
        let sums = self.read(0, &slots, group)?;
        let named = sums
            .into_iter()
            .map(|(key, sums)| Ok((dictionary::name(self.conn, table, part(key))?, sums)));
        named.collect()
    }

    fn read(&self, value: i64, slots: &Slots, group: Group) -> Result<Vec<(Key, Sums)>, KbError> {
        let prices = self.settings.prices.as_ref();
        let sums = read(self.conn, prices, value, slots, &self.conditions, group)?;
        Ok(sums.into_iter().collect())
    }

    fn all(&self, value: i64, slots: &Slots) -> Result<Sums, KbError> {
        let sums = self.read(value, slots, Group::All)?;
        Ok(sums.into_iter().next().map(|(_, sums)| sums).unwrap_or_default())
    }

    /// Passes over days without attempts, since a wrong clock may have put an event far away.
    fn by_day(&self) -> Result<Rows, QueryError> {
        let Some((first, end)) = extent(self.conn)? else { return Ok(Vec::new()) };
        let since = self.request.since.map_or(time(first), |since| since.max(time(first)));
        let until = self.request.until.map_or(time(end), |until| until.min(time(end)));
        let (mut rows, mut next) = (Rows::new(), since);
        while let Some(at) = self.next_slot(next)?.filter(|at| *at < until) {
            let (name, start, end) = day(at, &self.request.tz)?;
            let (start, end) = (start.max(since), end.min(until));
            let slots = cover(start.as_microsecond(), ceil_micros(end), Level::Quarter);
            let sums = self.all(0, &slots)?;
            if sums.attempts > 0 {
                rows.push((Some(name), sums));
            }
            next = end;
        }
        Ok(rows)
    }

    /// Returns the first moment from `since` on that is in a slot.
    fn next_slot(&self, since: Timestamp) -> Result<Option<Timestamp>, KbError> {
        let (level, micros) = (Level::Quarter, since.as_microsecond());
        let slot: Option<i64> = self
            .conn
            .prepare_cached(
                "SELECT slot FROM rollup WHERE value = 0 AND level = ?1 AND slot > ?2
                 ORDER BY slot LIMIT 1",
            )?
            .query_row((level as i64, micros - level.length()), |row| row.get(0))
            .optional()?;
        Ok(slot.map(|slot| time(slot).max(since)))
    }

    fn by_label(&self, label: &str) -> Result<Rows, QueryError> {
        check_label(self.conn, label)?;
        let slots = slots(self.conn, self.request.since, self.request.until, Level::Hour)?;
        let mut without = self.all(0, &slots)?;
        let mut rows = Rows::new();
        if let Some(label) = find(self.conn, "label_name", label)? {
            let mut values = values_of(self.conn, label)?;
            values.push((-label, OTHER_NAME.to_owned()));
            for (value, name) in values {
                let sums = self.all(value, &slots)?;
                if sums.attempts > 0 {
                    without = without.without(&sums);
                    rows.push((Some(name), sums));
                }
            }
        }
        if rows.is_empty() && self.request.scope.sources.is_some() {
            // The same as for an unknown label, since others may have it.
            check_count(self.conn, label)?;
        }
        if without.attempts > 0 {
            rows.push((None, without));
        }
        Ok(rows)
    }
}

/// Returns the number of labels that are counted.
fn labels(conn: &Connection) -> Result<i64, KbError> {
    let mut count = conn.prepare_cached("SELECT count(*) FROM label_name")?;
    Ok(count.query_row([], |row| row.get(0))?)
}

/// Returns numbers and texts of the values of a label.
fn values_of(conn: &Connection, label: i64) -> Result<Vec<(i64, String)>, KbError> {
    let mut select = conn.prepare_cached("SELECT id, value FROM label_value WHERE label = ?1")?;
    let values = select.query_map([label], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(values.collect::<Result<_, _>>()?)
}

/// Verifies that a label is counted, or would be.
fn check_label(conn: &Connection, label: &str) -> Result<(), QueryError> {
    if find(conn, "label_name", label)?.is_some() {
        return Ok(());
    }
    check_count(conn, label)
}

/// Verifies that there are less labels than are counted.
fn check_count(conn: &Connection, label: &str) -> Result<(), QueryError> {
    if labels(conn)? < LABELS as i64 {
        return Ok(());
    }
    let detail = format!("sums are kept for the first {LABELS} labels, and not for {label:?}");
    Err(QueryError::bad_request("label", detail))
}

/// Returns the day of a moment: its name, and its start and end.
fn day(at: Timestamp, tz: &TimeZone) -> Result<(String, Timestamp, Timestamp), QueryError> {
    let invalid = |error: jiff::Error| QueryError::bad_request("tz", error.to_string());
    let start: Zoned = at.to_zoned(tz.clone()).start_of_day().map_err(invalid)?;
    let next = start.date().checked_add(1.day()).and_then(|date| date.to_zoned(tz.clone()));
    let next = next.and_then(|next| next.start_of_day()).map_err(invalid)?;
    Ok((start.date().to_string(), start.timestamp(), next.timestamp()))
}

fn figures(key: Option<String>, sums: &Sums) -> UsageFigures {
    UsageFigures {
        key,
        attempts: sums.attempts,
        solved: sums.solved,
        ci: sums.interval(),
        tokens: sums.tokens,
        cost: sums.cost(),
        reported: sums.reported,
        priced: sums.priced,
        unpriced: sums.unpriced,
        unpriced_tokens: sums.unpriced_tokens,
        turns: sums.turns,
        duration_ms: sums.ms,
        p50_ms: sums.durations.p50(),
        p95_ms: sums.durations.p95(),
    }
}

/// Returns figures of attempts with a hint, and of those without.
pub(super) fn hints(
    conn: &Connection,
    settings: &Settings,
    request: &HintsRequest,
) -> Result<Hints, QueryError> {
    check_range(request.since, request.until)?;
    let sources = Sources::of(conn, &request.scope, request.source.as_deref())?;
    let slots = slots(conn, request.since, request.until, Level::Quarter)?;
    let (source, model) = (request.source.as_deref(), request.model.as_deref());
    let mut sums = match conditions(conn, &sources, source, model)? {
        Some(conditions) => {
            read(conn, settings.prices.as_ref(), 0, &slots, &conditions, Group::Hint)?
        }
        None => Default::default(),
    };
    let mut figures = |hinted: i64| {
        let sums = sums.remove(&(hinted, 0)).unwrap_or_default();
        HintFigures {
            attempts: sums.attempts,
            solved: sums.solved,
            ci: sums.interval(),
            cost: sums.cost(),
            unpriced: sums.unpriced,
            cost_per_solved: sums.cost_per_solved(),
        }
    };
    Ok(Hints { with: figures(1), without: figures(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_follow_the_time_zone() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let tz = TimeZone::fixed(jiff::tz::Offset::from_seconds(19_800).unwrap());
        for (moment, name, start, end) in [
            ("2026-03-28T12:00:00Z", "2026-03-28", "2026-03-27T18:30:00Z", "2026-03-28T18:30:00Z"),
            ("2026-03-28T18:30:00Z", "2026-03-29", "2026-03-28T18:30:00Z", "2026-03-29T18:30:00Z"),
        ] {
            let expected = (name.to_owned(), at(start), at(end));
            assert_eq!(day(at(moment), &tz).unwrap(), expected, "{moment}");
        }
    }
}
