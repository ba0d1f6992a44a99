//! Dictionaries: small numbers for texts that repeat.

use std::collections::HashMap;

use hashbrown::HashMap as FastMap;
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::error::KbError;

/// Number of what is not told apart from others.
pub(crate) const OTHER: i64 = -1;
/// Text of [`OTHER`].
pub(crate) const OTHER_NAME: &str = "other";

/// Texts that a dictionary keeps in memory.
const CACHED: usize = 200_000;

/// Dictionary of the writer: finds numbers, and adds texts.
#[derive(Debug)]
pub(crate) struct Dictionary {
    table: &'static str,
    cached: FastMap<Box<str>, i64>,
    select: String,
    insert: String,
}

impl Dictionary {
    pub(crate) fn new(table: &'static str) -> Self {
        Self {
            table,
            cached: FastMap::new(),
            select: format!("SELECT id FROM {table} WHERE name = ?1"),
            insert: format!("INSERT INTO {table} (name) VALUES (?1)"),
        }
    }

    /// Returns the number of a text, and adds the text if it is new.
    pub(crate) fn id(&mut self, tx: &Transaction<'_>, text: &str) -> Result<i64, KbError> {
        if let Some(&id) = self.cached.get(text) {
            return Ok(id);
        }
        let known = tx.prepare_cached(&self.select)?.query_row([text], |row| row.get(0));
        let id = match known.optional()? {
            Some(id) => id,
            None => tx.prepare_cached(&self.insert)?.insert([text])?,
        };
        if self.cached.len() >= CACHED {
            self.cached.clear();
        }
        self.cached.insert(text.into(), id);
        Ok(id)
    }

    /// Returns the number of an optional text; 0 for none.
    pub(crate) fn id_or_none(
        &mut self,
        tx: &Transaction<'_>,
        text: Option<&str>,
    ) -> Result<i64, KbError> {
        text.map_or(Ok(0), |text| self.id(tx, text))
    }

    /// Returns the text of a number; `None` for 0.
    pub(crate) fn name(&self, conn: &Connection, id: i64) -> Result<Option<String>, KbError> {
        name(conn, self.table, id)
    }
}

/// Returns the number of a text in a dictionary, or `None` if it is not in there.
pub(crate) fn find(conn: &Connection, table: &str, text: &str) -> Result<Option<i64>, KbError> {
    let sql = format!("SELECT id FROM {table} WHERE name = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([text], |row| row.get(0)).optional()?)
}

/// Returns the text of a number in a dictionary; `None` for 0.
pub(crate) fn name(conn: &Connection, table: &str, id: i64) -> Result<Option<String>, KbError> {
    match id {
        0 => return Ok(None),
        OTHER => return Ok(Some(OTHER_NAME.to_owned())),
        _ => {}
    }
    let sql = format!("SELECT name FROM {table} WHERE id = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([id], |row| row.get(0)).optional()?)
}

/// Names that were looked up, for one query.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    conn: &'a Connection,
    table: &'static str,
    found: HashMap<i64, Option<String>>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(conn: &'a Connection, table: &'static str) -> Self {
        Self { conn, table, found: HashMap::new() }
    }

    /// Returns the text of a number; `None` for 0.
    pub(crate) fn get(&mut self, id: i64) -> Result<Option<String>, KbError> {
        if let Some(name) = self.found.get(&id) {
            return Ok(name.clone());
        }
        let name = name(self.conn, self.table, id)?;
        self.found.insert(id, name.clone());
        Ok(name)
    }

    /// Returns the text of a number, or an empty text.
    pub(crate) fn text(&mut self, id: i64) -> Result<String, KbError> {
        self.get(id).map(Option::unwrap_or_default)
    }
}
