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
//! - [`upkeep`] closes complete files, and schedules their compression and deletion.

mod active_files;
mod open_file;
mod recovery;
pub(crate) mod sidecar;
pub(crate) mod tail;
mod upkeep;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::Date;
use observer_core::{Batch, Position, Timestamp, Uuid};

use crate::clock::{Jump, Now, TrustedClock};
use crate::compression::Compression;
use crate::config::Settings;
use crate::disk::Disk;
use crate::error::FileError;
use crate::janitor::{Janitor, MAX_BACKLOG};
use crate::ledger::{Ledger, Loaded as LoadedLedger};
use crate::names::template::{Days, Piece};
use crate::placement::Placer;
use crate::siblings::Surroundings;
use crate::sync::lock;
use crate::writer::active_files::{ActiveFiles, PartialWrite, Portion, PortionLine};
use crate::writer::recovery::{Files, Recovered, recover};
use crate::writer::sidecar::{Loaded, Recorded, StateFolder};
use crate::writer::upkeep::{adopt_earlier, hour, list, log_jump};

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
    disk: Arc<dyn Disk>,
    state: StateFolder,
    ledger: Arc<Mutex<Ledger>>,
    files: ActiveFiles,
    janitor: Janitor,
    position: Option<Position>,
    /// Events whose lines are in the files and that the pipeline may deliver again.
    ahead: HashSet<(u64, Uuid)>,
    /// Events of the last batch, until its reply is known to be received.
    last: Vec<(u64, Uuid)>,
    /// Events of the batches before the last one, back to the last flush. They are delivered again
    /// if the next flush fails.
    unflushed: Vec<Vec<(u64, Uuid)>>,
    sidecar: SidecarState,
    /// Day of the newest event of the last batch.
    latest: Option<Date>,
    /// Date of the newest event by the trusted time, in seconds since 1970.
    newest: i64,
    clock: TrustedClock,
    /// True if the ledger lacks a jump of the clock or its end.
    clock_changed: bool,
    /// Time of the last step of the clock.
    now: Now,
    /// Hour since 1970 of the last search for old files.
    last_sweep: Option<i64>,
    surroundings: Surroundings,
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
        now: Now,
        surroundings: Surroundings,
    ) -> Result<Self, FileError> {
        let settings = resolve_link(settings);
        let state = StateFolder::open(state_dir, &*disk)?;
        let listing = list(&settings)?;
        let loaded = state.load()?;
        let template = &settings.template;
        let LoadedLedger { mut ledger, is_new, is_current, previous_base } =
            Ledger::load(state_dir, template.base(), template.extension())?;
        let since = match &loaded {
            Loaded::Intact(_, written) => Some(seconds(*written)),
            _ => None,
        };
        if is_new && let Loaded::Intact(recorded, _) = &loaded {
            adopt_earlier(&mut ledger, &listing, &surroundings.peers(), recorded);
        }
        // Without any state the sink is new, and every file is that of a stranger.
        let is_upgrade = is_new && !matches!(loaded, Loaded::Missing);
        let unrecorded = is_upgrade.then_some(&listing);
        // Before the ledger, the sidecar was the last trace of the clock.
        let clock = ledger.clock().or(since.map(TrustedClock::new));
        let latest = clock.map_or(i64::MAX, |clock| clock.latest_date());
        let files = Files { ledger: &mut ledger, previous_base, unrecorded, latest };
        let Recovered { position, ahead } = recover(loaded, files, &*disk)?;
        // The header comes first in a new file.
        ledger.open()?;
        if !is_current {
            ledger.write_header()?;
        }
        ledger.write()?;
        ledger.sync()?;
        let (clock, jump) = start_clock(&mut ledger, clock, now);
        let newest = ledger.files().map(|(_, entry)| entry.newest).max().unwrap_or(0);
        let latest = Timestamp::from_second(newest).ok().filter(|_| newest > 0);
        let latest = latest.map(|time| settings.placement.day(time));
        let ledger = Arc::new(Mutex::new(ledger));
        let janitor = Janitor::start(&settings, &ledger, &disk)?;
        let mut writer = Self {
            files: ActiveFiles::new(
                Arc::clone(&settings),
                Arc::clone(&disk),
                Arc::clone(&ledger),
                surroundings.clone(),
            ),
            disk,
            settings,
            state,
            ledger,
            janitor,
            position,
            sidecar: if ahead.is_empty() { SidecarState::Current } else { SidecarState::Stale },
            ahead,
            last: Vec::new(),
            unflushed: Vec::new(),
            latest,
            newest,
            clock,
            clock_changed: jump.is_some(),
            now,
            last_sweep: None,
            surroundings,
        };
        // Recovery does not read compressed files, so the sidecar must cover their lines first.
        writer.store()?;
        writer.files.trusted = writer.clock.time();
        writer.close_complete();
        writer.schedule_maintenance(now);
        writer.count_unowned(&listing);
        Ok(writer)
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Checks that the sidecar can be written.
    pub(crate) fn check(&mut self) -> Result<(), FileError> {
        self.restore_state()?;
        self.state.check()
    }

    /// Writes the state again if another program removed or replaced its folder.
    fn restore_state(&mut self) -> Result<(), FileError> {
        if self.state.restore(&*self.disk)? {
            lock(&self.ledger).restore()?;
            self.sidecar = SidecarState::Stale;
            tracing::warn!(
                file = %self.state.path().display(),
                "the state folder was removed or replaced; the state is written again"
            );
        }
        Ok(())
    }

    /// Writes the events of a batch that are not in the files yet.
    pub(crate) fn deliver(
        &mut self,
        batch: &Batch,
        last_reply: LastReply,
    ) -> Result<(), FileError> {
        self.acknowledge_last(last_reply);
        self.bound_backlog()?;
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

    /// Waits while many closed files wait for their compression.
    fn bound_backlog(&mut self) -> Result<(), FileError> {
        let is_packing = self.settings.compression != Compression::None;
        if is_packing && self.files.closed_count() > MAX_BACKLOG {
            self.make_durable(self.now)?;
        }
        match self.janitor.throttle(THROTTLE) {
            None => Ok(()),
            Some(files) => Err(FileError::Backlog { files }),
        }
    }

    /// Makes the files durable, then the position, and schedules work for the janitor.
    pub(crate) fn flush(&mut self, now: Now) -> Result<(), FileError> {
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

    fn make_durable(&mut self, now: Now) -> Result<(), FileError> {
        self.files.sync()?;
        self.restore_state()?;
        self.files.record();
        self.advance(now);
        self.close_complete();
        self.store()?;
        let is_due = self.files.take_closed_count() > 0 || self.last_sweep != Some(hour(now));
        if is_due {
            if self.last_sweep != Some(hour(now)) {
                match list(&self.settings) {
                    Ok(listing) => self.count_unowned(&listing),
                    Err(error) => tracing::warn!(%error, "listing of files failed"),
                }
            }
            self.schedule_maintenance(now);
        }
        if std::mem::take(&mut self.clock_changed) {
            self.record_clock();
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

    /// Makes the files of a day durable before the first line of another day is written.
    fn start_day(&mut self, batch: &Batch) -> Result<(), FileError> {
        let newest = batch.events().iter().map(|envelope| envelope.received_at).max();
        let Some(newest) = newest else { return Ok(()) };
        let day = self.settings.placement.day(newest);
        if self.settings.template.has_day() && self.latest != Some(day) {
            self.files.sync()?;
            self.last_sweep = None;
        }
        self.latest = Some(day);
        Ok(())
    }

    /// Encodes the events of a batch that are not in the files yet, by active file.
    fn encode(&mut self, batch: &Batch) -> Vec<Portion> {
        let settings = Arc::clone(&self.settings);
        let template = &settings.template;
        let has_source = template.has(&Piece::Source);
        let mut portions: Vec<Portion> = Vec::new();
        let mut indexes = HashMap::new();
        let mut placer = Placer::new(&settings.placement);
        let mut last: Option<(FileKey<'_>, usize)> = None;
        for envelope in batch {
            let event = (envelope.seq, envelope.id);
            if self.ahead.contains(&event) {
                continue;
            }
            let days = placer.days(envelope);
            let key = (days, has_source.then(|| envelope.event.source()));
            let index = match last {
                Some((same, index)) if same == key => index,
                _ => *indexes.entry(key).or_insert_with(|| {
                    let path = self.files.path_of(days, key.1.unwrap_or_default());
                    // Most batches belong to one file.
                    let (bytes, lines) =
                        if portions.is_empty() { (size(batch), batch.len()) } else { (0, 0) };
                    let (bytes, lines) = (Vec::with_capacity(bytes), Vec::with_capacity(lines));
                    portions.push(Portion { path, days, bytes, lines });
                    portions.len() - 1
                }),
            };
            last = Some((key, index));
            let portion = &mut portions[index];
            envelope.write_json(&mut portion.bytes);
            portion.bytes.push(b'\n');
            let received = envelope.received_at.as_second();
            let date = self.clock.date(received, self.newest);
            self.newest = date;
            portion.lines.push(PortionLine { end: portion.bytes.len(), event, received, date });
        }
        self.surroundings.counts.skewed.fetch_add(placer.skewed, Ordering::Relaxed);
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

    #[cfg(test)]
    pub(crate) fn files(&self) -> &ActiveFiles {
        &self.files
    }

    #[cfg(test)]
    pub(crate) fn janitor(&self) -> &Janitor {
        &self.janitor
    }
}

/// Longest time for which a delivery waits for the compression of closed files.
const THROTTLE: Duration = Duration::from_secs(2);

/// Brings the clock of the last run up to date, and dates files by it that can't be as old as
/// recorded.
fn start_clock(
    ledger: &mut Ledger,
    clock: Option<TrustedClock>,
    now: Now,
) -> (TrustedClock, Option<Jump>) {
    let mut clock = clock.unwrap_or_else(|| TrustedClock::new(now.wall));
    let jump = clock.step(now.wall, None);
    log_jump(jump);
    ledger.correct_dates(&clock);
    (clock, jump)
}

fn resolve_link(settings: Arc<Settings>) -> Arc<Settings> {
    match settings.template.resolved() {
        Some(template) => Arc::new(Settings { template, ..Settings::clone(&settings) }),
        None => settings,
    }
}

/// Values that determine the active file of an event: its days and its source, if the template has
/// them.
type FileKey<'a> = (Days, Option<&'a str>);

/// Returns an estimate of the length of a batch's lines in bytes.
fn size(batch: &Batch) -> usize {
    batch.events().iter().map(|envelope| envelope.event.raw().len() + 128).sum()
}

/// Returns a time in seconds since 1970.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
