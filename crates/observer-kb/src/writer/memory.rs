//! What the writer knows beside the file, and how it is read from the file.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use observer_core::{Envelope, Event, Position, Timestamp, Uuid};
use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use super::aliases;
use super::labels::Labels;
use crate::attempts::{AttemptRow, Shown, time};
use crate::error::KbError;
use crate::index::{Field, Head, Seen, hash_of, newest_with, term, terms_of};
use crate::outcome::{Class, Outcome, time_of};
use crate::schema::dictionary::Dictionary;
use crate::schema::{self, FileId, Lock, Meta};
use crate::settings::Settings;

/// The connection that writes, and what belongs to it.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(super) conn: Connection,
    pub(super) settings: Arc<Settings>,
    pub(super) memory: Memory,
    /// The file that is open.
    file: FileId,
    /// Released last.
    _lock: Lock,
}

/// State of the writer that follows from the file.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) dictionaries: Dictionaries,
    pub(super) labels: Labels,
    pub(super) position: Option<Position>,
    /// Row of `epoch` of the position.
    pub(super) epoch: i64,
    pub(super) head: Head,
    pub(super) seen: Seen,
    /// Stored events that figures don't include yet.
    pub(super) pending: Vec<Pending>,
    /// Hashes of the targets of corrections whose original has not arrived.
    pub(super) waiting: HashSet<u64>,
    /// Oldest event that was not deleted.
    pub(super) floor: i64,
    /// True if something was stored since the last flush.
    pub(super) dirty: bool,
    /// When figures were derived last.
    pub(super) derived_at: Instant,
}

#[derive(Debug)]
pub(super) struct Dictionaries {
    pub(super) epochs: Dictionary,
    pub(super) sources: Dictionary,
    pub(super) kinds: Dictionary,
    pub(super) models: Dictionary,
    pub(super) versions: Dictionary,
    pub(super) signatures: Dictionary,
}

/// Stored event that figures don't include yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) n: i64,
    /// `None` for a phase.
    pub(super) attempt: Option<Numbered>,
    /// True if it corrects another event.
    pub(super) corrects: bool,
    /// True if a correction may wait for it.
    pub(super) is_awaited: bool,
}

/// Values of an outcome as numbers of their dictionaries.
#[derive(Debug, Clone)]
pub(super) struct Numbered {
    pub(super) row: AttemptRow,
    /// Values of labels.
    pub(super) labels: Vec<i64>,
    /// True if the event has usage, tokens or a cost.
    pub(super) has_usage: bool,
    /// True if the problem has another signature than the event.
    pub(super) is_alias: bool,
}

impl Pending {
    pub(super) fn attempt(&self) -> Option<&Numbered> {
        self.attempt.as_ref()
    }
}

impl Writer {
    /// Opens the file.
    pub(crate) fn open(settings: Arc<Settings>) -> Result<Self, KbError> {
        let lock = Lock::acquire(&settings.folder)?;
        let conn = schema::open_writer(&settings.folder)?;
        aliases::begin(&conn, &settings)?;
        let memory = Memory::load(&conn, &settings)?;
        let file = FileId::of(&settings.folder)?;
        Ok(Self { conn, settings, memory, file, _lock: lock })
    }

    /// Runs a transaction. If it fails, the state in memory is read again.
    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Memory, &Settings) -> Result<T, KbError>,
    ) -> Result<T, KbError> {
        let tx = self.conn.unchecked_transaction()?;
        let done = work(&tx, &mut self.memory, &self.settings);
        let done = done.and_then(|done| Ok(tx.commit().map(|()| done)?));
        if done.is_err() {
            self.memory = Memory::load(&self.conn, &self.settings)?;
        }
        done
    }

    /// Verifies that the file is still in its place.
    pub(crate) fn check_place(&self) -> Result<(), KbError> {
        match FileId::of(&self.settings.folder) {
            Ok(file) if file == self.file => Ok(()),
            _ => Err(KbError::Removed { path: self.settings.folder.join(schema::FILE) }),
        }
    }

    /// Verifies that the file can be written.
    pub(crate) fn check(&mut self) -> Result<(), KbError> {
        self.transact(|tx, _, _| {
            let flushes = Meta::Flushes.get(tx)?.unwrap_or(0);
            Meta::Flushes.set(tx, flushes.wrapping_add(1))
        })
    }

    /// Derives the figures that are left, and closes the file.
    pub(crate) fn close(mut self) -> Result<(), KbError> {
        self.transact(|tx, memory, settings| memory.derive(tx, settings))?;
        // Readers keep the log in use; whoever copies the file alone should have everything.
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.conn.query_row(checkpoint, [], |_| Ok(()))?;
        Ok(self.conn.close().map_err(|(_, error)| error)?)
    }

    /// Returns the position up to which events are stored.
    pub(crate) fn position(&self) -> Option<Position> {
        self.memory.position
    }
}

impl Memory {
    fn load(conn: &Connection, settings: &Settings) -> Result<Self, KbError> {
        let dictionaries = Dictionaries {
            epochs: Dictionary::new("epoch"),
            sources: Dictionary::new("source"),
            kinds: Dictionary::new("kind"),
            models: Dictionary::new("model"),
            versions: Dictionary::new("version"),
            signatures: Dictionary::new("signature"),
        };
        let (position, epoch) = position(conn, &dictionaries.epochs)?;
        let indexed = Meta::Indexed.get(conn)?.unwrap_or(0);
        let floor = Meta::Floor.get(conn)?.unwrap_or(0);
        let mut memory = Self {
            dictionaries,
            labels: Labels::load(conn)?,
            position,
            epoch,
            // Events after the last block may have been deleted.
            head: Head::new(floor.max(indexed + 1)),
            seen: Seen::default(),
            pending: Vec::new(),
            waiting: waiting(conn)?,
            floor,
            dirty: false,
            derived_at: Instant::now(),
        };
        memory.load_ids(conn)?;
        memory.load_head(conn, indexed)?;
        memory.load_pending(conn, settings)?;
        Ok(memory)
    }

    fn load_ids(&mut self, conn: &Connection) -> Result<(), KbError> {
        let mut statement = conn.prepare("SELECT first, ids FROM block ORDER BY first")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let first: i64 = row.get(0)?;
            let ids = row.get_ref(1)?.as_blob().map_err(|_| KbError::Damaged("a block"))?;
            for (n, id) in (first..).zip(ids.as_chunks().0) {
                if n >= self.floor {
                    self.seen.insert(u64::from_le_bytes(*id), n);
                }
            }
        }
        Ok(())
    }

    fn load_head(&mut self, conn: &Connection, indexed: i64) -> Result<(), KbError> {
        let mut terms = Vec::new();
        each_after(conn, indexed, |n, envelope| {
            if n != self.head.next() {
                return Err(KbError::Damaged("an event: their numbers have a gap"));
            }
            let hash = hash_of(envelope.id);
            terms_of(&envelope, &mut terms);
            self.seen.insert(hash, n);
            self.head.push(hash, envelope.received_at.as_microsecond(), &terms);
            Ok(())
        })
    }

    fn load_pending(&mut self, conn: &Connection, settings: &Settings) -> Result<(), KbError> {
        let derived = Meta::Derived.get(conn)?.unwrap_or(0);
        let last: Option<i64> = conn.query_row("SELECT max(n) FROM event", [], |row| row.get(0))?;
        if last.is_none_or(|last| last <= derived) {
            return Ok(());
        }
        // Dictionaries may lack what only figures need, such as versions.
        let tx = conn.unchecked_transaction()?;
        let mut pending = Vec::new();
        each_after(&tx, derived, |n, envelope| {
            pending.push(self.pending_of(&tx, settings, n, &envelope)?);
            Ok(())
        })?;
        tx.commit()?;
        self.pending = pending;
        self.dirty = true;
        Ok(())
    }

    /// Returns what figures need from an event.
    pub(super) fn pending_of(
        &mut self,
        tx: &Transaction<'_>,
        settings: &Settings,
        n: i64,
        envelope: &Envelope,
    ) -> Result<Pending, KbError> {
        let at = time_of(envelope).as_microsecond();
        let attempt = match Outcome::of(&envelope.event) {
            Some(outcome) => Some(self.number(tx, settings, (n, envelope.id), at, outcome)?),
            None => None,
        };
        Ok(Pending {
            n,
            corrects: attempt.is_some() && envelope.event.replaces().is_some(),
            is_awaited: attempt.is_some()
                && !self.waiting.is_empty()
                && targets(envelope).any(|target| self.waiting.contains(&target)),
            attempt,
        })
    }

    /// Returns the values of an outcome as numbers of their dictionaries. The event has number `n`
    /// and an id.
    pub(super) fn number(
        &mut self,
        tx: &Transaction<'_>,
        settings: &Settings,
        (n, id): (i64, Uuid),
        at: i64,
        outcome: Outcome,
    ) -> Result<Numbered, KbError> {
        let ids = &mut self.dictionaries;
        let problem = outcome.signature.as_deref().map(|signature| settings.problem(signature));
        let is_alias = problem != outcome.signature.as_deref();
        let mut labels = Vec::with_capacity(outcome.labels.len());
        for (name, value) in &outcome.labels {
            labels.extend(self.labels.value(tx, name, value)?);
        }
        let row = AttemptRow {
            signature: ids.signatures.id_or_none(tx, problem)?,
            at,
            n,
            ok: Some(outcome.ok),
            source: ids.sources.id(tx, &outcome.source)?,
            kind: ids.kinds.id(tx, &outcome.kind)?,
            model: ids.models.id_or_none(tx, outcome.model.as_deref())?,
            version: ids.versions.id_or_none(tx, outcome.version.as_deref())?,
            class: Class::of(&outcome),
            cost: outcome.usage.and_then(|usage| usage.cost_usd),
            ms: outcome.ms,
            turns: outcome.turns.and_then(|turns| i64::try_from(turns).ok()).unwrap_or(0),
            usage: outcome.usage.unwrap_or_default(),
            failure: outcome.failure as i64,
            shown: Some(Shown { id, text: outcome.error }),
        };
        Ok(Numbered { row, labels, has_usage: outcome.usage.is_some(), is_alias })
    }

    /// Returns the newest event with an id that the observer gave.
    pub(super) fn find(&self, conn: &Connection, id: Uuid) -> Result<Option<i64>, KbError> {
        let wanted = term(Field::Id, &[id.as_bytes()]);
        let floor = self.floor;
        let is_it = |n: i64| -> Result<Option<i64>, KbError> {
            let mut statement = conn.prepare_cached("SELECT id = ?2 FROM event WHERE n = ?1")?;
            let found: Option<bool> =
                statement.query_row((n, id.as_bytes()), |row| row.get(0)).optional()?;
            Ok((n >= floor && found == Some(true)).then_some(n))
        };
        for n in self.head.with(wanted) {
            if let Some(n) = is_it(n)? {
                return Ok(Some(n));
            }
        }
        newest_with(conn, wanted, is_it)
    }
}

fn position(conn: &Connection, epochs: &Dictionary) -> Result<(Option<Position>, i64), KbError> {
    let Some(id) = Meta::PositionEpoch.get(conn)? else { return Ok((None, 0)) };
    let seq = Meta::PositionSeq.get(conn)?.unwrap_or(0) as u64;
    let name = epochs.name(conn, id)?;
    let epoch = name.and_then(|name| name.parse().ok()).ok_or(KbError::Damaged("the position"))?;
    Ok((Some(Position { epoch, seq }), id))
}

fn waiting(conn: &Connection) -> Result<HashSet<u64>, KbError> {
    let mut statement =
        conn.prepare("SELECT s.name, u.target FROM unresolved u JOIN source s ON s.id = u.source")?;
    let rows = statement.query_map([], |row| {
        Ok(target_hash(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns the hash of what a correction names, together with its source.
pub(super) fn target_hash(source: &str, target: &str) -> u64 {
    let parts: [&[u8]; 2] = [source.as_bytes(), target.as_bytes()];
    let first = term(Field::Id, &parts);
    u64::from(first) << 32 | u64::from(term(Field::ProducerId, &parts))
}

/// Returns the hashes of everything that a correction of this event can name.
fn targets(envelope: &Envelope) -> impl Iterator<Item = u64> {
    let event = &envelope.event;
    let own = target_hash(event.source(), &envelope.id.hyphenated().to_string());
    let producers = event.id().map(|id| target_hash(event.source(), &normalized(id)));
    [own].into_iter().chain(producers)
}

/// Returns a name as it is compared: a UUID in lower case with hyphens.
pub(super) fn normalized(name: &str) -> String {
    Uuid::parse_str(name).map_or_else(|_| name.to_owned(), |id| id.hyphenated().to_string())
}

/// Columns of an event, in the order that [`envelope`] expects.
pub(crate) const EVENT_COLUMNS: &str = "n, id, seq, received_at, ok, raw";

/// Reads an event from a row of [`EVENT_COLUMNS`].
pub(crate) fn envelope(row: &Row<'_>) -> Result<(i64, Envelope), KbError> {
    let id = row.get_ref(1)?.as_blob().ok().and_then(|id| Uuid::from_slice(id).ok());
    let raw: String = row.get(5)?;
    let is_phase = row.get::<_, Option<bool>>(4)?.is_none();
    let received: Timestamp = time(row.get(3)?);
    let envelope = Envelope {
        id: id.ok_or(KbError::Damaged("an event"))?,
        seq: row.get::<_, i64>(2)? as u64,
        received_at: received,
        event: Event::from_parsed(Bytes::from(raw)).with_phase(is_phase),
    };
    Ok((row.get(0)?, envelope))
}

fn each_after(
    conn: &Connection,
    n: i64,
    mut each: impl FnMut(i64, Envelope) -> Result<(), KbError>,
) -> Result<(), KbError> {
    let sql = format!("SELECT {EVENT_COLUMNS} FROM event WHERE n > ?1 ORDER BY n");
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([n])?;
    while let Some(row) = rows.next()? {
        let (n, envelope) = envelope(row)?;
        each(n, envelope)?;
    }
    Ok(())
}
