//! Counts of a rebuild, and what could not be read.

use std::fmt;

use observer_core::Position;
use serde::Serialize;

use super::events::Unreadable;

/// Unreadable lines that are listed; further ones are counted.
const MOST_LISTED: usize = 20;

/// Result of a rebuild.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Events that were read.
    pub(super) read: u64,
    /// Events in the new file.
    pub(super) stored: u64,
    /// Events whose id was stored already.
    pub(super) known: u64,
    /// Events that the filter of the sink rejects.
    pub(super) filtered: u64,
    /// Events that can't be read.
    pub(super) unreadable: u64,
    /// The first of them.
    pub(super) problems: Vec<Listed>,
    /// Events in the old file, if there is one that can be read.
    pub(super) old_events: Option<u64>,
    /// Position from which the sink continues.
    pub(super) position: Option<String>,
    /// True if the new file is in place.
    pub(super) replaced: bool,
}

/// Unreadable line or record.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    source: String,
    line: Option<u64>,
    detail: String,
}

impl Report {
    /// Adds what can't be read.
    pub(super) fn add(&mut self, unreadable: Unreadable) {
        let Unreadable { source, line, detail, events } = unreadable;
        self.unreadable += events;
        if self.problems.len() < MOST_LISTED {
            self.problems.push(Listed { source, line, detail });
        }
    }

    /// Sets the number of events in the new file.
    pub(super) fn set_stored(&mut self, stored: u64) {
        self.stored = stored;
        self.known = self.read - self.filtered - stored;
    }

    pub(super) fn set_position(&mut self, position: Option<Position>) {
        self.position = position.map(|position| position.to_string());
    }

    /// Returns one line of counts.
    pub(super) fn counts(&self) -> String {
        let Self { read, stored, known, filtered, unreadable, .. } = self;
        let events = if *read == 1 { "event" } else { "events" };
        let mut counts = format!("{read} {events} read: {stored} stored, {known} already known");
        if *filtered > 0 {
            counts += &format!(", {filtered} filtered");
        }
        if *unreadable > 0 {
            counts += &format!("; {unreadable} unreadable");
        }
        counts
    }

    pub(super) fn to_json(&self) -> String {
        let json = serde_json::to_string(self).expect("a report has string keys only");
        format!("{json}\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.counts())?;
        for Listed { source, line, detail } in &self.problems {
            match line {
                Some(line) => writeln!(f, "  {source}:{line}: {detail}")?,
                None => writeln!(f, "  {source}: {detail}")?,
            }
        }
        if self.problems.len() == MOST_LISTED {
            writeln!(f, "  further ones are not listed")?;
        }
        Ok(())
    }
}
