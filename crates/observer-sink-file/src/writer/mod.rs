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
pub(crate) mod sidecar;
pub(crate) mod tail;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::Date;
use observer_core::{Adopted, Batch, Position, Timestamp, Uuid};

use crate::adoption::{self, Rule};
use crate::clock::{Jump, Now, TrustedClock};
use crate::compression::Compression;
use crate::config::{Retain, Settings};
use crate::disk::Disk;
use crate::error::FileError;
use crate::janitor::{Janitor, Sweep};
use crate::ledger::{Kind, Ledger, Loaded as LoadedLedger};
use crate::names::listing::Listing;
use crate::names::template::{Days, Piece};
use crate::placement::Placer;
use crate::siblings::{Counts, Peer};
use crate::sync::lock;
use crate::writer::active_files::{ActiveFiles, Moment, PartialWrite, Portion, PortionLine};
use crate::writer::recovery::{Files, Recovered, recover};
use crate::writer::sidecar::{Loaded, Recorded, StateFolder};

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
    /// Day and time of the newest event of the last batch, in seconds since 1970.
    latest: Option<(Date, i64)>,
    clock: TrustedClock,
    /// Monotonic time of the last step of the clock.
    last_step: Duration,
    /// Hour since 1970 of the last search for old files.
    last_sweep: Option<i64>,
    surroundings: Surroundings,
}

/// Other sinks and counters of a sink.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    pub(crate) peers: Vec<Peer>,
    pub(crate) counts: Arc<Counts>,
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
        let settings = resolve_link(settings)?;
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
            adopt_earlier(&mut ledger, &listing, &surroundings.peers, recorded);
        }
        // Without any state the sink is new, and every file is that of a stranger.
        let is_upgrade = is_new && !matches!(loaded, Loaded::Missing);
        let unrecorded = is_upgrade.then_some(&listing);
        let files = Files { ledger: &mut ledger, previous_base, unrecorded };
        let Recovered { position, ahead } = recover(loaded, files, &*disk)?;
        // The header comes first in a new file.
        ledger.open()?;
        if !is_current {
            ledger.write_header()?;
        }
        ledger.write()?;
        ledger.sync()?;
        // Before the ledger, the sidecar was the last trace of the clock.
        let mut clock = ledger
            .clock()
            .or(since.map(TrustedClock::new))
            .unwrap_or_else(|| TrustedClock::new(now.wall));
        log_jump(clock.step(now.wall, None));
        let latest = ledger.files().map(|(_, entry)| entry.newest);
        let latest = latest.filter(|newest| *newest <= now.wall && *newest > 0).max();
        let latest = latest.and_then(|newest| Timestamp::from_second(newest).ok());
        let latest = latest.map(|time| (settings.placement.day(time), time.as_second()));
        let ledger = Arc::new(Mutex::new(ledger));
        let janitor = Janitor::start(&settings, &ledger, &disk)?;
        let mut writer = Self {
            files: ActiveFiles::new(Arc::clone(&settings), disk, Arc::clone(&ledger)),
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
            clock,
            last_step: now.elapsed,
            last_sweep: None,
            surroundings,
        };
        // Recovery does not read compressed files, so the sidecar must cover their lines first.
        writer.store()?;
        writer.close_complete();
        writer.schedule_maintenance(now);
        writer.count_unowned(&listing);
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
        self.files.floor = self.clock.floor();
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
        self.files.record();
        let jump = self.clock.step(now.wall, Some(now.elapsed.saturating_sub(self.last_step)));
        self.last_step = now.elapsed;
        log_jump(jump);
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
        if jump.is_some() {
            let mut ledger = lock(&self.ledger);
            ledger.set_clock(self.clock);
            if let Err(error) = ledger.write() {
                tracing::warn!(%error, "a jump of the clock can't be recorded yet");
            }
        }
        self.janitor.throttle(THROTTLE);
        Ok(())
    }

    /// Closes the files that are complete.
    fn close_complete(&mut self) {
        let max_age = self.settings.retain.max_age;
        let expired = max_age.zip(self.clock.trusted()).map(|(max_age, trusted)| {
            trusted.saturating_sub(i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX))
        });
        if let Some((today, received)) = self.latest {
            let elapsed = self.last_step;
            self.files.close_complete(Moment { today, received, elapsed, expired });
        }
    }

    /// Adopts the files of the template that hold envelopes and that no other sink wrote, and ends
    /// the wait after a jump of the clock.
    pub(crate) fn adopt(&mut self, now: Now) -> Result<Adopted, FileError> {
        let listing = list(&self.settings)?;
        let adopted = {
            let mut ledger = lock(&self.ledger);
            let found = adoption::find(&listing, &ledger, &self.surroundings.peers, Rule::Operator);
            for (key, entry) in &found.adoptable {
                tracing::info!(file = key, "adopted a file");
                ledger.put(key, *entry);
            }
            self.clock.confirm();
            ledger.set_clock(self.clock);
            ledger.write()?;
            ledger.sync()?;
            Adopted { adopted: found.adoptable.len() as u64, left: found.unowned.len() as u64 }
        };
        self.surroundings.counts.unowned.store(adopted.left, Ordering::Relaxed);
        self.close_complete();
        self.schedule_maintenance(now);
        Ok(adopted)
    }

    fn count_unowned(&self, listing: &Listing) {
        let ledger = lock(&self.ledger);
        let found = adoption::find(listing, &ledger, &self.surroundings.peers, Rule::Never);
        let count = found.unowned.len() as u64;
        let before = self.surroundings.counts.unowned.swap(count, Ordering::Relaxed);
        if count > before {
            tracing::warn!(
                files = count,
                example = %found.unowned[0].display(),
                "folder has files that this sink did not write; it leaves them alone, see \
                 observer sinks adopt"
            );
        }
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
        if self.settings.template.has_day() && self.latest.map(|(day, _)| day) != Some(day) {
            self.files.sync()?;
            self.last_sweep = None;
        }
        self.latest = Some((day, newest.as_second()));
        Ok(())
    }

    /// Encodes the events of a batch that are not in the files yet, by active file.
    fn encode(&self, batch: &Batch) -> Vec<Portion> {
        let template = &self.settings.template;
        let has_source = template.has(&Piece::Source);
        let mut portions: Vec<Portion> = Vec::new();
        let mut indexes = HashMap::new();
        let mut placer = Placer::new(&self.settings.placement);
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
                    let path = template.render(days, key.1.unwrap_or_default());
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
            portion.lines.push(PortionLine { end: portion.bytes.len(), event, received });
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

    /// Schedules the compression of closed files and the deletion of old ones.
    fn schedule_maintenance(&mut self, now: Now) {
        let closed: Vec<_> = {
            let mut ledger = lock(&self.ledger);
            if self.last_sweep != Some(hour(now)) {
                ledger.set_clock(self.clock);
            }
            if let Err(error) = ledger.write() {
                tracing::warn!(%error, "record of files can't be stored; it is repeated");
            }
            let is_packing = self.settings.compression != Compression::None;
            let closed =
                ledger.files().filter(|(_, entry)| entry.kind == Kind::Closed && is_packing);
            closed.map(|(key, _)| key.to_owned()).collect()
        };
        let sweep = self.settings.retain != Retain::default();
        let sweep = sweep.then_some(Sweep { trusted: self.clock.trusted() });
        self.janitor.schedule(closed, sweep);
        self.last_sweep = Some(hour(now));
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

/// Longest time for which a flush waits for the compression of closed files.
const THROTTLE: Duration = Duration::from_secs(1);

/// Adopts the files of a version without a ledger.
fn adopt_earlier(ledger: &mut Ledger, listing: &Listing, peers: &[Peer], recorded: &Recorded) {
    let found = adoption::find(listing, ledger, peers, Rule::Earlier(recorded));
    for (key, entry) in &found.adoptable {
        ledger.put(key, *entry);
    }
    if !found.adoptable.is_empty() {
        tracing::info!(
            files = found.adoptable.len(),
            left = found.unowned.len(),
            "adopted the files of an earlier version"
        );
    }
}

fn resolve_link(settings: Arc<Settings>) -> Result<Arc<Settings>, FileError> {
    let template = settings.template.clone();
    let path = template.base().to_owned();
    match template.resolved() {
        Some(template) if template == settings.template => Ok(settings),
        Some(template) => Ok(Arc::new(Settings { template, ..Settings::clone(&settings) })),
        None => Err(FileError::Link { path }),
    }
}

fn log_jump(jump: Option<Jump>) {
    if let Some(Jump { seconds }) = jump {
        tracing::warn!(
            seconds,
            "clock jumped, or the sink was stopped for long; deletion by age waits for a day, see \
             observer sinks adopt"
        );
    }
}

fn list(settings: &Settings) -> Result<Listing, FileError> {
    Listing::read(&settings.template)
        .map_err(FileError::io("list the files in", settings.template.base()))
}

/// Values that determine the active file of an event: its days and its source, if the template has
/// them.
type FileKey<'a> = (Days, Option<&'a str>);

/// Returns an estimate of the length of a batch's lines in bytes.
fn size(batch: &Batch) -> usize {
    batch.events().iter().map(|envelope| envelope.event.raw().len() + 128).sum()
}

/// Returns the number of full hours since 1970.
fn hour(now: Now) -> i64 {
    now.wall.div_euclid(3600)
}

/// Returns a time in seconds since 1970.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
