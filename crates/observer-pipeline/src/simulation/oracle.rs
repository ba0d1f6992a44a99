//! What has to be so in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use observer_core::Uuid;

use super::far_side::Kind;
use super::scenario::{event, poison};
use super::world::{SINKS, World};
use crate::Status;

impl World<'_> {
    /// Everything that was acknowledged is where it belongs, and so is everything that a sink had
    /// of the rest. Gives all that is there.
    pub(super) fn check(&self, status: &Status) -> BTreeSet<u64> {
        let head = status.journal.head;
        let dead = self.dead_letters();
        let found: BTreeMap<_, BTreeSet<_>> = SINKS
            .map(|(name, kind, _)| {
                let kept = self.sides[name].lock().kept.iter().copied().collect::<BTreeSet<_>>();
                (name, if kind == Kind::Picky { &kept | &dead } else { kept })
            })
            .into();
        let mut ids = BTreeMap::<u64, Uuid>::new();
        for (seq, id) in found.values().flatten().copied() {
            assert!(self.sent.contains_key(&id), "nobody sent {id}");
            assert!(seq <= head, "{seq} is past the head {head}");
            let known = *ids.entry(seq).or_insert(id);
            assert_eq!(known, id, "{seq} is one event here and another there");
        }
        if !self.scenario.forgets() {
            let distinct: BTreeSet<_> = ids.values().collect();
            assert_eq!(distinct.len(), ids.len(), "an event is there under two numbers");
        }
        for (name, kind, _) in SINKS {
            let sink = &status.sinks[name];
            let wants = |number: u64| kind != Kind::Webhook || event(number).ok();
            assert_eq!(sink.accepted, sink.account.settled() + sink.pending, "{name}: {sink:?}");
            assert_eq!((sink.pending, sink.position.seq), (0, head), "{name}: {sink:?}");
            let has: BTreeSet<_> = found[name].iter().map(|(_, id)| self.sent[id]).collect();
            let missing: BTreeSet<_> = self
                .acked
                .iter()
                .copied()
                .filter(|number| wants(*number) && !has.contains(number))
                .collect();
            let skipped = ids
                .iter()
                .filter(|(seq, id)| wants(self.sent[id]) && !found[name].contains(&(**seq, **id)));
            if self.scenario.expires() {
                let most = missing.len().max(skipped.count()) as u64;
                let expired = sink.account.expired;
                assert!(most <= expired, "{name} misses {missing:?}, and {expired} expired");
                assert_eq!(sink.accepted, head, "{name}: {sink:?}");
                continue;
            }
            assert_eq!(missing, BTreeSet::new(), "{name} misses what was acknowledged");
            assert_eq!(skipped.count(), 0, "{name} misses what others have");
            let count = |what: &dyn Fn(u64) -> bool| {
                ids.values().filter(|id| what(self.sent[id])).count() as u64
            };
            let filtered = count(&|number| !wants(number));
            let dead =
                if kind == Kind::Picky { count(&|number| poison(number).is_some()) } else { 0 };
            let account = sink.account;
            assert_eq!((account.filtered, account.dead), (filtered, dead), "{name}: {account:?}");
            assert_eq!(
                (account.delivered, account.expired),
                (head - filtered - dead, 0),
                "{name}: {account:?}"
            );
            assert_eq!(ids.len() as u64, head, "nobody knows of some of them");
        }
        ids.values().map(|id| self.sent[id]).collect()
    }

    /// What stands in the files; a line that was torn is no letter.
    fn dead_letters(&self) -> BTreeSet<(u64, Uuid)> {
        let dir = Path::new("j/dead-letters/picky");
        let files = self.disk.files();
        let lines = files
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir))
            .flat_map(|(_, bytes)| bytes.split(|byte| *byte == b'\n'));
        lines
            .filter_map(|line| {
                let letter: serde_json::Value = serde_json::from_slice(line).ok()?;
                let envelope = &letter["envelope"];
                Some((envelope["seq"].as_u64()?, envelope["id"].as_str()?.parse().ok()?))
            })
            .collect()
    }
}
