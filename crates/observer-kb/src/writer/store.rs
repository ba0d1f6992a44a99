//! A batch becomes rows.

use observer_core::{Batch, Envelope, Position};
use rusqlite::{Transaction, params};

use super::memory::{Memory, Numbered, Writer};
use crate::error::KbError;
use crate::index::{hash_of, terms_of};
use crate::outcome::time_of;
use crate::schema::Meta;
use crate::settings::Settings;

/// Events for which figures lag at most.
pub(super) const MOST_PENDING: usize = 98_304;

impl Writer {
    /// Stores the events of a batch that are past the position, and the position. An event whose id
    /// is known is left out. Returns the number of events that figures were derived from.
    pub(crate) fn store(&mut self, batch: &Batch) -> Result<usize, KbError> {
        self.transact(|tx, memory, settings| {
            memory.store(tx, settings, batch)?;
            match memory.pending.len() {
                MOST_PENDING.. => memory.derive(tx, settings),
                _ => Ok(0),
            }
        })
    }

    /// Stores events beside the position, each with its epoch if that is known. Returns the number
    /// of those whose id was new.
    pub(crate) fn import(&mut self, events: &[(Option<u64>, Envelope)]) -> Result<u64, KbError> {
        self.transact(|tx, memory, settings| {
            let mut stored = 0;
            for (epoch, envelope) in events {
                let name = epoch.map_or_else(|| "imported".to_owned(), |epoch| epoch.to_string());
                let epoch = memory.dictionaries.epochs.id(tx, &name)?;
                stored += u64::from(memory.store_new(tx, settings, epoch, envelope)?);
            }
            memory.derive(tx, settings)?;
            Ok(stored)
        })
    }

    /// Sets the position.
    pub(crate) fn set_position(&mut self, position: Position) -> Result<(), KbError> {
        self.transact(|tx, memory, _| memory.set_position(tx, position))
    }
}

impl Memory {
    fn store(
        &mut self,
        tx: &Transaction<'_>,
        settings: &Settings,
        batch: &Batch,
    ) -> Result<(), KbError> {
        let end = batch.position();
        let held = self.position.filter(|held| held.epoch == end.epoch);
        if held.is_some_and(|held| held.seq >= end.seq) {
            return Ok(());
        }
        self.set_position(tx, end)?;
        let epoch = self.epoch;
        for envelope in batch {
            if held.is_none_or(|held| envelope.seq > held.seq) {
                self.store_new(tx, settings, epoch, envelope)?;
            }
        }
        Ok(())
    }

    fn set_position(&mut self, tx: &Transaction<'_>, to: Position) -> Result<(), KbError> {
        if self.position.is_none_or(|held| held.epoch != to.epoch) {
            self.epoch = self.dictionaries.epochs.id(tx, &to.epoch.to_string())?;
        }
        Meta::PositionEpoch.set(tx, self.epoch)?;
        Meta::PositionSeq.set(tx, to.seq as i64)?;
        self.position = Some(to);
        self.dirty = true;
        Ok(())
    }

    /// Stores an event, unless one with its id is stored. Returns whether it was.
    fn store_new(
        &mut self,
        tx: &Transaction<'_>,
        settings: &Settings,
        epoch: i64,
        envelope: &Envelope,
    ) -> Result<bool, KbError> {
        let hash = hash_of(envelope.id);
        if self.seen.may_contain(hash) && self.find(tx, envelope.id)?.is_some() {
            return Ok(false);
        }
        // Parsed fields would stay in memory with the event, which other sinks share.
        let envelope = Envelope {
            id: envelope.id,
            seq: envelope.seq,
            received_at: envelope.received_at,
            event: envelope.event.unparsed(),
        };
        let n = self.head.next();
        let pending = self.pending_of(tx, settings, n, &envelope)?;
        self.insert(tx, epoch, n, &envelope, pending.attempt.as_ref())?;
        let mut terms = Vec::with_capacity(16);
        terms_of(&envelope, &mut terms);
        self.head.push(hash, envelope.received_at.as_microsecond(), &terms);
        self.seen.insert(hash, n);
        self.pending.push(pending);
        self.dirty = true;
        if self.head.is_full() {
            self.head.seal(tx)?;
            Meta::Indexed.set(tx, n)?;
        }
        Ok(true)
    }

    /// Writes the row of an event. `attempt` has the numbers of an outcome.
    fn insert(
        &mut self,
        tx: &Transaction<'_>,
        epoch: i64,
        n: i64,
        envelope: &Envelope,
        attempt: Option<&Numbered>,
    ) -> Result<(), KbError> {
        let event = &envelope.event;
        let received = envelope.received_at.as_microsecond();
        let at = time_of(envelope).as_microsecond();
        let (source, kind, model) = match attempt {
            Some(Numbered { row, .. }) => (row.source, row.kind, row.model),
            None => {
                let ids = &mut self.dictionaries;
                (
                    ids.sources.id(tx, event.source())?,
                    ids.kinds.id(tx, event.event_kind())?,
                    ids.models.id_or_none(tx, event.staffer_id())?,
                )
            }
        };
        let signature = match attempt {
            Some(Numbered { row, is_alias: false, .. }) => row.signature,
            _ => self.dictionaries.signatures.id_or_none(tx, event.sig_hash())?,
        };
        let optional = |id: i64| (id != 0).then_some(id);
        tx.prepare_cached(
            "INSERT INTO event (n, id, epoch, seq, received_at, at, source, kind, ok, signature,
               model, raw)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            n,
            envelope.id.as_bytes(),
            epoch,
            envelope.seq as i64,
            received,
            (at != received).then_some(at),
            source,
            kind,
            event.ok(),
            optional(signature),
            optional(model),
            std::str::from_utf8(event.raw()).map_err(|_| KbError::Damaged("an event"))?,
        ])?;
        Ok(())
    }
}
