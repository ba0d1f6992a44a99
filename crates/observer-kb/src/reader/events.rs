//! Events by filter, and one event by its id.

use observer_core::query::{
    EventPage, EventRequest, EventsRequest, MAX_PAGE_BYTES, QueryError, Scope, StoredEvent,
};
use observer_core::{Envelope, Position, Uuid};
use rusqlite::{Connection, OptionalExtension};

use super::cursor::{self, Cursor, check_limit, check_range};
use super::matcher::Matcher;
use crate::error::KbError;
use crate::index::{Field, blocks, candidates, newest_with, term};
use crate::schema::{Meta, dictionary};
use crate::settings::Settings;
use crate::writer::{EVENT_COLUMNS, envelope, load};

/// Number of this list in cursors.
const LIST: u8 = 1;
/// Number of this list in cursors for callers that are limited to some sources. They name the last
/// event by its id, since gaps between numbers show how much others send.
const LIMITED: u8 = 4;

/// Returns a page of events, newest first.
pub(super) fn events(
    conn: &Connection,
    settings: &Settings,
    mut request: EventsRequest,
) -> Result<EventPage, QueryError> {
    let limit = check_limit(request.limit)?;
    check_range(request.since, request.until)?;
    let Some(before) = before(conn, &request)? else { return Ok(EventPage::default()) };
    let is_limited = request.scope.sources.is_some();
    // Events keep the signature that they came with.
    let aliases = settings.aliases.iter().filter(|(_, to)| request.sig_hash.contains(to));
    let aliases: Vec<String> = aliases.map(|(alias, _)| alias.clone()).collect();
    request.sig_hash.extend(aliases);
    let Some(matcher) = Matcher::new(request) else { return Ok(EventPage::default()) };
    let mut search = Search { conn, matcher, before, page: limit, bytes: 0, found: Vec::new() };
    search.head()?;
    search.blocks()?;
    let Search { mut found, page, .. } = search;
    let is_last = found.len() <= page;
    found.truncate(page);
    let cursor = found.last().filter(|_| !is_last).map(|(n, envelope)| match is_limited {
        true => Cursor { list: LIMITED, key: 0, item: envelope.id.as_bytes().to_vec() },
        false => Cursor::of_number(LIST, 0, *n),
    });
    let events = found
        .into_iter()
        .map(|(n, envelope)| stored(conn, n, envelope))
        .collect::<Result<_, KbError>>()?;
    Ok(EventPage { events, cursor: cursor.map(Cursor::encode) })
}

/// Returns the event before which a page begins, or `None` after the last page.
fn before(conn: &Connection, request: &EventsRequest) -> Result<Option<i64>, QueryError> {
    let list = if request.scope.sources.is_some() { LIMITED } else { LIST };
    let Some(cursor) = Cursor::decode(request.cursor.as_deref(), list)? else {
        return Ok(Some(i64::MAX));
    };
    if list == LIST {
        return cursor.number().map(Some);
    }
    let id = Uuid::from_slice(&cursor.item).map_err(|_| cursor::invalid())?;
    let is_it =
        |envelope: &Envelope| envelope.id == id && request.scope.allows(envelope.event.source());
    // If the event was deleted, everything older was, too.
    Ok(newest(conn, &[term(Field::Id, &[id.as_bytes()])], is_it)?.map(|(n, _)| n))
}

struct Search<'a> {
    conn: &'a Connection,
    matcher: Matcher,
    before: i64,
    /// Number of events of the page, at most. One more tells whether there is a next page.
    page: usize,
    /// Size of the events that were found.
    bytes: usize,
    found: Vec<(i64, Envelope)>,
}

impl Search<'_> {
    fn is_complete(&self) -> bool {
        self.found.len() > self.page
    }

    /// Adds an event. The page ends with the one that exceeds [`MAX_PAGE_BYTES`].
    fn add(&mut self, n: i64, envelope: Envelope) {
        self.bytes = self.bytes.saturating_add(envelope.event.raw().len());
        self.found.push((n, envelope));
        if self.bytes > MAX_PAGE_BYTES {
            self.page = self.page.min(self.found.len());
        }
    }

    /// Searches the events that are in no block yet.
    fn head(&mut self) -> Result<(), KbError> {
        let indexed = Meta::Indexed.get(self.conn)?.unwrap_or(0);
        let sql =
            format!("SELECT {EVENT_COLUMNS} FROM event WHERE n > ?1 AND n < ?2 ORDER BY n DESC");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query((indexed, self.before))?;
        while let Some(row) = rows.next()? {
            let (n, envelope) = envelope(row)?;
            if self.matcher.matches(&envelope) {
                self.add(n, envelope);
                if self.is_complete() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn blocks(&mut self) -> Result<(), KbError> {
        let terms = self.matcher.terms();
        let (since, until) = self.matcher.received();
        let floor = Meta::Floor.get(self.conn)?.unwrap_or(0);
        for block in blocks(self.conn)? {
            if self.is_complete() {
                return Ok(());
            }
            let outside = block.received.1 < since || block.received.0 >= until;
            if block.first >= self.before || block.first + block.count <= floor || outside {
                continue;
            }
            for n in candidates(self.conn, &block, &terms)?.into_iter().rev() {
                if n >= self.before || n < floor {
                    continue;
                }
                let Some((_, envelope)) = load(self.conn, n)? else { continue };
                if self.matcher.matches(&envelope) {
                    self.add(n, envelope);
                    if self.is_complete() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns an event with what the store knows of it.
fn stored(conn: &Connection, n: i64, envelope: Envelope) -> Result<StoredEvent, KbError> {
    let epoch: i64 = conn
        .prepare_cached("SELECT epoch FROM event WHERE n = ?1")?
        .query_row([n], |row| row.get(0))?;
    let epoch = dictionary::name(conn, "epoch", epoch)?.and_then(|name| name.parse().ok());
    let replaced_by: Option<Vec<u8>> = conn
        .prepare_cached(
            "SELECT e.id FROM correction c JOIN event e ON e.n = c.n
             WHERE c.original = ?1 ORDER BY c.n DESC LIMIT 1",
        )?
        .query_row([n], |row| row.get(0))
        .optional()?;
    Ok(StoredEvent {
        position: Position { epoch: epoch.unwrap_or(0), seq: envelope.seq },
        replaced_by: replaced_by.and_then(|id| Uuid::from_slice(&id).ok()),
        envelope,
    })
}

/// Returns one event, by the observer's id or else by the producer's.
pub(super) fn event(conn: &Connection, request: &EventRequest) -> Result<StoredEvent, QueryError> {
    let id = request.id.as_str();
    let may_read = |envelope: &Envelope| {
        let source = envelope.event.source();
        request.scope.allows(source) && request.source.as_deref().is_none_or(|s| s == source)
    };
    if let Ok(uuid) = Uuid::parse_str(id) {
        let wanted = term(Field::Id, &[uuid.as_bytes()]);
        let is_it = |envelope: &Envelope| envelope.id == uuid && may_read(envelope);
        if let Some((n, envelope)) = newest(conn, &[wanted], is_it)? {
            return Ok(stored(conn, n, envelope)?);
        }
    }
    let terms = producers_terms(conn, &request.scope, request.source.as_deref(), id)?;
    let is_it = |envelope: &Envelope| envelope.event.id() == Some(id) && may_read(envelope);
    match newest(conn, &terms, is_it)? {
        Some((n, envelope)) => Ok(stored(conn, n, envelope)?),
        None => Err(QueryError::not_found(format!("event with the id {id:?}"))),
    }
}

/// Returns the terms of a producer's id, one for each source that it can be of.
fn producers_terms(
    conn: &Connection,
    scope: &Scope,
    source: Option<&str>,
    id: &str,
) -> Result<Vec<u32>, KbError> {
    let sources: Vec<String> = match (source, &scope.sources) {
        (Some(source), _) => vec![source.to_owned()],
        (None, Some(sources)) => sources.clone(),
        (None, None) => conn
            .prepare_cached("SELECT name FROM source")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?,
    };
    let term = |source: &String| term(Field::ProducerId, &[source.as_bytes(), id.as_bytes()]);
    Ok(sources.iter().map(term).collect())
}

/// Returns the newest event that has one of some terms and meets a condition.
fn newest(
    conn: &Connection,
    terms: &[u32],
    accept: impl Fn(&Envelope) -> bool,
) -> Result<Option<(i64, Envelope)>, KbError> {
    let indexed = Meta::Indexed.get(conn)?.unwrap_or(0);
    let floor = Meta::Floor.get(conn)?.unwrap_or(0);
    let sql = format!("SELECT {EVENT_COLUMNS} FROM event WHERE n > ?1 ORDER BY n DESC");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([indexed])?;
    while let Some(row) = rows.next()? {
        let (n, envelope) = envelope(row)?;
        if accept(&envelope) {
            return Ok(Some((n, envelope)));
        }
    }
    let mut found: Option<(i64, Envelope)> = None;
    for &term in terms {
        let candidate = newest_with(conn, term, |n| {
            let loaded = if n < floor { None } else { load(conn, n)? };
            Ok(loaded.filter(|(_, envelope)| accept(envelope)))
        })?;
        if let Some(candidate) = candidate
            && found.as_ref().is_none_or(|(n, _)| candidate.0 > *n)
        {
            found = Some(candidate);
        }
    }
    Ok(found)
}
