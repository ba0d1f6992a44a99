//! Signatures that resemble an unknown one.

use observer_core::query::{QueryError, Scope};
use rusqlite::Connection;

use super::cursor::check_limit;
use super::problems::record;
use super::scope::Sources;
use crate::error::KbError;
use crate::schema::Meta;
use crate::settings::Settings;

/// Shortest common beginning in characters.
const SHORTEST: usize = 3;
/// Signatures that are examined for each beginning.
const EXAMINED: i64 = 200;

/// Returns known signatures with the longest common beginning first.
pub(super) fn similar(
    conn: &Connection,
    settings: &Settings,
    scope: &Scope,
    signature: &str,
    limit: usize,
) -> Result<Vec<String>, QueryError> {
    let limit = check_limit(limit)?;
    let sources = Sources::of(conn, scope, None)?;
    let floor = Meta::Floor.get(conn)?.unwrap_or(0);
    let mut found: Vec<String> = Vec::new();
    let ends: Vec<usize> = signature.char_indices().map(|(at, c)| at + c.len_utf8()).collect();
    for &end in ends.iter().skip(SHORTEST - 1).rev() {
        for (id, name) in beginning_with(conn, &signature[..end])? {
            if found.contains(&name) || name == signature {
                continue;
            }
            if record(conn, settings, &sources, floor, id)?.is_some() {
                found.push(name);
            }
            if found.len() == limit {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn beginning_with(conn: &Connection, start: &str) -> Result<Vec<(i64, String)>, KbError> {
    // Every text that begins with `start` sorts before it followed by the last code point.
    let end = format!("{start}\u{10ffff}");
    let mut statement = conn.prepare_cached(
        "SELECT id, name FROM signature WHERE name >= ?1 AND name < ?2 ORDER BY name LIMIT ?3",
    )?;
    let rows =
        statement.query_map((start, &end, EXAMINED), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
