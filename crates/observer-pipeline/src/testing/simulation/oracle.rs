//! Oracle: the invariants after a run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use observer_core::Uuid;

use super::destination::Kind;
use super::scenario::{event, poison};
use super::world::{SINKS, World};
use crate::Status;

impl World<'_> {
    /// Checks that every sink has every acknowledged event, and that all sinks agree on the others.
    /// Returns the numbers of all events that are present.
    pub(super) fn check(&self, status: &Status) -> BTreeSet<u64> {
        let head = status.journal.head;
        let dead = self.dead_letters();
        let found: BTreeMap<_, BTreeSet<_>> = SINKS
            .map(|(name, kind, _)| {
                let kept =
                    self.destinations[name].lock().kept.iter().copied().collect::<BTreeSet<_>>();
                (name, if kind == Kind::Strict { &kept | &dead } else { kept })
            })
            .into();
        let mut ids = BTreeMap::<u64, Uuid>::new();
        for (seq, id) in found.values().flatten().copied() {
            assert!(self.sent.contains_key(&id), "no producer sent {id}");
            assert!(seq <= head, "{seq} is past the head {head}");
            let known = *ids.entry(seq).or_insert(id);
            assert_eq!(known, id, "two sinks have different events as {seq}");
        }
        if !self.scenario.may_duplicate() {
            let distinct: BTreeSet<_> = ids.values().collect();
            assert_eq!(distinct.len(), ids.len(), "an event has two sequence numbers");
        }
        for (name, kind, _) in SINKS {
            self.check_sink(name, kind, &found[name], &ids, status);
        }
        ids.values().map(|id| self.sent[id]).collect()
    }

    /// Checks one sink. `found` has its events, and `ids` those of all sinks.
    fn check_sink(
        &self,
        name: &str,
        kind: Kind,
        found: &BTreeSet<(u64, Uuid)>,
        ids: &BTreeMap<u64, Uuid>,
        status: &Status,
    ) {
        let head = status.journal.head;
        let sink = &status.sinks[name];
        let wants = |number: u64| kind != Kind::Webhook || event(number).ok() == Some(true);
        assert_eq!(sink.accepted, sink.account.resolved() + sink.pending, "{name}: {sink:?}");
        assert_eq!((sink.pending, sink.position.seq), (0, head), "{name}: {sink:?}");
        let has: BTreeSet<_> = found.iter().map(|(_, id)| self.sent[id]).collect();
        let missing: BTreeSet<_> = self
            .acked
            .iter()
            .copied()
            .filter(|number| wants(*number) && !has.contains(number))
            .collect();
        let skipped =
            ids.iter().filter(|(seq, id)| wants(self.sent[id]) && !found.contains(&(**seq, **id)));
        if self.scenario.expires() {
            let lost = missing.len().max(skipped.count()) as u64;
            let expired = sink.account.expired;
            assert!(lost <= expired, "{name} misses {missing:?}, but {expired} expired");
            assert_eq!(sink.accepted, head, "{name}: {sink:?}");
            return;
        }
        assert_eq!(missing, BTreeSet::new(), "{name} misses acknowledged events");
        assert_eq!(skipped.count(), 0, "{name} misses events that other sinks have");
        let count = |predicate: &dyn Fn(u64) -> bool| {
            ids.values().filter(|id| predicate(self.sent[id])).count() as u64
        };
        let filtered = count(&|number| !wants(number));
        let dead = if kind == Kind::Strict { count(&|number| poison(number).is_some()) } else { 0 };
        let account = sink.account;
        assert_eq!((account.filtered, account.dead), (filtered, dead), "{name}: {account:?}");
        assert_eq!(
            (account.delivered, account.expired),
            (head - filtered - dead, 0),
            "{name}: {account:?}"
        );
        assert_eq!(ids.len() as u64, head, "no sink has some of the events");
    }

    /// Returns the dead letters on disk. Torn lines are skipped.
    fn dead_letters(&self) -> BTreeSet<(u64, Uuid)> {
        let dir = Path::new("j/dead-letters/strict");
        let files = self.disk.files();
        let lines = files
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir))
            .flat_map(|(_, bytes)| bytes.split(|byte| *byte == b'\n'));
        lines
            .filter_map(|line| {
                let line: serde_json::Value = serde_json::from_slice(line).ok()?;
                let envelope = &line["envelope"];
                Some((envelope["seq"].as_u64()?, envelope["id"].as_str()?.parse().ok()?))
            })
            .collect()
    }
}
