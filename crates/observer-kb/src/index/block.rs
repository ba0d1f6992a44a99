//! Blocks: written, and merged.

use rusqlite::{Connection, Transaction};

use super::Term;
use crate::error::KbError;

/// Events of a new block.
const SMALL: usize = 4_096;
/// New blocks that become one. Offsets within a block have 16 bits.
const MERGED: usize = 16;
/// Entries of a chunk, which fits into a page of 4 KiB.
const CHUNK: usize = 660;
/// Events of a term above which its offsets are a posting of their own.
const FREQUENT: usize = 256;

/// Term and offset of an event, in one number that sorts by both.
fn entry(term: Term, offset: u16) -> u64 {
    u64::from(term) << 16 | u64::from(offset)
}

fn term_of(entry: u64) -> Term {
    (entry >> 16) as Term
}

fn offset_of(entry: u64) -> u16 {
    entry as u16
}

/// Events since the last block.
#[derive(Debug)]
pub(crate) struct Head {
    first: i64,
    ids: Vec<u64>,
    entries: Vec<u64>,
    received: Option<(i64, i64)>,
}

impl Head {
    /// Creates an empty head that begins with event `first`.
    pub(crate) fn new(first: i64) -> Self {
        Self { first, ids: Vec::new(), entries: Vec::new(), received: None }
    }

    /// Returns the number of the event after the last one.
    pub(crate) fn next(&self) -> i64 {
        self.first + self.ids.len() as i64
    }

    /// Adds the next event, given the hash of its id, its time of receipt and its terms.
    pub(crate) fn push(&mut self, id: u64, received: i64, terms: &[Term]) {
        let offset = u16::try_from(self.ids.len()).expect("a head is smaller than a block");
        self.ids.push(id);
        self.entries.extend(terms.iter().map(|&term| entry(term, offset)));
        let (min, max) = self.received.unwrap_or((received, received));
        self.received = Some((min.min(received), max.max(received)));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.ids.len() >= SMALL
    }

    /// Returns the events that have a term, newest first.
    pub(crate) fn with(&self, term: Term) -> impl Iterator<Item = i64> {
        let entries = self.entries.iter().rev().filter(move |&&entry| term_of(entry) == term);
        entries.map(|&entry| self.first + i64::from(offset_of(entry)))
    }

    /// Writes the head as a block, and begins the next one.
    pub(crate) fn seal(&mut self, tx: &Transaction<'_>) -> Result<(), KbError> {
        let Some((min, max)) = self.received else { return Ok(()) };
        let ids = self.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let block = New { first: self.first, count: self.ids.len(), min, max, ids };
        write_block(tx, &block, std::mem::take(&mut self.entries))?;
        *self = Self::new(self.next());
        Ok(())
    }
}

/// Block that is about to be written.
struct New {
    first: i64,
    count: usize,
    min: i64,
    max: i64,
    ids: Vec<u8>,
}

fn write_block(tx: &Transaction<'_>, new: &New, mut entries: Vec<u64>) -> Result<(), KbError> {
    entries.sort_unstable();
    let block = tx
        .prepare_cached(
            "INSERT INTO block (first, count, min_received_at, max_received_at, ids)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .insert((new.first, new.count as i64, new.min, new.max, &new.ids))?;
    let mut posting = tx.prepare_cached("INSERT INTO posting (key, data) VALUES (?1, ?2)")?;
    let mut chunks = tx.prepare_cached("INSERT INTO chunk (key, data) VALUES (?1, ?2)")?;
    let mut chunk: Vec<u64> = Vec::with_capacity(CHUNK);
    let mut write = |chunk: &mut Vec<u64>| -> Result<(), KbError> {
        if let Some(&first) = chunk.first() {
            chunks.execute((key(block, term_of(first)), encode(chunk)))?;
            chunk.clear();
        }
        Ok(())
    };
    for group in entries.chunk_by(|a, b| term_of(*a) == term_of(*b)) {
        if group.len() > FREQUENT {
            let offsets: Vec<u8> =
                group.iter().flat_map(|&entry| offset_of(entry).to_le_bytes()).collect();
            posting.execute((key(block, term_of(group[0])), offsets))?;
            continue;
        }
        if chunk.len() + group.len() > CHUNK {
            write(&mut chunk)?;
        }
        chunk.extend_from_slice(group);
    }
    write(&mut chunk)
}

/// Returns the key of a term in a block.
pub(super) fn key(block: i64, term: Term) -> i64 {
    block << 32 | i64::from(term)
}

fn encode(entries: &[u64]) -> Vec<u8> {
    let mut data = Vec::with_capacity(entries.len() * 6);
    data.extend(entries.iter().flat_map(|&entry| term_of(entry).to_le_bytes()));
    data.extend(entries.iter().flat_map(|&entry| offset_of(entry).to_le_bytes()));
    data
}

/// Splits the data of a chunk into its terms and its offsets.
pub(super) fn halves(data: &[u8]) -> (&[[u8; 4]], &[[u8; 2]]) {
    let count = data.len() / 6;
    (data[..count * 4].as_chunks().0, data[count * 4..].as_chunks().0)
}

/// Merges the oldest small blocks into one, if there are enough. Returns whether it did.
pub(crate) fn merge_blocks(tx: &Transaction<'_>) -> Result<bool, KbError> {
    let small: Vec<(i64, i64, i64, i64, i64)> = tx
        .prepare_cached(
            "SELECT id, first, count, min_received_at, max_received_at FROM block
             WHERE count <= ?1 ORDER BY first LIMIT ?2",
        )?
        .query_map((SMALL as i64, MERGED as i64), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?
        .collect::<Result<_, _>>()?;
    if small.len() < MERGED {
        return Ok(false);
    }
    let mut new = New {
        first: small[0].1,
        count: 0,
        min: i64::MAX,
        max: i64::MIN,
        ids: Vec::with_capacity(MERGED * SMALL * 8),
    };
    let mut entries = Vec::with_capacity(MERGED * SMALL * 9);
    for &(block, first, count, min, max) in &small {
        let shift = u16::try_from(first - new.first).map_err(|_| KbError::Damaged("block"))?;
        read_block(tx, block, shift, &mut entries)?;
        let ids: Vec<u8> = tx
            .prepare_cached("SELECT ids FROM block WHERE id = ?1")?
            .query_row([block], |row| row.get(0))?;
        new.ids.extend(ids);
        new.count += count as usize;
        (new.min, new.max) = (new.min.min(min), new.max.max(max));
        delete_block(tx, block)?;
    }
    write_block(tx, &new, entries)?;
    Ok(true)
}

/// Appends the entries of a block, with offsets that are `shift` larger.
fn read_block(
    conn: &Connection,
    block: i64,
    shift: u16,
    entries: &mut Vec<u64>,
) -> Result<(), KbError> {
    let keys = (key(block, 0), key(block + 1, 0));
    let mut chunks = conn.prepare_cached("SELECT data FROM chunk WHERE key >= ?1 AND key < ?2")?;
    let mut rows = chunks.query(keys)?;
    while let Some(row) = rows.next()? {
        let (terms, offsets) = halves(row.get_ref(0)?.as_blob().unwrap_or_default());
        entries.extend(terms.iter().zip(offsets).map(|(term, offset)| {
            entry(u32::from_le_bytes(*term), u16::from_le_bytes(*offset) + shift)
        }));
    }
    let mut postings =
        conn.prepare_cached("SELECT key, data FROM posting WHERE key >= ?1 AND key < ?2")?;
    let mut rows = postings.query(keys)?;
    while let Some(row) = rows.next()? {
        let term = row.get::<_, i64>(0)? as Term;
        let offsets = row.get_ref(1)?.as_blob().unwrap_or_default().as_chunks().0;
        entries.extend(offsets.iter().map(|o| entry(term, u16::from_le_bytes(*o) + shift)));
    }
    Ok(())
}

/// Deletes a block.
pub(crate) fn delete_block(tx: &Transaction<'_>, block: i64) -> Result<(), KbError> {
    let keys = (key(block, 0), key(block + 1, 0));
    tx.prepare_cached("DELETE FROM chunk WHERE key >= ?1 AND key < ?2")?.execute(keys)?;
    tx.prepare_cached("DELETE FROM posting WHERE key >= ?1 AND key < ?2")?.execute(keys)?;
    tx.prepare_cached("DELETE FROM block WHERE id = ?1")?.execute([block])?;
    Ok(())
}
