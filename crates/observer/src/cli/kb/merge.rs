//! Events of several sources in one order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use observer_core::{Envelope, Timestamp};

use super::events::{Events, Read, Unreadable};

/// Events of several sources in the order of receipt.
///
/// Each source is in its own order, and stays so. Files whose first event is not due are closed.
pub(super) struct Merge {
    sources: Vec<Source>,
    /// Sources by the time and the sequence number of their next event. If they are equal, the
    /// first source is the first.
    due: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
    unreadable: VecDeque<Unreadable>,
}

struct Source {
    events: Events,
    next: Option<(Envelope, Option<u64>)>,
    /// Latest time of receipt so far. Producers at the same time may get times out of order.
    latest: Timestamp,
}

impl Merge {
    /// Reads the first event of each source.
    ///
    /// # Errors
    /// If a source can't be read.
    pub(super) fn new(sources: impl IntoIterator<Item = Events>) -> anyhow::Result<Self> {
        let mut merge =
            Self { sources: Vec::new(), due: BinaryHeap::new(), unreadable: VecDeque::new() };
        for (index, events) in sources.into_iter().enumerate() {
            merge.sources.push(Source { events, next: None, latest: Timestamp::MIN });
            merge.advance(index)?;
            merge.sources[index].events.pause();
        }
        Ok(merge)
    }

    /// Returns the next event, or what can't be read.
    ///
    /// # Errors
    /// If a source can't be read.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Read>> {
        if let Some(unreadable) = self.unreadable.pop_front() {
            return Ok(Some(Read::Unreadable(unreadable)));
        }
        let Some(Reverse((_, _, index))) = self.due.pop() else { return Ok(None) };
        let next = self.sources[index].next.take();
        self.advance(index)?;
        Ok(next.map(|(envelope, epoch)| Read::Event(envelope, epoch)))
    }

    fn advance(&mut self, index: usize) -> anyhow::Result<()> {
        let source = &mut self.sources[index];
        loop {
            match source.events.next()? {
                None => return Ok(()),
                Some(Read::Unreadable(unreadable)) => self.unreadable.push_back(unreadable),
                Some(Read::Event(envelope, epoch)) => {
                    source.latest = source.latest.max(envelope.received_at);
                    self.due.push(Reverse((source.latest, envelope.seq, index)));
                    source.next = Some((envelope, epoch));
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use observer_core::{Event, ParseOptions, Uuid};

    use super::super::events::FileEvents;
    use super::super::files::Input;
    use super::*;

    /// Writes a file of events, each with its sequence number and second of receipt.
    fn file(path: &Path, events: &[(u64, i64)]) -> Events {
        let line = |&(seq, second): &(u64, i64)| {
            let received_at = Timestamp::from_second(second).unwrap();
            let event = Event::parse(r#"{"source":"s","event_kind":"k","ok":true}"#).unwrap();
            let envelope = Envelope { id: Uuid::from_u128(seq.into()), seq, received_at, event };
            envelope.to_json() + "\n"
        };
        fs::write(path, events.iter().map(line).collect::<String>()).unwrap();
        let input = Input::File(path.to_owned());
        Events::File(Box::new(FileEvents::new(input, ParseOptions::default(), Default::default())))
    }

    #[test]
    fn sources_are_merged_by_time_and_each_keeps_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let later = file(&path("later"), &[(7, 70), (8, 80)]);
        let first = file(&path("first"), &[(1, 10), (3, 30), (2, 20), (9, 90)]);
        let second = file(&path("second"), &[(1, 10), (4, 31), (5, 25), (6, 60)]);
        fs::write(path("torn"), "{\"id\":").unwrap();
        let input = Input::File(path("torn"));
        let torn = FileEvents::new(input, ParseOptions::default(), Default::default());
        let sources = [later, first, second, Events::File(Box::new(torn))];
        let mut merge = Merge::new(sources).unwrap();
        let (mut order, mut unreadable) = (Vec::new(), Vec::new());
        while let Some(read) = merge.next().unwrap() {
            match read {
                Read::Event(envelope, None) => order.push(envelope.seq),
                Read::Event(_, Some(epoch)) => panic!("{epoch}"),
                Read::Unreadable(problem) => unreadable.push(problem),
            }
        }
        assert_eq!(order, [1, 1, 3, 2, 4, 5, 6, 7, 8, 9]);
        assert_eq!(unreadable.len(), 1);
        assert_eq!(unreadable[0].line, Some(1));
        assert_eq!(unreadable[0].detail, "the last line is incomplete");
    }
}
