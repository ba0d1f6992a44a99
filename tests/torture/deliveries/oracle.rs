//! Events that were sent and acknowledged, and their comparison with the results.

use std::collections::HashMap;
use std::path::Path;

use observer_core::Uuid;

use super::destination::Kind;
use super::event::{Fate, number};
use super::observer::{DeadLetter, Observer, SinkStatus};
use super::producer::fate;
use crate::tally::grouped;

/// Events that were sent, by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Oracle {
    sent: Vec<Sent>,
}

#[derive(Debug, Clone)]
struct Sent {
    fate: Fate,
    /// Set once the event was acknowledged.
    id: Option<Uuid>,
}

impl Oracle {
    /// Returns number and fate of the next event.
    pub(crate) fn next(&mut self, seed: Option<u64>) -> (u64, Fate) {
        let n = self.sent.len() as u64;
        let fate = fate(seed, n);
        self.sent.push(Sent { fate, id: None });
        (n, fate)
    }

    pub(crate) fn acknowledge(&mut self, n: u64, id: Uuid) {
        self.sent[n as usize].id = Some(id);
    }

    /// Returns the number of events that were sent.
    pub(crate) fn count(&self) -> u64 {
        self.sent.len() as u64
    }

    fn bad(&self) -> u64 {
        self.sent.iter().filter(|sent| sent.fate != Fate::Accepted).count() as u64
    }

    /// Checks everything that must hold once all producers have ended and nothing is pending.
    /// Returns what was compared, in words.
    pub(crate) async fn check(&self, observer: &Observer, dir: &Path) -> Result<String, String> {
        if let Some(n) = self.sent.iter().position(|sent| sent.id.is_none()) {
            return Err(format!("event {n} was never acknowledged"));
        }
        self.check_archive(&observer.archive())?;
        let sinks = observer.sinks().await?;
        let mut report = String::new();
        for kind in Kind::ALL {
            let name = kind.sink();
            let fail = |error: String| format!("{name}: {error}");
            let repeats = self.check_accepted(kind, dir).map_err(fail)?;
            let dead_letters = observer.dead_letters(name).await.map_err(fail)?;
            self.check_dead_letters(kind, &dead_letters).map_err(fail)?;
            let status = sinks.iter().find(|sink| sink.name == name);
            let status = status.ok_or_else(|| fail("not in /v1/sinks".to_owned()))?;
            self.check_account(status).map_err(fail)?;
            report.push_str(&format!(
                "  {name}: {} accepted, of these {} twice; {} dead letters\n",
                grouped(self.count() - self.bad()),
                grouped(repeats),
                grouped(self.bad()),
            ));
        }
        Ok(report)
    }

    /// Checks that the archive has each event once.
    fn check_archive(&self, folder: &Path) -> Result<(), String> {
        let mut counts = vec![0_u32; self.sent.len()];
        let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
        for entry in entries {
            let path = entry.map_err(|error| error.to_string())?.path();
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            for line in text.lines() {
                let cycle = line.split_once(r#""cycle_id":""#).and_then(|(_, rest)| {
                    rest.split_once('"').and_then(|(cycle, _)| number(cycle))
                });
                let count = cycle.and_then(|n| counts.get_mut(n as usize));
                *count.ok_or_else(|| format!("the archive has an unknown line: {line}"))? += 1;
            }
        }
        match counts.iter().position(|count| *count != 1) {
            Some(n) => Err(format!("the archive has event {n} {} times", counts[n])),
            None => Ok(()),
        }
    }

    /// Checks that a destination has accepted every good event and no bad one. Returns the number
    /// of repeats.
    fn check_accepted(&self, kind: Kind, dir: &Path) -> Result<u64, String> {
        let text = std::fs::read_to_string(kind.accepted_file(dir));
        let text = text.map_err(|error| error.to_string())?;
        let mut counts = vec![0_u64; self.sent.len()];
        for line in text.lines() {
            let n: usize = line.parse().map_err(|_| format!("accepted {line:?}"))?;
            *counts.get_mut(n).ok_or_else(|| format!("accepted the unknown event {n}"))? += 1;
        }
        let mut repeats = 0;
        for (n, (sent, count)) in self.sent.iter().zip(counts).enumerate() {
            match (sent.fate, count) {
                (Fate::Accepted, 0) => return Err(format!("the good event {n} is missing")),
                (Fate::Accepted, _) => repeats += count - 1,
                (_, 0) => {}
                _ => return Err(format!("the destination accepted the bad event {n}")),
            }
        }
        Ok(repeats)
    }

    /// Checks that the dead letters are the bad events, each with the status of its fate.
    fn check_dead_letters(&self, kind: Kind, dead_letters: &[DeadLetter]) -> Result<(), String> {
        let numbers: HashMap<String, usize> = self
            .sent
            .iter()
            .enumerate()
            .filter_map(|(n, sent)| Some((sent.id?.to_string(), n)))
            .collect();
        let mut seen = vec![false; self.sent.len()];
        for DeadLetter { id, reason } in dead_letters {
            let n = *numbers.get(id).ok_or_else(|| format!("unknown dead letter {id}"))?;
            let fate = self.sent[n].fate;
            if fate == Fate::Accepted {
                return Err(format!("the good event {n} is a dead letter: {reason}"));
            }
            if !reason.contains(kind.status(fate)) {
                return Err(format!("the dead letter of the {fate:?} event {n} says {reason:?}"));
            }
            if std::mem::replace(&mut seen[n], true) {
                return Err(format!("event {n} has two dead letters"));
            }
        }
        let is_missing = |(sent, seen): (&Sent, &bool)| sent.fate != Fate::Accepted && !seen;
        match self.sent.iter().zip(&seen).position(is_missing) {
            Some(n) => Err(format!("the {:?} event {n} is no dead letter", self.sent[n].fate)),
            None => Ok(()),
        }
    }

    fn check_account(&self, status: &SinkStatus) -> Result<(), String> {
        let (count, bad) = (self.count(), self.bad());
        let found = (status.accepted, status.delivered, status.dead, status.dead_letters);
        let rest = status.pending + status.undecided + status.refused;
        if found != (count, count - bad, bad, bad) || rest + status.expired + status.filtered != 0 {
            return Err(format!(
                "{count} events were sent, of which {bad} are bad, but the account is {status:?}"
            ));
        }
        Ok(())
    }
}
