//! State of the sink and its transitions, without threads or futures.
//!
//! A batch that is delivered again must not be written again. The writer therefore keeps a set of
//! events (`ahead`) whose lines are in files but whose delivery the pipeline doesn't count: events
//! of a batch that failed half-way, of a batch whose reply was lost, and of the time before a
//! crash. The set holds sequence numbers and ids, so that an event that is sent again on purpose is
//! written again.
//!
//! - [`active_files`] opens, rotates and syncs the files that are written to; [`open_file`] is one
//!   of them.
//! - [`tail`] reads lines back and repairs a torn end.
//! - [`sidecar`] stores the position; [`recovery`] restores it after a crash.

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
use crate::writer::active_files::{ActiveFiles, PartialWrite, Portion, PortionLine};
use crate::writer::recovery::{Recovered, recover};
use crate::writer::sidecar::{Recorded, StateFolder};

/// Fate of the reply to the last delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastReply {
    /// The pipeline received it.
    Received,
    /// The delivery was cancelled, so its batch is delivered again.
    Lost,
}

/// The sink without its thread.
pub(crate) struct Writer {
    settings: Arc<Settings>,
    state: StateFolder,
    files: ActiveFiles,
    position: Option<Position>,
    /// Events whose lines are in the files and that the pipeline may deliver again.
    ahead: HashSet<(u64, Uuid)>,
    /// Events of the last batch, until its reply is known to be received.
    last: Vec<(u64, Uuid)>,
    /// Events of the batches before the last one, back to the last flush. They are delivered again
    /// if the next flush fails.
    unflushed: Vec<Vec<(u64, Uuid)>>,
    sidecar: SidecarState,
    /// Day of the newest event.
    latest: Option<Date>,
    /// Hour since 1970 of the last search for old files.
    last_sweep: Option<u64>,
}

/// State of the sidecar on disk compared with the state in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SidecarState {
    Current,
    Stale,
}

impl Writer {
    /// Locks the state folder, and repairs what a crash left behind.
    pub(crate) fn open(
        settings: Arc<Settings>,
        state_dir: &Path,
        disk: Arc<dyn Disk>,
        now: SystemTime,
    ) -> Result<Self, FileError> {
        let state = StateFolder::open(state_dir, &*disk)?;
        let listing = list(&settings)?;
        for path in &listing.temporaries {
            std::fs::remove_file(path).map_err(FileError::io("delete the temporary file", path))?;
            tracing::info!(
                file = %path.display(),
                "deleted the temporary file of an interrupted compression"
            );
        }
        let Recovered { position, ahead } = recover(state.load()?, &listing, &*disk)?;
        let janitor = Janitor::start(&settings, &disk)?;
        let mut writer = Self {
            files: ActiveFiles::new(Arc::clone(&settings), disk, janitor),
            settings,
            state,
            position,
            sidecar: if ahead.is_empty() { SidecarState::Current } else { SidecarState::Stale },
            ahead,
            last: Vec::new(),
            unflushed: Vec::new(),
            latest: listing.latest(),
            last_sweep: None,
        };
        // Recovery does not read compressed files, so the sidecar must cover their lines first.
        writer.store()?;
        writer.schedule_maintenance(&listing, now);
        Ok(writer)
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Checks that the sidecar can be written.
    pub(crate) fn check(&self) -> Result<(), FileError> {
        self.state.check()
    }

    /// Writes the events of a batch that are not in the files yet.
    pub(crate) fn deliver(
        &mut self,
        batch: &Batch,
        last_reply: LastReply,
    ) -> Result<(), FileError> {
        self.acknowledge_last(last_reply);
        self.enter_epoch(batch)?;
        self.start_day(batch)?;
        let portions = self.encode(batch);
        self.sidecar = SidecarState::Stale;
        for (index, portion) in portions.iter().enumerate() {
            if let Err(PartialWrite { written, error }) = self.files.append(portion) {
                let complete = portions[..index].iter().flat_map(|portion| &portion.lines);
                let lines = complete.chain(&portion.lines[..written]);
                self.ahead.extend(lines.map(|line| line.event));
                return Err(error);
            }
        }
        self.last.extend(batch.events().iter().map(|envelope| (envelope.seq, envelope.id)));
        self.position = self.position.max(Some(batch.position()));
        Ok(())
    }

    /// Makes the files durable, then the position, and schedules work for the janitor.
    pub(crate) fn flush(&mut self, now: SystemTime) -> Result<(), FileError> {
        let flushed = self.make_durable(now);
        if flushed.is_ok() {
            self.unflushed.clear();
        } else {
            // The lines are in the files, and the pipeline delivers their events again.
            self.sidecar = SidecarState::Stale;
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
        let is_due = self.files.take_closed_count() > 0 || self.last_sweep != Some(hour(now));
        if is_due && self.files.janitor().is_needed() {
            match list(&self.settings) {
                Ok(listing) => self.schedule_maintenance(&listing, now),
                Err(error) => {
                    tracing::warn!(
                        %error,
                        "listing of closed files failed; it is repeated with the next flush"
                    );
                    self.last_sweep = None;
                }
            }
        }
        Ok(())
    }

    /// Accounts for the reply to the last batch. Once the pipeline has received it, the events of
    /// that batch and of earlier ones are delivered again only on purpose or after a failed flush.
    fn acknowledge_last(&mut self, last_reply: LastReply) {
        if last_reply == LastReply::Lost {
            self.ahead.extend(self.last.drain(..));
            return;
        }
        let Some(&(end, _)) = self.last.last() else { return };
        self.unflushed.push(std::mem::take(&mut self.last));
        self.ahead.retain(|(seq, _)| *seq > end);
    }

    /// Makes the old epoch durable and records the new one before its first line is written, since
    /// sequence numbers of different epochs denote different events.
    fn enter_epoch(&mut self, batch: &Batch) -> Result<(), FileError> {
        let epoch = batch.position().epoch;
        if self.position.is_some_and(|position| position.epoch == epoch) {
            return Ok(());
        }
        self.files.sync()?;
        let first = batch.events().first().expect("a batch holds at least one event");
        let before = self.position.replace(Position { epoch, seq: first.seq.saturating_sub(1) });
        self.sidecar = SidecarState::Stale;
        self.store().inspect_err(|_| self.position = before)
    }

    /// Makes the files of a day durable before the first line of a later day is written.
    fn start_day(&mut self, batch: &Batch) -> Result<(), FileError> {
        let newest = batch.events().iter().map(|envelope| envelope.received_at).max().map(day);
        if self.settings.template.has_date() && newest > self.latest {
            self.files.sync()?;
            self.latest = newest;
            self.last_sweep = None;
        }
        Ok(())
    }

    /// Encodes the events of a batch that are not in the files yet, by active file.
    fn encode(&self, batch: &Batch) -> Vec<Portion> {
        let template = &self.settings.template;
        let (has_date, has_source) = (template.has_date(), template.has_source());
        let mut portions: Vec<Portion> = Vec::new();
        let mut indexes = HashMap::new();
        let mut days = DayCache::default();
        let mut last: Option<(FileKey<'_>, usize)> = None;
        for envelope in batch {
            let event = (envelope.seq, envelope.id);
            if self.ahead.contains(&event) {
                continue;
            }
            let date = days.of(envelope.received_at);
            let key = (has_date.then_some(date), has_source.then(|| envelope.event.source()));
            let index = match last {
                Some((same, index)) if same == key => index,
                _ => *indexes.entry(key).or_insert_with(|| {
                    let path = template.render(date, key.1.unwrap_or_default());
                    // Most batches belong to one file.
                    let (bytes, lines) =
                        if portions.is_empty() { (size(batch), batch.len()) } else { (0, 0) };
                    let (bytes, lines) = (Vec::with_capacity(bytes), Vec::with_capacity(lines));
                    portions.push(Portion { path, date: key.0, bytes, lines });
                    portions.len() - 1
                }),
            };
            last = Some((key, index));
            let portion = &mut portions[index];
            envelope.write_json(&mut portion.bytes);
            portion.bytes.push(b'\n');
            let received = envelope.received_at.as_second();
            portion.lines.push(PortionLine { end: portion.bytes.len(), event, received });
        }
        portions
    }

    /// Writes the sidecar if it is stale and there is a position.
    fn store(&mut self) -> Result<(), FileError> {
        let Some(position) = self.position.filter(|_| self.sidecar == SidecarState::Stale) else {
            return Ok(());
        };
        // Events up to the position are not delivered again after a restart. There may be many of
        // them.
        let ahead = self.ahead.iter().filter(|(seq, _)| *seq > position.seq);
        let ahead = ahead.map(|(seq, id)| (*seq, id.to_string())).collect();
        self.state.store(&Recorded::new(position, self.files.marks(), ahead))?;
        self.sidecar = SidecarState::Current;
        Ok(())
    }

    /// Schedules the compression of closed files and the deletion of old ones.
    fn schedule_maintenance(&mut self, listing: &Listing, now: SystemTime) {
        let closed = listing
            .files
            .iter()
            .filter(|found| found.compression == Compression::None && found.is_closed(self.latest))
            .map(|found| found.path.clone());
        self.files.janitor().compress(closed);
        if self.settings.retain != Retain::default() {
            self.files.janitor().sweep(Sweep { latest: self.latest, now });
        }
        self.last_sweep = Some(hour(now));
    }

    #[cfg(test)]
    pub(crate) fn files(&self) -> &ActiveFiles {
        &self.files
    }
}

fn list(settings: &Settings) -> Result<Listing, FileError> {
    Listing::read(&settings.template)
        .map_err(FileError::io("list the files in", settings.template.base()))
}

/// Values that determine the active file of an event: its day and its source, if the template has
/// them.
type FileKey<'a> = (Option<Date>, Option<&'a str>);

/// Returns an estimate of the length of a batch's lines in bytes.
fn size(batch: &Batch) -> usize {
    batch.events().iter().map(|envelope| envelope.event.raw().len() + 128).sum()
}

/// Returns the UTC day of a time.
fn day(time: Timestamp) -> Date {
    Offset::UTC.to_datetime(time).date()
}

/// Conversion of times to days, with a cache of the last day.
#[derive(Default)]
struct DayCache {
    last: Option<(i64, Date)>,
}

impl DayCache {
    fn of(&mut self, time: Timestamp) -> Date {
        let number = time.as_microsecond().div_euclid(86_400_000_000);
        match self.last {
            Some((last, date)) if last == number => date,
            _ => self.last.insert((number, day(time))).1,
        }
    }
}

/// Returns the number of full hours since 1970.
fn hour(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 3600
}

#[cfg(test)]
mod tests;
