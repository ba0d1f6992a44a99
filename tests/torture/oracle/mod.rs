//! Oracle: the guarantees of the observer, checked against everything that was seen.
//!
//! - [`event`] generates events and recognises them.
//! - [`archive`] reads the files of the archive.
//! - [`account`] reads the counts of sinks and the dead letters.

pub(crate) mod account;
pub(crate) mod archive;
pub(crate) mod event;

use std::collections::{BTreeSet, HashMap, VecDeque};

use self::event::ObservedEvent;

/// Configured maximum number of events in a delivery.
pub(crate) const BATCH: u64 = 200;
/// Minimum number of recent events whose sequence numbers are remembered.
const REMEMBERED: usize = 500_000;

/// Everything that was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    seed: u64,
    acknowledged: Bits,
    archived: Bits,
    /// Number of events in the archive, which equals the last sequence number in it.
    head: u64,
    numbers: SequenceMap,
    receivers: HashMap<&'static str, DestinationState>,
}

/// Events that one receiver has accepted.
#[derive(Debug, Default)]
struct DestinationState {
    rejects_poison: bool,
    last: u64,
    /// Highest sequence number.
    furthest: u64,
    /// Highest durable position of the sink. Events up to it must not be delivered again.
    floor: u64,
    /// Number of starts that may still cause deliveries to go back further than a batch.
    starts: u64,
    /// Sequence numbers that were not delivered. They must belong to poison events.
    skipped: BTreeSet<u64>,
    repeats: u64,
}

/// Events by sequence number, as far as the archive or a receiver has shown them.
#[derive(Debug, Default)]
struct SequenceMap {
    forgotten: u64,
    known: VecDeque<Option<u64>>,
}

/// Set of event numbers.
#[derive(Debug, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// Adds a number. Returns whether it is new.
    pub(crate) fn set(&mut self, n: u64) -> bool {
        let word = usize::try_from(n / 64).expect("the number of events fits into memory");
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let was = self.0[word];
        self.0[word] |= 1 << (n % 64);
        self.0[word] != was
    }

    /// Returns the numbers that are in this set but not in the other.
    fn without(&self, other: &Self) -> impl Iterator<Item = u64> {
        let words = self.0.iter().zip(other.0.iter().chain(std::iter::repeat(&0)));
        (0..).zip(words).flat_map(|(at, (here, there))| {
            let missing = here & !there;
            (0..64).filter(move |bit| missing >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        })
    }
}

impl SequenceMap {
    /// Records the sequence number of an event.
    ///
    /// # Errors
    /// If another event was seen with the same sequence number.
    fn record(&mut self, ObservedEvent { seq, n }: ObservedEvent) -> Result<(), String> {
        let Some(at) = seq.checked_sub(self.forgotten + 1).and_then(|at| usize::try_from(at).ok())
        else {
            return Ok(());
        };
        if self.known.len() <= at {
            self.known.resize(at + 1, None);
        }
        match self.known[at].replace(n) {
            Some(other) if other != n => {
                Err(format!("seq {seq} is event {n} here but event {other} elsewhere"))
            }
            _ => Ok(()),
        }
    }

    fn get(&self, seq: u64) -> Option<u64> {
        let at = usize::try_from(seq.checked_sub(self.forgotten + 1)?).ok()?;
        self.known.get(at).copied().flatten()
    }

    /// Forgets all but the most recent events.
    fn forget(&mut self) {
        let old = self.known.len().saturating_sub(REMEMBERED);
        self.known.drain(..old);
        self.forgotten += old as u64;
    }
}

impl Oracle {
    pub(crate) fn new(
        seed: u64,
        receivers: impl IntoIterator<Item = (&'static str, bool)>,
    ) -> Self {
        let receivers = receivers.into_iter().map(|(name, rejects_poison)| {
            (name, DestinationState { rejects_poison, ..DestinationState::default() })
        });
        Self { seed, receivers: receivers.collect(), ..Self::default() }
    }

    /// Returns the number of events in the archive.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Returns the number of events that a receiver has accepted more than once.
    pub(crate) fn repeats(&self, receiver: &str) -> u64 {
        self.receivers[receiver].repeats
    }

    /// Returns the number of events that a receiver has not accepted.
    pub(crate) fn skipped(&self, receiver: &str) -> u64 {
        self.receivers[receiver].skipped.len() as u64
    }

    /// Records events as acknowledged.
    pub(crate) fn acknowledge(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for n in numbers {
            self.acknowledged.set(n);
        }
    }

    /// Records a restart of the observer, with the durable positions of its sinks if known.
    pub(crate) fn record_restart(
        &mut self,
        positions: &HashMap<String, u64>,
    ) -> Result<(), String> {
        for (name, received) in &mut self.receivers {
            received.starts += 1;
            let Some(&position) = positions.get(*name) else { continue };
            if position < received.floor {
                return Err(format!(
                    "the position of {name} decreased from {} to {position}",
                    received.floor
                ));
            }
            received.floor = position;
        }
        Ok(())
    }

    /// Checks new lines of the archive: it contains each event once, without a gap. `sent` returns
    /// whether a producer has sent an event.
    pub(crate) fn archive(
        &mut self,
        lines: &str,
        sent: impl Fn(u64) -> bool,
    ) -> Result<(), String> {
        let fail = |error: String| format!("archive: {error}");
        for line in lines.lines() {
            let seen = event::read(self.seed, line).map_err(fail)?;
            let ObservedEvent { seq, n } = seen;
            if !sent(n) {
                return Err(fail(format!("event {n} (seq {seq}) was never sent")));
            }
            if seq != self.head + 1 {
                return Err(fail(format!("event {n} with seq {seq} follows seq {}", self.head)));
            }
            if !self.archived.set(n) {
                return Err(fail(format!("event {n} is duplicated with seq {seq}")));
            }
            self.numbers.record(seen).map_err(fail)?;
            self.head = seq;
        }
        Ok(())
    }

    /// Checks new lines of a receiver: events are in order, and repetitions go back no further than
    /// the guarantees allow. Returns the number of lines.
    pub(crate) fn receive(
        &mut self,
        name: &str,
        lines: &str,
        sent: impl Fn(u64) -> bool,
    ) -> Result<u64, String> {
        let received = self.receivers.get_mut(name).expect("every receiver is in the oracle");
        let mut count = 0;
        for line in lines.lines() {
            let seen = (|| {
                let (seq, n) = line.split_once(' ')?;
                Some(ObservedEvent { seq: seq.parse().ok()?, n: n.parse().ok()? })
            })();
            let seen = seen.ok_or_else(|| format!("{name} received an {line}"))?;
            if !sent(seen.n) {
                return Err(format!(
                    "{name} received event {} (seq {}), which was never sent",
                    seen.n, seen.seq
                ));
            }
            self.numbers.record(seen).map_err(|error| format!("{name}: {error}"))?;
            received.accept(seen).map_err(|error| format!("{name}: {error}"))?;
            count += 1;
        }
        Ok(count)
    }

    /// Checks that nothing is missing, after all sinks have delivered all events.
    pub(crate) fn complete(&mut self) -> Result<(), String> {
        let mut missing = self.acknowledged.without(&self.archived);
        if let Some(n) = missing.next() {
            let id = event::event(self.seed, n).id;
            let more = missing.count();
            return Err(format!(
                "event {n} ({id}) and {more} more were acknowledged but are not in the archive"
            ));
        }
        for (name, received) in &self.receivers {
            if received.furthest + 1 < self.head
                || (received.furthest < self.head && !received.rejects_poison)
            {
                let furthest = received.furthest;
                return Err(format!(
                    "{name} has events up to seq {furthest}, but the archive up to {}",
                    self.head
                ));
            }
            for seq in &received.skipped {
                let n = self.numbers.get(*seq);
                if n.is_some_and(|n| !event::is_poison(n)) {
                    return Err(format!(
                        "{name} did not receive seq {seq}, which is event {n:?} and not poison"
                    ));
                }
            }
        }
        self.numbers.forget();
        Ok(())
    }

    /// Returns the sequence numbers of the events that a receiver has rejected.
    pub(crate) fn rejected(&self, receiver: &str) -> &BTreeSet<u64> {
        &self.receivers[receiver].skipped
    }
}

impl DestinationState {
    /// Checks one accepted event.
    fn accept(&mut self, ObservedEvent { seq, n }: ObservedEvent) -> Result<(), String> {
        if self.rejects_poison && event::is_poison(n) {
            return Err(format!("event {n} (seq {seq}) was accepted although it is poison"));
        }
        if seq > self.furthest {
            // Skipped events must be poison. That is checked once the archive has them.
            let skipped = self.furthest + 1..seq;
            if !self.rejects_poison && !skipped.is_empty() {
                return Err(format!(
                    "event {n} with seq {seq} was delivered too early, after seq {}",
                    self.furthest
                ));
            }
            self.skipped.extend(skipped);
            self.furthest = seq;
        } else {
            self.repeats += 1;
            if self.skipped.contains(&seq) {
                return Err(format!(
                    "event {n} with seq {seq} was delivered too late, after seq {}",
                    self.furthest
                ));
            }
            if seq <= self.floor {
                let floor = self.floor;
                return Err(format!(
                    "event {n} with seq {seq} was repeated after the committed position {floor}"
                ));
            }
            // A strict receiver gets parts of batches, and may have accepted later parts before.
            if !self.rejects_poison && seq + BATCH <= self.last {
                if self.starts == 0 {
                    return Err(format!(
                        "seq {seq} was repeated after seq {} without a restart of the observer",
                        self.last
                    ));
                }
                self.starts -= 1;
            }
        }
        self.last = seq;
        Ok(())
    }
}
