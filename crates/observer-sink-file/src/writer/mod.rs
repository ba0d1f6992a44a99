//! The sink's state and what changes it, without threads or futures.
//!
//! A line must not be written twice because its batch comes again. So the writer remembers lines
//! that are in the files although the pipeline can't know it (`ahead`): of a batch that failed in
//! its middle, of one whose answer nobody was there to hear, and of the time before a crash. They
//! are told by sequence number and id, so that an event that is replayed on purpose is written once
//! more.

mod active_files;
mod open_file;
mod recovery;
mod sidecar;
mod tail;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::civil::Date;
use jiff::tz::Offset;
use observer_core::{Batch, Position, Timestamp, Uuid};

use crate::compression::Compression;
use crate::config::{Retain, Settings};
use crate::disk::Disk;
use crate::error::FileError;
use crate::janitor::{Janitor, Sweep};
use crate::names::listing::Listing;
use crate::writer::active_files::{Files, Portion, PortionLine, Stuck};
use crate::writer::recovery::{Recovered, recover};
use crate::writer::sidecar::{Recorded, StateFolder};

/// What became of the answer to the last delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastAnswer {
    /// The pipeline has it.
    Heard,
    /// The delivery was cancelled: its batch comes again.
    Lost,
}

pub(crate) struct Writer {
    settings: Arc<Settings>,
    state: StateFolder,
    files: Files,
    position: Option<Position>,
    ahead: HashSet<(u64, Uuid)>,
    /// The events of the last batch that was written, until its answer is known to be heard.
    last: Vec<(u64, Uuid)>,
    /// Those of the batches before it, back to the last flush: they come again if the next one
    /// fails.
    unflushed: Vec<Vec<(u64, Uuid)>>,
    /// Whether the sidecar tells less than is known.
    record: Record,
    latest: Option<Date>,
    /// The hour in which old files were last looked for, since 1970.
    swept: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    Current,
    Stale,
}

impl Writer {
    /// Take the state folder and mend what a crash left behind.
    pub(crate) fn open(
        settings: Arc<Settings>,
        state_dir: &Path,
        disk: Arc<dyn Disk>,
        now: SystemTime,
    ) -> Result<Self, FileError> {
        let state = StateFolder::open(state_dir, &*disk)?;
        let listing = list(&settings)?;
        for path in &listing.temporaries {
            std::fs::remove_file(path).map_err(FileError::io("delete the leftover", path))?;
            tracing::info!(file = %path.display(), "deleted what a crash left of a compression");
        }
        let Recovered { position, ahead } = recover(state.load()?, &listing, &*disk)?;
        let janitor = Janitor::start(&settings, &disk)?;
        let mut writer = Self {
            files: Files::new(Arc::clone(&settings), disk, janitor),
            settings,
            state,
            position,
            record: if ahead.is_empty() { Record::Current } else { Record::Stale },
            ahead,
            last: Vec::new(),
            unflushed: Vec::new(),
            latest: listing.latest(),
            swept: None,
        };
        // Once a closed file is packed, its lines can't be found by the next recovery.
        writer.store()?;
        writer.tidy(&listing, now);
        Ok(writer)
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Whether the position could be stored.
    pub(crate) fn check(&self) -> Result<(), FileError> {
        self.state.check()
    }

    /// Write what isn't in the files yet.
    pub(crate) fn deliver(
        &mut self,
        batch: &Batch,
        last_answer: LastAnswer,
    ) -> Result<(), FileError> {
        self.settle_last(last_answer);
        self.enter_epoch(batch)?;
        self.turn_day(batch)?;
        let portions = self.encode(batch);
        self.record = Record::Stale;
        for (index, portion) in portions.iter().enumerate() {
            if let Err(Stuck { written, error }) = self.files.append(portion) {
                let whole = portions[..index].iter().flat_map(|portion| &portion.lines);
                self.ahead.extend(whole.chain(&portion.lines[..written]).map(|line| line.event));
                return Err(error);
            }
        }
        self.last.extend(batch.events().iter().map(|envelope| (envelope.seq, envelope.id)));
        self.position = self.position.max(Some(batch.position()));
        Ok(())
    }

    /// Make it durable, then the position.
    pub(crate) fn flush(&mut self, now: SystemTime) -> Result<(), FileError> {
        let flushed = self.make_durable(now);
        if flushed.is_ok() {
            self.unflushed.clear();
        } else {
            // All of it is in the files, or will be by the next sync, and comes again.
            self.record = Record::Stale;
            self.ahead.extend(self.unflushed.drain(..).flatten());
            self.ahead.extend(self.last.drain(..));
        }
        flushed
    }

    fn make_durable(&mut self, now: SystemTime) -> Result<(), FileError> {
        self.files.sync()?;
        if let Some(latest) = self.latest {
            self.files.close_before(latest);
        }
        self.store()?;
        let is_due = self.files.take_put_aside() > 0 || self.swept != Some(hour(now));
        if is_due && self.files.janitor().is_needed() {
            match list(&self.settings) {
                Ok(listing) => self.tidy(&listing, now),
                Err(error) => {
                    tracing::warn!(%error, "closed files are left as they are until the next flush");
                    self.swept = None;
                }
            }
        }
        Ok(())
    }

    /// Once the pipeline knows of the last batch, neither its events nor earlier ones come again by
    /// themselves.
    fn settle_last(&mut self, last_answer: LastAnswer) {
        if last_answer == LastAnswer::Lost {
            self.ahead.extend(self.last.drain(..));
            return;
        }
        let Some(&(end, _)) = self.last.last() else { return };
        self.unflushed.push(std::mem::take(&mut self.last));
        self.ahead.retain(|(seq, _)| *seq > end);
    }

    /// Sequence numbers mean other events in another epoch: the old one is durable first, and the
    /// new one is on record before its first line.
    fn enter_epoch(&mut self, batch: &Batch) -> Result<(), FileError> {
        let epoch = batch.position().epoch;
        if self.position.is_some_and(|position| position.epoch == epoch) {
            return Ok(());
        }
        self.files.sync()?;
        let first = batch.events().first().expect("a batch holds at least one event");
        let before = self.position.replace(Position { epoch, seq: first.seq.saturating_sub(1) });
        self.record = Record::Stale;
        self.store().inspect_err(|_| self.position = before)
    }

    /// The files of a day are durable before those of the next begin.
    fn turn_day(&mut self, batch: &Batch) -> Result<(), FileError> {
        let newest = batch.events().iter().map(|envelope| envelope.received_at).max().map(day);
        if self.settings.template.has_date() && newest > self.latest {
            self.files.sync()?;
            self.latest = newest;
            self.swept = None;
        }
        Ok(())
    }

    fn encode(&self, batch: &Batch) -> Vec<Portion> {
        let template = &self.settings.template;
        let (has_date, has_source) = (template.has_date(), template.has_source());
        let mut portions: Vec<Portion> = Vec::new();
        let mut places = HashMap::new();
        let mut days = Days::default();
        let mut last: Option<(Place<'_>, usize)> = None;
        for envelope in batch {
            let event = (envelope.seq, envelope.id);
            if self.ahead.contains(&event) {
                continue;
            }
            let date = days.of(envelope.received_at);
            let place = (has_date.then_some(date), has_source.then(|| envelope.event.source()));
            let index = match last {
                Some((same, index)) if same == place => index,
                _ => *places.entry(place).or_insert_with(|| {
                    let path = template.render(date, place.1.unwrap_or_default());
                    // The first place takes all of most batches.
                    let (bytes, lines) =
                        if portions.is_empty() { (size(batch), batch.len()) } else { (0, 0) };
                    let (bytes, lines) = (Vec::with_capacity(bytes), Vec::with_capacity(lines));
                    portions.push(Portion { path, date: place.0, bytes, lines });
                    portions.len() - 1
                }),
            };
            last = Some((place, index));
            let portion = &mut portions[index];
            envelope.write_json(&mut portion.bytes);
            portion.bytes.push(b'\n');
            let received = envelope.received_at.as_second();
            portion.lines.push(PortionLine { end: portion.bytes.len(), event, received });
        }
        portions
    }

    fn store(&mut self) -> Result<(), FileError> {
        let Some(position) = self.position.filter(|_| self.record == Record::Stale) else {
            return Ok(());
        };
        // What is not past the position doesn't come again after a restart, and there may be much
        // of it.
        let ahead = self.ahead.iter().filter(|(seq, _)| *seq > position.seq);
        let ahead = ahead.map(|(seq, id)| (*seq, id.to_string())).collect();
        self.state.store(&Recorded::new(position, self.files.marks(), ahead))?;
        self.record = Record::Current;
        Ok(())
    }

    /// Have closed files packed and old ones deleted.
    fn tidy(&mut self, listing: &Listing, now: SystemTime) {
        let closed = listing
            .files
            .iter()
            .filter(|found| found.compression == Compression::None && found.is_closed(self.latest))
            .map(|found| found.path.clone());
        self.files.janitor().pack(closed);
        if self.settings.retain != Retain::default() {
            self.files.janitor().sweep(Sweep { latest: self.latest, now });
        }
        self.swept = Some(hour(now));
    }

    #[cfg(test)]
    pub(crate) fn files(&self) -> &Files {
        &self.files
    }
}

fn list(settings: &Settings) -> Result<Listing, FileError> {
    Listing::read(&settings.template)
        .map_err(FileError::io("list the files in", settings.template.base()))
}

/// What tells the files of a batch apart: a day and a source, each where the template has it.
type Place<'a> = (Option<Date>, Option<&'a str>);

/// About how many bytes the lines of a batch have.
fn size(batch: &Batch) -> usize {
    batch.events().iter().map(|envelope| envelope.event.raw().len() + 128).sum()
}

fn day(time: Timestamp) -> Date {
    Offset::UTC.to_datetime(time).date()
}

/// The day of one event after the other, most of which is the same.
#[derive(Default)]
struct Days {
    last: Option<(i64, Date)>,
}

impl Days {
    fn of(&mut self, time: Timestamp) -> Date {
        let number = time.as_microsecond().div_euclid(86_400_000_000);
        match self.last {
            Some((last, date)) if last == number => date,
            _ => self.last.insert((number, day(time))).1,
        }
    }
}

fn hour(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 3600
}

#[cfg(test)]
mod tests;
