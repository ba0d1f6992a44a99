//! The reading end: records in order, from any place on.

use std::io;
use std::sync::Arc;

use crate::Record;
use crate::fs::OpenMode;
use crate::segment::cursor::{Cursor, Step};
use crate::segment::{Segment, SegmentName};
use crate::shared::Shared;

/// Reads committed records in order.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    next: u64,
    open: Option<(SegmentName, Cursor)>,
}

/// What a reader came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Records of consecutive sequence numbers.
    Records {
        /// Of the first record.
        first_seq: u64,
        /// At least one.
        records: Vec<Record>,
    },
    /// Records that are not there any more.
    Gap {
        /// The first of them.
        first_seq: u64,
        /// The last of them.
        last_seq: u64,
        /// Why not.
        reason: GapReason,
    },
}

/// Why records are not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// Their segment was removed to make room.
    Expired,
    /// They can't be read: their file was changed, or is missing.
    Corrupt,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, after: u64) -> Self {
        Self { shared, next: after + 1, open: None }
    }

    /// The sequence number of the record that is read next.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// The next records, those of one commit at most; `None` at the head. This blocks on files.
    ///
    /// # Errors
    /// As the operating system says. Nothing is skipped: the same call may be made again.
    pub fn read(&mut self) -> io::Result<Option<Chunk>> {
        loop {
            let head = self.shared.head();
            if self.next > head {
                return Ok(None);
            }
            let (segment, last) = match self.locate(head) {
                Place::In(segment, last) => (segment, last),
                Place::Before(first_seq) => {
                    return Ok(Some(self.gap(first_seq - 1, GapReason::Expired)));
                }
                Place::Nowhere => return Ok(Some(self.gap(head, GapReason::Corrupt))),
            };
            let cursor = match &mut self.open {
                Some((name, cursor)) if *name == segment.name => cursor,
                open => {
                    let file = match self
                        .shared
                        .fs
                        .open(&segment.name.path(&self.shared.dir), OpenMode::Read)
                    {
                        Ok(file) => file,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {
                            // Retention may have come first; then the list knows it no more.
                            if self
                                .shared
                                .segments()
                                .iter()
                                .any(|listed| listed.name == segment.name)
                            {
                                return Ok(Some(self.gap(last, GapReason::Corrupt)));
                            }
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                    &mut open.insert((segment.name, Cursor::new(file, segment.salt()))).1
                }
            };
            match cursor.step()? {
                Step::Block { header, mut records } => {
                    if header.last_seq() < self.next {
                        continue;
                    }
                    if header.first_seq > last {
                        return Ok(Some(self.gap(last, GapReason::Corrupt)));
                    }
                    if header.first_seq > self.next {
                        // The block is read again after the gap.
                        self.open = None;
                        return Ok(Some(self.gap(header.first_seq - 1, GapReason::Corrupt)));
                    }
                    let skip =
                        usize::try_from(self.next - header.first_seq).map_err(io::Error::other)?;
                    records.drain(..skip);
                    let first_seq = self.next;
                    self.next = header.last_seq() + 1;
                    return Ok(Some(Chunk::Records { first_seq, records }));
                }
                Step::Corrupt if cursor.seek_valid()? => {}
                Step::Corrupt | Step::End => {
                    self.open = None;
                    return Ok(Some(self.gap(last, GapReason::Corrupt)));
                }
            }
        }
    }

    /// The segment that should hold the next record, and the last record that it can hold.
    fn locate(&self, head: u64) -> Place {
        let segments = self.shared.segments();
        let after = segments.partition_point(|segment| segment.name.first_seq <= self.next);
        let last = segments.get(after).map_or(head, |next| next.name.first_seq - 1);
        match after.checked_sub(1).and_then(|at| segments.get(at)) {
            Some(segment) => Place::In(*segment, last),
            None => segments
                .front()
                .map_or(Place::Nowhere, |oldest| Place::Before(oldest.name.first_seq)),
        }
    }

    fn gap(&mut self, last_seq: u64, reason: GapReason) -> Chunk {
        let first_seq = self.next;
        self.next = last_seq + 1;
        Chunk::Gap { first_seq, last_seq, reason }
    }
}

enum Place {
    In(Segment, u64),
    /// The oldest segment begins later.
    Before(u64),
    Nowhere,
}
