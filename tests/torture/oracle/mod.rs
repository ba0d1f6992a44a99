//! What must be true, whatever happens.

pub(crate) mod account;
pub(crate) mod archive;
pub(crate) mod event;

use std::collections::{BTreeSet, HashMap, VecDeque};

use self::event::Seen;

/// The batches of a receiver have at most this many events.
pub(crate) const BATCH: u64 = 200;
/// Of this many events at least it is remembered which number has which sequence number.
const REMEMBERED: usize = 500_000;

/// Everything that was seen, and what follows from it.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    seed: u64,
    acknowledged: Bits,
    archived: Bits,
    /// How many events the archive has, and so the last sequence number in it.
    head: u64,
    numbers: Numbers,
    receivers: HashMap<&'static str, Received>,
}

/// What one receiver has had.
#[derive(Debug, Default)]
struct Received {
    picky: bool,
    last: u64,
    /// The highest sequence number.
    furthest: u64,
    /// Here the sink stood durably once; nothing up to there may come again.
    floor: u64,
    /// How often the observer was started since a delivery went further back than a batch.
    starts: u64,
    /// What was passed over: poison, as far as that is known.
    passed: BTreeSet<u64>,
    repeats: u64,
}

/// Which event has which sequence number, as far as anyone has said.
#[derive(Debug, Default)]
struct Numbers {
    forgotten: u64,
    known: VecDeque<Option<u64>>,
}

#[derive(Debug, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// Whether it was not set before.
    pub(crate) fn set(&mut self, n: u64) -> bool {
        let word = usize::try_from(n / 64).expect("there are fewer events than that");
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let was = self.0[word];
        self.0[word] |= 1 << (n % 64);
        self.0[word] != was
    }

    /// Those that are set here, and not there.
    fn without(&self, other: &Self) -> impl Iterator<Item = u64> {
        let words = self.0.iter().zip(other.0.iter().chain(std::iter::repeat(&0)));
        (0..).zip(words).flat_map(|(at, (here, there))| {
            let missing = here & !there;
            (0..64).filter(move |bit| missing >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        })
    }
}

impl Numbers {
    /// Somebody says that event `n` has this sequence number; everyone has to say the same.
    fn learn(&mut self, Seen { seq, n }: Seen) -> Result<(), String> {
        let Some(at) = seq.checked_sub(self.forgotten + 1).and_then(|at| usize::try_from(at).ok())
        else {
            return Ok(());
        };
        if self.known.len() <= at {
            self.known.resize(at + 1, None);
        }
        match self.known[at].replace(n) {
            Some(other) if other != n => {
                Err(format!("seq {seq} is event {n} here, and event {other} elsewhere"))
            }
            _ => Ok(()),
        }
    }

    fn get(&self, seq: u64) -> Option<u64> {
        let at = usize::try_from(seq.checked_sub(self.forgotten + 1)?).ok()?;
        self.known.get(at).copied().flatten()
    }

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
        let receivers = receivers
            .into_iter()
            .map(|(name, picky)| (name, Received { picky, ..Received::default() }));
        Self { seed, receivers: receivers.collect(), ..Self::default() }
    }

    /// How many events the archive has.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    pub(crate) fn repeats(&self, receiver: &str) -> u64 {
        self.receivers[receiver].repeats
    }

    /// What a receiver was not to take.
    pub(crate) fn passed(&self, receiver: &str) -> u64 {
        self.receivers[receiver].passed.len() as u64
    }

    pub(crate) fn acknowledge(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for n in numbers {
            self.acknowledged.set(n);
        }
    }

    /// The observer is started again. Here its sinks stood durably, where that is known.
    pub(crate) fn restarts(&mut self, positions: &HashMap<String, u64>) -> Result<(), String> {
        for (name, received) in &mut self.receivers {
            received.starts += 1;
            let Some(&position) = positions.get(*name) else { continue };
            if position < received.floor {
                return Err(format!(
                    "the position of {name} went back from {} to {position}",
                    received.floor
                ));
            }
            received.floor = position;
        }
        Ok(())
    }

    /// New lines of the archive: each event once, without a gap. `sent` says whether an event ever
    /// was.
    pub(crate) fn archive(
        &mut self,
        lines: &str,
        sent: impl Fn(u64) -> bool,
    ) -> Result<(), String> {
        let wrong = |error: String| format!("the archive: {error}");
        for line in lines.lines() {
            let seen = event::read(self.seed, line).map_err(wrong)?;
            let Seen { seq, n } = seen;
            if !sent(n) {
                return Err(wrong(format!("event {n} (seq {seq}) was never sent")));
            }
            if seq != self.head + 1 {
                return Err(wrong(format!(
                    "event {n} with seq {seq} follows after seq {}",
                    self.head
                )));
            }
            if !self.archived.set(n) {
                return Err(wrong(format!(
                    "event {n} is there twice, the second time with seq {seq}"
                )));
            }
            self.numbers.learn(seen).map_err(wrong)?;
            self.head = seq;
        }
        Ok(())
    }

    /// New lines of what a receiver has taken: in order, with repeats that go back no further than
    /// they may.
    pub(crate) fn receive(
        &mut self,
        name: &str,
        lines: &str,
        sent: impl Fn(u64) -> bool,
    ) -> Result<u64, String> {
        let received = self.receivers.get_mut(name).expect("it is one of those that there are");
        let mut count = 0;
        for line in lines.lines() {
            let seen = (|| {
                let (seq, n) = line.split_once(' ')?;
                Some(Seen { seq: seq.parse().ok()?, n: n.parse().ok()? })
            })();
            let seen = seen.ok_or_else(|| format!("{name} has received something {line}"))?;
            if !sent(seen.n) {
                return Err(format!(
                    "{name} has received event {} (seq {}), which was never sent",
                    seen.n, seen.seq
                ));
            }
            self.numbers.learn(seen).map_err(|error| format!("{name}: {error}"))?;
            received.take(seen).map_err(|error| format!("{name}: {error}"))?;
            count += 1;
        }
        Ok(count)
    }

    /// Everything has arrived that is going to.
    pub(crate) fn complete(&mut self) -> Result<(), String> {
        let mut missing = self.acknowledged.without(&self.archived);
        if let Some(n) = missing.next() {
            let id = event::event(self.seed, n).id;
            let more = missing.count();
            return Err(format!(
                "event {n} ({id}) was acknowledged and is not in the archive, and {more} more are not"
            ));
        }
        for (name, received) in &self.receivers {
            if received.furthest + 1 < self.head
                || (received.furthest < self.head && !received.picky)
            {
                let furthest = received.furthest;
                return Err(format!(
                    "{name} has events up to seq {furthest} alone, the archive up to {}",
                    self.head
                ));
            }
            for seq in &received.passed {
                let n = self.numbers.get(*seq);
                if n.is_some_and(|n| !event::is_poison(n)) {
                    return Err(format!(
                        "{name} never received seq {seq}, which is event {n:?} and no poison"
                    ));
                }
            }
        }
        self.numbers.forget();
        Ok(())
    }

    /// Which poison a picky receiver has passed over, by the sequence numbers.
    pub(crate) fn dead(&self, receiver: &str) -> &BTreeSet<u64> {
        &self.receivers[receiver].passed
    }
}

impl Received {
    fn take(&mut self, Seen { seq, n }: Seen) -> Result<(), String> {
        if self.picky && event::is_poison(n) {
            return Err(format!("event {n} (seq {seq}) was taken, which is refused here"));
        }
        if seq > self.furthest {
            // What is passed over may be poison, which is known once the archive has it.
            let passed = self.furthest + 1..seq;
            if !self.picky && !passed.is_empty() {
                return Err(format!(
                    "event {n} with seq {seq} comes after seq {}, too early",
                    self.furthest
                ));
            }
            self.passed.extend(passed);
            self.furthest = seq;
        } else {
            self.repeats += 1;
            if self.passed.contains(&seq) {
                return Err(format!(
                    "event {n} with seq {seq} comes too late, after seq {}",
                    self.furthest
                ));
            }
            if seq <= self.floor {
                let floor = self.floor;
                return Err(format!(
                    "event {n} with seq {seq} comes again, though the sink stood durably at {floor}"
                ));
            }
            // One that is picky gets batches in pieces, out of which later ones may have been
            // taken.
            if !self.picky && seq + BATCH <= self.last {
                if self.starts == 0 {
                    return Err(format!(
                        "seq {seq} comes again after seq {}, and the observer did not restart",
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
