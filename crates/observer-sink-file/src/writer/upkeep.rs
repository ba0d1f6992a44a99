//! Upkeep between deliveries: the clock, and files to close, adopt, compress and delete.

use std::sync::atomic::Ordering;

use observer_core::Adopted;

use super::Writer;
use crate::adoption::{self, Rule};
use crate::clock::{Jump, Now};
use crate::compression::Compression;
use crate::config::{Retain, Settings};
use crate::error::FileError;
use crate::janitor::Sweep;
use crate::ledger::{Kind, Ledger};
use crate::names::listing::Listing;
use crate::siblings::Peer;
use crate::sync::lock;
use crate::writer::active_files::Moment;
use crate::writer::sidecar::Recorded;

impl Writer {
    /// Records the clock, so that the next start can compare its own with it.
    pub(crate) fn record_clock(&mut self) {
        let mut ledger = lock(&self.ledger);
        ledger.set_clock(self.clock);
        if let Err(error) = ledger.write() {
            tracing::warn!(%error, "the trusted time can't be recorded yet");
        }
    }

    /// Advances the clock by which events are dated and files age.
    pub(crate) fn advance(&mut self, now: Now) {
        let was_trusted = self.clock.trusted().is_some();
        let elapsed = now.elapsed.saturating_sub(self.now.elapsed);
        let jump = self.clock.step(now.wall, Some(elapsed));
        self.now = now;
        self.files.trusted = self.clock.time();
        log_jump(jump);
        let is_released = !was_trusted && self.clock.trusted().is_some();
        if is_released {
            self.correct_dates();
        }
        self.clock_changed |= is_released || jump.is_some();
    }

    /// Corrects the dates of files that can't be right.
    pub(super) fn correct_dates(&mut self) {
        self.newest = self.clock.corrected(self.newest).unwrap_or(self.newest);
        self.files.correct_dates(&self.clock);
        lock(&self.ledger).correct_dates(&self.clock);
    }

    /// Closes the files that are complete.
    pub(super) fn close_complete(&mut self) {
        let max_age = self.settings.retain.max_age;
        let expired = max_age.zip(self.clock.trusted()).map(|(max_age, trusted)| {
            trusted.saturating_sub(i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX))
        });
        if let Some(today) = self.latest {
            let (date, elapsed) = (self.newest, self.now.elapsed);
            self.files.close_complete(Moment { today, date, elapsed, expired });
        }
    }

    /// Adopts the files of the template that hold envelopes and that no other sink wrote, and ends
    /// the wait after a jump of the clock.
    pub(crate) fn adopt(&mut self, now: Now) -> Result<Adopted, FileError> {
        let listing = list(&self.settings)?;
        let adopted = {
            let mut ledger = lock(&self.ledger);
            let peers = self.surroundings.peers();
            let found = adoption::find(&listing, &ledger, &peers, Rule::Operator);
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
        self.correct_dates();
        self.surroundings.counts.unowned.store(adopted.left, Ordering::Relaxed);
        self.close_complete();
        self.schedule_maintenance(now);
        Ok(adopted)
    }

    pub(super) fn count_unowned(&self, listing: &Listing) {
        let ledger = lock(&self.ledger);
        let found = adoption::find(listing, &ledger, &self.surroundings.peers(), Rule::Never);
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

    /// Schedules the compression of closed files and the deletion of old ones.
    pub(super) fn schedule_maintenance(&mut self, now: Now) {
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
}

/// Adopts the files of a version without a ledger.
pub(super) fn adopt_earlier(
    ledger: &mut Ledger,
    listing: &Listing,
    peers: &[Peer],
    recorded: &Recorded,
) {
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

pub(super) fn log_jump(jump: Option<Jump>) {
    if let Some(Jump { seconds }) = jump {
        tracing::warn!(
            seconds,
            "clock jumped, or the sink was stopped for long; deletion by age waits for a day, see \
             observer sinks adopt"
        );
    }
}

pub(super) fn list(settings: &Settings) -> Result<Listing, FileError> {
    Listing::read(&settings.template)
        .map_err(FileError::io("list the files in", settings.template.base()))
}

/// Returns the number of full hours since 1970.
pub(super) fn hour(now: Now) -> i64 {
    now.wall.div_euclid(3600)
}
