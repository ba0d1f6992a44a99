//! Blocks: consecutive events as bytes in the event stream format (WHATWG HTML, section 9.2).

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use observer_core::{Envelope, Event, Filter, Position};
use observer_pipeline::Followed;

/// Part of a block, as its reciprocal, below which its bytes are copied. A larger part shares the
/// memory of the block, and keeps the whole of it.
const COPIED_PART: usize = 4;

/// Consecutive events with their frames, shared by all readers.
#[derive(Debug)]
pub(super) struct Block {
    frames: Bytes,
    entries: Vec<Entry>,
}

/// Event or gap of a block.
#[derive(Debug)]
struct Entry {
    /// Sequence number of the event, or of the last one of the gap.
    last_seq: u64,
    /// End of the frame in the bytes of the block.
    end: usize,
    /// Event; `None` for a gap, which concerns every reader.
    envelope: Option<Arc<Envelope>>,
    /// Number of events in the gap.
    missed: u64,
}

/// Block that is being encoded.
#[derive(Debug)]
pub(super) struct BlockBuilder {
    epoch: u64,
    frames: Vec<u8>,
    entries: Vec<Entry>,
}

/// Events that a reader receives.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    pub(super) filter: Filter,
    /// Sources that the caller may read; `None` for all.
    pub(super) sources: Option<Vec<String>>,
}

/// Result of selecting from a block.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selected {
    /// Last event or gap whose frame is part of the selection, if any.
    pub(super) last_seq: Option<u64>,
    /// Number of events in the gaps of the selection.
    pub(super) missed: u64,
}

impl Selection {
    fn contains(&self, event: &Event) -> bool {
        let may_read = |sources: &Vec<String>| sources.iter().any(|own| own == event.source());
        self.sources.as_ref().is_none_or(may_read) && self.filter.matches(event)
    }

    fn is_all(&self) -> bool {
        self.sources.is_none() && self.filter.matches_all()
    }
}

impl BlockBuilder {
    /// Creates a block whose frames have ids of this epoch.
    pub(super) fn new(epoch: u64) -> Self {
        Self { epoch, frames: Vec::new(), entries: Vec::new() }
    }

    /// Appends an item. `last_seq` is the sequence number up to which the reader has read with it.
    pub(super) fn push(&mut self, item: Followed, last_seq: u64) {
        let id = Position { epoch: self.epoch, seq: last_seq };
        let (envelope, missed) = match item {
            Followed::Event(envelope) => {
                write_event(&mut self.frames, id, &envelope);
                (Some(envelope), 0)
            }
            Followed::Gap { first_seq, last_seq, reason } => {
                let missed = last_seq - first_seq + 1;
                write_gap(&mut self.frames, id, first_seq..=last_seq, reason.as_str());
                (None, missed)
            }
        };
        self.entries.push(Entry { last_seq, end: self.frames.len(), envelope, missed });
    }

    /// Returns the size of the frames in bytes.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Returns the block; `None` if it has no item.
    pub(super) fn build(self) -> Option<Block> {
        let Self { frames, entries, .. } = self;
        (!entries.is_empty()).then(|| Block { frames: frames.into(), entries })
    }
}

impl Block {
    /// Returns the memory that the block occupies in bytes, roughly. Events are counted like their
    /// frames, since the block may be the last to hold them.
    pub(super) fn size(&self) -> usize {
        2 * self.frames.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Returns the size of the frames in bytes.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Returns the sequence number of the last event.
    pub(super) fn last_seq(&self) -> u64 {
        self.entries.last().map_or(0, |last| last.last_seq)
    }

    /// Appends the frames of the selected events from `next` on, adjacent ones as one slice.
    pub(super) fn select(
        &self,
        next: u64,
        selection: &Selection,
        slices: &mut VecDeque<Bytes>,
    ) -> Selected {
        let mut selected = Selected::default();
        let first = self.entries.partition_point(|entry| entry.last_seq < next);
        let mut begin = first.checked_sub(1).map_or(0, |before| self.entries[before].end);
        let mut end = begin;
        let is_all = selection.is_all();
        for entry in &self.entries[first..] {
            let envelope = entry.envelope.as_ref();
            if is_all || envelope.is_none_or(|envelope| selection.contains(&envelope.event)) {
                selected.last_seq = Some(entry.last_seq);
                selected.missed += entry.missed;
            } else {
                self.push_slice(begin, end, slices);
                begin = entry.end;
            }
            end = entry.end;
        }
        self.push_slice(begin, end, slices);
        selected
    }

    fn push_slice(&self, begin: usize, end: usize, slices: &mut VecDeque<Bytes>) {
        if begin == end {
            return;
        }
        let is_small = (end - begin) * COPIED_PART < self.frames.len();
        slices.push_back(match is_small {
            true => Bytes::copy_from_slice(&self.frames[begin..end]),
            false => self.frames.slice(begin..end),
        });
    }
}

/// Appends the frame of an event. Its type says whether it is an outcome.
fn write_event(frames: &mut Vec<u8>, id: Position, envelope: &Envelope) {
    let kind = if envelope.event.is_phase() { "phase" } else { "outcome" };
    append(frames, format_args!("id: {id}\nevent: {kind}\ndata: "));
    envelope.write_json(frames);
    frames.extend_from_slice(b"\n\n");
}

/// Appends the frame of missing events.
fn write_gap(
    frames: &mut Vec<u8>,
    id: Position,
    missing: std::ops::RangeInclusive<u64>,
    reason: &str,
) {
    let (first, last) = missing.into_inner();
    let count = last - first + 1;
    append(
        frames,
        format_args!(
            "id: {id}\nevent: gap\ndata: \
             {{\"first\":{first},\"last\":{last},\"count\":{count},\"reason\":\"{reason}\"}}\n\n"
        ),
    );
}

/// Returns the frame of events that a reader missed since it was too slow.
pub(super) fn slow_gap(epoch: u64, missing: std::ops::RangeInclusive<u64>) -> Bytes {
    let mut frame = Vec::new();
    let id = Position { epoch, seq: *missing.end() };
    write_gap(&mut frame, id, missing, "slow");
    frame.into()
}

/// Returns the frame of a gap after a position that the journal never had. How many events are
/// missing is unknown.
pub(super) fn unknown_gap(id: Position) -> Bytes {
    format!("id: {id}\nevent: gap\ndata: {{\"reason\":\"unknown\"}}\n\n").into()
}

/// Returns a frame that only advances the position of the client.
pub(super) fn position_frame(id: Position) -> Bytes {
    format!("id: {id}\n\n").into()
}

fn append(frames: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    frames.write_fmt(text).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use observer_core::{Timestamp, Uuid};
    use observer_pipeline::GapReason;

    use super::*;

    fn envelope(seq: u64, source: &str, kind: &str) -> Followed {
        let raw = format!("{{\"source\":\"{source}\",\r\n\"event_kind\":\"{kind}\",\"ok\":true}}");
        let event = Event::parse(raw).unwrap();
        let received_at = Timestamp::UNIX_EPOCH;
        Followed::Event(Arc::new(Envelope { id: Uuid::nil(), seq, received_at, event }))
    }

    fn block() -> Block {
        let mut builder = BlockBuilder::new(7);
        for (seq, source) in [(1, "a"), (2, "b"), (3, "b"), (4, "a"), (5, "b")] {
            builder.push(envelope(seq, source, "ok"), seq);
        }
        builder.build().unwrap()
    }

    /// Returns the ids of the frames, and what else was selected.
    fn select(next: u64, selection: &Selection) -> (Vec<String>, usize, Selected) {
        let mut slices = VecDeque::new();
        let selected = block().select(next, selection, &mut slices);
        let text = slices.iter().map(|slice| str::from_utf8(slice).unwrap()).collect::<String>();
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: 7-")).map(str::to_owned);
        (ids.collect(), slices.len(), selected)
    }

    #[test]
    fn frame_has_the_envelope_on_one_line() {
        let mut builder = BlockBuilder::new(7);
        builder.push(envelope(9, "bot", "started"), 9);
        let mut slices = VecDeque::new();
        builder.build().unwrap().select(1, &Selection::default(), &mut slices);
        assert_eq!(
            slices,
            [concat!(
                "id: 7-9\nevent: phase\ndata: {\"id\":\"00000000-0000-0000-0000-000000000000\",",
                "\"seq\":9,\"received_at\":\"1970-01-01T00:00:00.000000Z\",\"event\":",
                "{\"source\":\"bot\",  \"event_kind\":\"started\",\"ok\":true}}\n\n"
            )]
        );
    }

    #[test]
    fn adjacent_selected_events_are_one_slice() {
        let of = |sources: &[&str]| Selection {
            sources: Some(sources.iter().map(|source| (*source).to_owned()).collect()),
            ..Selection::default()
        };
        for (next, selection, ids, slices, last) in [
            (1, Selection::default(), "12345", 1, Some(5)),
            (4, Selection::default(), "45", 1, Some(5)),
            (6, Selection::default(), "", 0, None),
            (1, of(&["b"]), "235", 2, Some(5)),
            (3, of(&["b"]), "35", 2, Some(5)),
            (1, of(&["a"]), "14", 2, Some(4)),
            (1, of(&["a", "b"]), "12345", 1, Some(5)),
            (1, of(&[]), "", 0, None),
        ] {
            let (found, count, selected) = select(next, &selection);
            assert_eq!((found.concat().as_str(), count), (ids, slices), "{next} {selection:?}");
            assert_eq!(selected, Selected { last_seq: last, missed: 0 }, "{next} {selection:?}");
        }
    }

    #[test]
    fn gap_passes_every_selection() {
        let mut builder = BlockBuilder::new(7);
        let gap = Followed::Gap { first_seq: 3, last_seq: 8, reason: GapReason::Expired };
        builder.push(gap, 8);
        let selection = Selection { sources: Some(Vec::new()), ..Selection::default() };
        let mut slices = VecDeque::new();
        let selected = builder.build().unwrap().select(1, &selection, &mut slices);
        assert_eq!(selected, Selected { last_seq: Some(8), missed: 6 });
        assert_eq!(
            slices,
            [
                "id: 7-8\nevent: gap\ndata: {\"first\":3,\"last\":8,\"count\":6,\"reason\":\"expired\"}\n\n"
            ]
        );
    }
}
