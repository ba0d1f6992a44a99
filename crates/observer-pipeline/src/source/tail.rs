//! The last events, decoded once and shared by all workers that keep up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use observer_core::{Envelope, Timestamp};

use crate::lock::lock;
use crate::source::head::Head;

/// How many bytes of events are kept.
const MAX_BYTES: usize = 8 << 20;
/// What an event costs beside its own bytes. Where a filter or a sink asks for its fields, they
/// come on top, with about twice as much.
const OVERHEAD: usize = 160;

#[derive(Debug, Default)]
pub(crate) struct Tail {
    recent: Mutex<Recent>,
    head: Arc<Head>,
}

/// What is there of the events from some place on.
#[derive(Debug)]
pub(crate) enum Look {
    /// At least one.
    Found(Vec<Arc<Envelope>>),
    /// Only the journal has them.
    Gone,
    /// They are not committed, or their commit is just being told.
    NotYet,
}

#[derive(Debug, Default)]
struct Recent {
    /// Consecutive, oldest first.
    events: VecDeque<Arc<Envelope>>,
    bytes: usize,
}

impl Tail {
    /// Events up to here were committed before this was there.
    pub(crate) fn begin_after(&self, head: u64) {
        self.head.set(head);
    }

    /// The last committed event, as it changes.
    pub(crate) fn head(&self) -> Arc<Head> {
        self.head.clone()
    }

    /// Events that were committed after all others here, in order.
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

    /// Up to `max` events from `seq` on.
    pub(crate) fn from(&self, seq: u64, max: usize) -> Look {
        let recent = self.recent();
        let first = recent.events.front().map_or(self.head.get() + 1, |oldest| oldest.seq);
        let Some(at) = seq.checked_sub(first) else { return Look::Gone };
        match usize::try_from(at) {
            Ok(at) if at < recent.events.len() => {
                Look::Found(recent.events.range(at..).take(max).cloned().collect())
            }
            _ => Look::NotYet,
        }
    }

    /// When the event of this sequence number was received, if it is still here.
    pub(crate) fn received_at(&self, seq: u64) -> Option<Timestamp> {
        match self.from(seq, 1) {
            Look::Found(events) => events.first().map(|first| first.received_at),
            Look::Gone | Look::NotYet => None,
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
    fn it_keeps_the_last_ones_within_its_bound() {
        let tail = Tail::default();
        tail.begin_after(4);
        assert!(matches!(tail.from(4, 1), Look::Gone) && matches!(tail.from(5, 1), Look::NotYet));
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
        assert!(matches!(tail.from(5, 1), Look::Gone));
        assert!(matches!(tail.from(30, 1), Look::NotYet));
        let Look::Found(last) = tail.from(28, 10) else { panic!("these are the last ones") };
        assert_eq!(last.iter().map(|envelope| envelope.seq).collect::<Vec<_>>(), [28, 29]);
        assert_eq!(tail.received_at(28), Timestamp::from_second(28).ok());
        assert_eq!((tail.received_at(5), tail.received_at(30)), (None, None));
        assert!(tail.recent().bytes <= MAX_BYTES);
    }
}
