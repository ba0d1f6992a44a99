//! Oracle: what must hold once all destinations are healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use observer_core::{Timestamp, Uuid};

use super::super::scenario::{LAST, event, id};
use super::history::History;
use super::script::Target;
use super::world::{Replay, World};
use crate::Status;

/// Time before a crash or a failed flush within which deliveries may be repeated, in microseconds:
/// the wait for a delivery that times out, a flush, and the interval at which positions are stored.
const UNSETTLED: u64 = 15_000_000;

/// Dead letters of a sink by sequence number: the id and the reason.
type DeadLetters = BTreeMap<u64, (Uuid, String)>;

/// State of one sink.
struct Sink<'a> {
    target: Target,
    history: &'a History,
    dead: DeadLetters,
    /// Events that the sink should get, by sequence number.
    wanted: BTreeMap<u64, u64>,
}

impl World {
    /// Checks every sink against the events of the journal, which the witness has.
    pub(super) fn check(&mut self, status: &Status) {
        let head = status.journal.head;
        let journal = self.journal();
        let seqs: Vec<_> = journal.keys().copied().collect();
        assert_eq!(seqs, (1..=head).collect::<Vec<_>>(), "the witness has every event");
        let numbers: BTreeSet<_> = journal.values().copied().collect();
        if !self.script.expires_events() {
            assert_eq!(numbers.len(), journal.len(), "an event has two sequence numbers");
        }
        let lost: Vec<_> = self.acked.difference(&numbers).collect();
        assert!(lost.is_empty(), "acknowledged events are lost: {lost:?}");
        for (target, destination) in self.destinations.clone() {
            let wants = |number: u64| target != Target::Archive || event(number).ok() == Some(true);
            let mut wanted = journal.clone();
            wanted.retain(|_, number| wants(*number));
            let state = destination.lock();
            let dead = self.dead_letters(target);
            let sink = Sink { target, history: &state.history, dead, wanted };
            self.check_account(&sink, status);
            self.check_events(&sink);
            self.check_repeats(&sink);
            let promised = &self.commands[&target].promised;
            let promised = promised.iter().filter(|_| !self.script.expires_events());
            promised.for_each(|replay| self.check_replay(&sink, replay));
            let reasons = ["named", "422", "403", "500"];
            for (count, reason) in self.coverage.dead.iter_mut().zip(reasons) {
                let is_it = |(_, text): &&(Uuid, String)| text.starts_with(reason);
                *count += sink.dead.values().filter(is_it).count() as u64;
            }
            let repeated = state.history.accepted.values().filter(|times| times.len() > 1).count();
            self.coverage.repeated += repeated as u64;
        }
    }

    /// Returns the numbers of the events in the journal, by their sequence numbers.
    fn journal(&self) -> BTreeMap<u64, u64> {
        let ids: BTreeMap<_, _> = (1..LAST + 2_000).map(|number| (id(number), number)).collect();
        let witness = self.destinations[&Target::Witness].lock();
        let number = |(seq, kept): (&u64, &Vec<(Uuid, u64)>)| (*seq, ids[&kept[0].0]);
        witness.history.accepted.iter().map(number).collect()
    }

    /// Checks that each event was delivered or is a dead letter for a reason.
    fn check_events(&self, sink: &Sink<'_>) {
        let Sink { target, history, dead, wanted } = sink;
        for (seq, kept) in &history.accepted {
            let number = wanted.get(seq).unwrap_or_else(|| panic!("{target:?} got {seq}"));
            assert!(kept.iter().all(|(kept, _)| *kept == id(*number)), "{target:?}: {seq}");
        }
        for (seq, number) in wanted {
            let is_there = history.accepted.contains_key(seq) || dead.contains_key(seq);
            assert!(is_there, "{target:?} misses event {number} ({seq})");
        }
        for (seq, (dead_id, reason)) in dead {
            let number = wanted.get(seq).unwrap_or_else(|| panic!("{target:?} buried {seq}"));
            assert_eq!(*dead_id, id(*number), "{target:?}: {seq}");
            self.check_reason(sink, *seq, *number, reason);
        }
        let commands = &self.commands[target];
        let is_diverted = |(_, reason): &&(Uuid, String)| reason.starts_with("diverted");
        let diverted = dead.values().filter(is_diverted).count();
        assert!(diverted <= commands.diversions, "{target:?}: {diverted} events are diverted");
        if commands.redeliveries == 0 {
            let ids: BTreeSet<_> = dead.values().map(|(id, _)| *id).collect();
            let lost: Vec<_> = commands.diverted.difference(&ids).collect();
            assert!(lost.is_empty(), "{target:?} lost diverted events: {lost:?}");
        }
    }

    /// Checks that the destination gave the evidence that a dead letter requires.
    fn check_reason(&self, sink: &Sink<'_>, seq: u64, number: u64, reason: &str) {
        let Sink { target, history, .. } = sink;
        if reason.starts_with("diverted by an operator") {
            return;
        }
        let Some((status, text)) = reason.split_once(": ") else { panic!("{target:?}: {reason}") };
        let is_outage = matches!(text, "outage" | "expired token");
        let is_own = text == format!("event {number}");
        assert!(is_outage || is_own, "{target:?} buried event {number} ({seq}): {reason}");
        if history.accepted.contains_key(&seq) {
            // An acceptance has ended the evidence.
            return;
        }
        let refusals = history.refused.get(&seq);
        let refusals =
            refusals.unwrap_or_else(|| panic!("{target:?} never refused event {number} ({seq})"));
        let has = |(rounds, seconds): (u32, u64)| {
            refusals.rounds >= rounds && refusals.span() >= seconds * 1_000_000
        };
        let is_proven = match status {
            "named" => *target == Target::Ledger || refusals.is_rejected,
            "422" => refusals.is_rejected,
            "403" | "401" => has(self.script.denied),
            "500" => has(self.script.failed),
            _ => false,
        };
        assert!(is_proven, "{target:?} buried event {number} ({seq}): {reason}: {refusals:?}");
    }

    /// Checks that each event is in one count of the account.
    fn check_account(&self, sink: &Sink<'_>, status: &Status) {
        let Sink { target, history, dead, wanted } = sink;
        let (head, status) = (status.journal.head, &status.sinks[target.name()]);
        let account = status.account;
        let wanted = wanted.len() as u64;
        assert_eq!(status.accepted, head, "{target:?}: {status:?}");
        assert_eq!((status.position.seq, status.pending), (head, 0), "{target:?}: {status:?}");
        assert_eq!(status.undecided, 0, "{target:?}: {status:?}");
        assert_eq!(account.filtered, head - wanted, "{target:?}: {account:?}");
        assert_eq!((account.expired, account.refused), (0, 0), "{target:?}: {account:?}");
        assert_eq!(account.delivered + account.dead, wanted, "{target:?}: {account:?}");
        // An event that was sent again after it had expired is two events of one id.
        let ids: BTreeSet<_> = dead.values().map(|(id, _)| *id).collect();
        assert_eq!(status.dead_letters, ids.len() as u64, "{target:?}: {status:?}");
        let accepted = history.accepted.len() as u64;
        let commands = &self.commands[target];
        if *target == Target::Ledger {
            // After a crash its own position is further, and says nothing of the dead letters.
            assert!(account.dead <= dead.len() as u64, "{target:?}: {account:?}");
            return;
        }
        assert!(account.delivered <= accepted, "{target:?}: {account:?}, {accepted} accepted");
        let has_both =
            commands.redeliveries + commands.replays > 0 || !history.incidents.is_empty();
        if !has_both {
            assert_eq!(account.dead, dead.len() as u64, "{target:?}: {account:?}");
            assert_eq!(account.delivered, accepted, "{target:?}: {account:?}");
        }
    }

    /// Checks that events were repeated only after a replay, a redelivery or an incident.
    fn check_repeats(&self, sink: &Sink<'_>) {
        let Sink { target, history, wanted, .. } = sink;
        let commands = &self.commands[target];
        for (seq, kept) in &history.accepted {
            let is_unsettled = |(_, at): &&(Uuid, u64)| {
                history.incidents.iter().any(|incident| (*at..=*at + UNSETTLED).contains(incident))
            };
            let allowed = match target {
                Target::Ledger => 1,
                _ => {
                    let unsettled = kept.iter().filter(is_unsettled).count();
                    let replays = commands.replays + commands.crashes_in_replays;
                    1 + replays + commands.redeliveries + unsettled
                }
            };
            let number = wanted[seq];
            assert!(kept.len() <= allowed, "{target:?} got event {number} ({seq}) at {kept:?}");
        }
    }

    /// Checks that a replay has delivered every good event of its selection.
    fn check_replay(&self, sink: &Sink<'_>, replay: &Replay) {
        let Sink { target, history, dead, wanted } = sink;
        let witness = self.destinations[&Target::Witness].lock();
        let Replay { selection, last, begun_at } = replay;
        for (seq, number) in wanted.range(..=*last) {
            let received_at = witness.received[seq];
            let is_selected = received_at >= selection.since
                && selection.until.is_none_or(|until| received_at < until)
                && selection.filter.matches(&event(*number));
            let is_rejected =
                dead.get(seq).is_some_and(|(_, reason)| !reason.starts_with("diverted"));
            if is_selected && !is_rejected && self.script.bad(*target, *number).is_none() {
                let kept = history.accepted.get(seq).into_iter().flatten();
                let is_replayed = kept.clone().any(|(_, at)| at >= begun_at);
                assert!(is_replayed, "{replay:?} of {target:?} skips event {number} ({seq})");
            }
        }
    }

    pub(super) fn all_dead_letters(&self) -> Vec<DeadLetters> {
        Target::ALL.map(|target| self.dead_letters(target)).into()
    }

    /// Returns the dead letters on disk. Torn lines are skipped.
    fn dead_letters(&self, target: Target) -> DeadLetters {
        let dir = Path::new("j/dead-letters").join(target.name());
        let files = self.disk.files();
        let is_one = |path: &Path| {
            path.parent() == Some(&*dir) && path.extension().is_some_and(|it| it == "ndjson")
        };
        let lines = files
            .iter()
            .filter(|(path, _)| is_one(path))
            .flat_map(|(_, bytes)| bytes.split(|byte| *byte == b'\n'));
        lines
            .filter_map(|line| {
                let line: serde_json::Value = serde_json::from_slice(line).ok()?;
                let envelope = &line["envelope"];
                let id = envelope["id"].as_str()?.parse().ok()?;
                let received_at: Timestamp = envelope["received_at"].as_str()?.parse().ok()?;
                assert!(received_at >= Timestamp::UNIX_EPOCH, "{line}");
                Some((envelope["seq"].as_u64()?, (id, line["reason"].as_str()?.to_owned())))
            })
            .collect()
    }
}
