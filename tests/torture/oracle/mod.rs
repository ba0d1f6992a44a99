//! Oracle: the guarantees of the observer, checked against everything that was seen.
//!
//! - [`event`] generates events and recognises them.
//! - [`archive`] reads the files of the archive.
//! - [`shared`] checks a folder of two sinks; [`foreign`] are files of other programs.
//! - [`account`] reads the counts of sinks and the dead letters.

pub(crate) mod account;
pub(crate) mod archive;
pub(crate) mod event;
pub(crate) mod foreign;
pub(crate) mod shared;

use std::collections::{BTreeSet, HashMap, VecDeque};

use self::event::ObservedEvent;
use crate::deployment::destination::Destination;

/// Configured maximum number of events in a delivery.
pub(crate) const BATCH: u64 = 200;
/// Number of events that may be late at a receiver: a few, and one of this many.
const MAX_LATE: u64 = 5;
const MAX_LATE_SHARE: u64 = 1000;
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
    /// Last sequence number that was read from the archive.
    archived_up_to: u64,
    numbers: SequenceMap,
    /// First sequence number whose dead letter is stored. Those of earlier events may be written
    /// again if they were written shortly before the removal.
    dead_letters_since: u64,
    receivers: HashMap<&'static str, DestinationState>,
}

/// Events that one receiver has accepted.
#[derive(Debug, Default)]
struct DestinationState {
    rejects_poison: bool,
    /// True if events may expire before they are delivered.
    may_expire: bool,
    last: u64,
    /// Highest sequence number.
    furthest: u64,
    /// Highest durable position of the sink. Events up to it must not be delivered again.
    floor: u64,
    /// Number of starts that may still cause deliveries to go back further than a batch.
    starts: u64,
    /// Sequence numbers up to `furthest` that were not delivered. In the end they must belong to
    /// poison events, or have expired.
    skipped: BTreeSet<u64>,
    /// Number of events that were delivered after later ones, or again although their position was
    /// committed.
    late: u64,
    accepted: u64,
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
    pub(crate) fn new<'a>(seed: u64, receivers: impl IntoIterator<Item = &'a Destination>) -> Self {
        let receivers = receivers.into_iter().map(|destination| {
            let Destination { name, rejects_poison, may_expire, .. } = *destination;
            let state = DestinationState { rejects_poison, may_expire, ..Default::default() };
            (name, state)
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

    /// Returns the number of events that a receiver has accepted after later ones, or again after
    /// their position was committed.
    pub(crate) fn late(&self, receiver: &str) -> u64 {
        self.receivers[receiver].late
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

    /// Checks new lines of the archive: it contains each event once, without a gap. After the
    /// folder of the archive was removed (`after_removal`) and the observer killed, the sink writes
    /// events again whose file is gone: after those that the present file has, and before new ones.
    /// `sent` returns what is wrong with the number of an event: whether a producer has sent it, and
    /// in time for this file.
    pub(crate) fn archive(
        &mut self,
        lines: &str,
        after_removal: bool,
        sent: impl Fn(u64) -> Result<(), &'static str>,
    ) -> Result<(), String> {
        let fail = |error: String| format!("archive: {error}");
        let (mut may_go_back, mut present) = (after_removal, BTreeSet::new());
        for line in lines.lines() {
            let seen = event::read(self.seed, line).map_err(fail)?;
            let ObservedEvent { seq, n } = seen;
            sent(n).map_err(|problem| fail(format!("event {n} (seq {seq}) {problem}")))?;
            if after_removal && seq == self.head + 1 {
                self.skip_present(&present);
            }
            let next = self.archived_up_to + 1;
            if seq < next && may_go_back {
                may_go_back = false;
            } else if seq != next {
                return Err(fail(format!("event {n} with seq {seq} follows seq {}", next - 1)));
            }
            let is_repeated = after_removal && !present.insert(seq);
            if is_repeated || self.archived.set(n) == (seq <= self.head) {
                return Err(fail(format!("event {n} is duplicated with seq {seq}")));
            }
            self.numbers.record(seen).map_err(fail)?;
            self.archived_up_to = seq;
            self.head = self.head.max(seq);
        }
        self.skip_present(&present);
        Ok(())
    }

    /// Goes on at the end of the archive if the present folder has all events from here to there.
    fn skip_present(&mut self, present: &BTreeSet<u64>) {
        if (self.archived_up_to + 1..=self.head).all(|seq| present.contains(&seq)) {
            self.archived_up_to = self.head;
        }
    }

    /// Checks a line of a further archive. Returns its sequence number.
    pub(crate) fn copied(&self, line: &str) -> Result<u64, String> {
        let ObservedEvent { seq, n } = event::read(self.seed, line)?;
        match self.numbers.get(seq) {
            Some(archived) if archived != n => {
                Err(format!("seq {seq} is event {n} here but event {archived} elsewhere"))
            }
            _ => Ok(seq),
        }
    }

    /// Checks new lines of a receiver: events are in order with few exceptions, and repetitions go
    /// back no further than the guarantees allow. Returns the number of lines.
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
        if self.archived_up_to < self.head {
            let (last, head) = (self.archived_up_to, self.head);
            return Err(format!("the archive ends with seq {last} instead of {head}"));
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
            for seq in received.skipped.iter().filter(|_| !received.may_expire) {
                let n = self.numbers.get(*seq);
                if n.is_some_and(|n| !received.rejects_poison || !event::is_poison(n)) {
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
    pub(crate) fn rejected(&self, receiver: &str) -> BTreeSet<u64> {
        let received = &self.receivers[receiver];
        if received.rejects_poison { received.skipped.clone() } else { BTreeSet::new() }
    }

    /// Returns the first sequence number whose dead letter has to be stored.
    pub(crate) fn dead_letters_since(&self) -> u64 {
        self.dead_letters_since
    }

    /// Records that the dead letters of all events so far were removed.
    pub(crate) fn forget_dead_letters(&mut self) {
        self.dead_letters_since = self.head + 1;
    }
}

impl DestinationState {
    /// Checks one accepted event. An event that fails repeatedly on its own is delivered after later
    /// ones, and the position passes it.
    fn accept(&mut self, ObservedEvent { seq, n }: ObservedEvent) -> Result<(), String> {
        if self.rejects_poison && event::is_poison(n) {
            return Err(format!("event {n} (seq {seq}) was accepted although it is poison"));
        }
        self.accepted += 1;
        if seq > self.furthest {
            self.skipped.extend(self.furthest + 1..seq);
            self.furthest = seq;
        } else if self.skipped.remove(&seq) {
            return self.accept_late(n, format!("seq {seq} came after seq {}", self.furthest));
        } else {
            self.repeats += 1;
            // The position of a sink that is not required also passes events that expire during their
            // delivery.
            if seq <= self.floor && !self.may_expire {
                let floor = self.floor;
                let what = format!("seq {seq} was repeated after the committed position {floor}");
                return self.accept_late(n, what);
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

    fn accept_late(&mut self, n: u64, what: String) -> Result<(), String> {
        self.late += 1;
        if self.late > MAX_LATE + self.accepted / MAX_LATE_SHARE {
            return Err(format!("event {n} is late: {what}, as {} events before", self.late - 1));
        }
        Ok(())
    }
}
