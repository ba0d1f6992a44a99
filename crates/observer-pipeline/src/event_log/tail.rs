//! Tail cache: the last committed events, decoded once and shared by all workers that keep up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use observer_core::{Envelope, Timestamp};

use crate::event_log::head::Head;
use crate::lock::lock;

/// Size of the cache, in bytes.
const MAX_BYTES: usize = 8 << 20;
/// Memory of an event beside its raw bytes. Decoded fields, where a filter or a sink needs them,
/// are not counted; they take about twice as much.
const OVERHEAD: usize = 160;

/// Tail cache, and the head of the journal that belongs to it.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    recent: Mutex<Recent>,
    head: Arc<Head>,
}

/// Result of a lookup in the cache.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// At least one event.
    Found(Vec<Arc<Envelope>>),
    /// The reader is lagging: only the journal has the events.
    Evicted,
    /// The events are not committed, or not yet published.
    NotYet,
}

#[derive(Debug, Default)]
struct Recent {
    /// Events with consecutive sequence numbers, oldest first.
    events: VecDeque<Arc<Envelope>>,
    bytes: usize,
}

impl Tail {
    /// Sets the head at which the cache begins: events up to it are in the journal only.
    pub(crate) fn begin_after(&self, head: u64) {
        self.head.set(head);
    }

    /// Returns the head of the journal.
    pub(crate) fn head(&self) -> Arc<Head> {
        self.head.clone()
    }

    /// Appends newly committed events, in order, and moves the head.
    pub(crate) fn extend(&self, envelopes: Vec<Arc<Envelope>>) {
        let Some(seq) = envelopes.last().map(|last| last.seq) else { return };
        let mut recent = self.recent();
        for envelope in envelopes {
            recent.bytes += size(&envelope);
            recent.events.push_back(envelope);
        }
        while recent.bytes > MAX_BYTES
            && let Some(oldest) = recent.events.pop_front()
        {
            recent.bytes -= size(&oldest);
        }
        drop(recent);
        self.head.set(seq);
    }

    /// Looks up at most `max` events, from `seq` on.
    pub(crate) fn read_from(&self, seq: u64, max: usize) -> Lookup {
        let recent = self.recent();
        let first = recent.events.front().map_or(self.head.get() + 1, |oldest| oldest.seq);
        let Some(at) = seq.checked_sub(first) else { return Lookup::Evicted };
        match usize::try_from(at) {
            Ok(at) if at < recent.events.len() => {
                Lookup::Found(recent.events.range(at..).take(max).cloned().collect())
            }
            _ => Lookup::NotYet,
        }
    }

    /// Returns the time at which an event was received, if the cache has the event.
    pub(crate) fn received_at(&self, seq: u64) -> Option<Timestamp> {
        match self.read_from(seq, 1) {
            Lookup::Found(events) => events.first().map(|first| first.received_at),
            Lookup::Evicted | Lookup::NotYet => None,
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        lock(&self.recent)
    }
}

fn size(envelope: &Envelope) -> usize {
    envelope.event.raw().len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use observer_core::{Event, Uuid};

    use super::*;

    #[test]
    fn tail_keeps_the_last_events_within_its_size_limit() {
        let tail = Tail::default();
        tail.begin_after(4);
        assert!(
            matches!(tail.read_from(4, 1), Lookup::Evicted)
                && matches!(tail.read_from(5, 1), Lookup::NotYet)
        );
        let raw = format!(
            r#"{{"source":"s","event_kind":"k","ok":true,"extra":{{"x":"{}"}}}}"#,
            "x".repeat(1 << 20)
        );
        for seq in 5..30 {
            let event = Event::parse(raw.clone()).unwrap();
            let received_at = Timestamp::from_second(i64::try_from(seq).unwrap()).unwrap();
            tail.extend(vec![Arc::new(Envelope { id: Uuid::nil(), seq, received_at, event })]);
        }
        assert_eq!(tail.head().get(), 29);
        assert!(matches!(tail.read_from(5, 1), Lookup::Evicted));
        assert!(matches!(tail.read_from(30, 1), Lookup::NotYet));
        let Lookup::Found(last) = tail.read_from(28, 10) else {
            panic!("the last events are cached")
        };
        assert_eq!(last.iter().map(|envelope| envelope.seq).collect::<Vec<_>>(), [28, 29]);
        assert_eq!(tail.received_at(28), Timestamp::from_second(28).ok());
        assert_eq!((tail.received_at(5), tail.received_at(30)), (None, None));
        assert!(tail.recent().bytes <= MAX_BYTES);
    }
}
