//! Reader of committed records, in order and from any sequence number on.

use std::io;
use std::sync::Arc;

use crate::Record;
use crate::fs::OpenMode;
use crate::segment::cursor::{Cursor, Step};
use crate::segment::{Segment, SegmentName};
use crate::state::JournalState;

/// Reads committed records in order.
#[derive(Debug)]
pub struct Reader {
    state: Arc<JournalState>,
    next: u64,
    open: Option<(SegmentName, Cursor)>,
}

/// Result of one read.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Records of consecutive sequence numbers.
    Records {
        /// Sequence number of the first record.
        first_seq: u64,
        /// Records, at least one.
        records: Vec<Record>,
    },
    /// Records that are no longer available.
    Gap {
        /// First missing record.
        first_seq: u64,
        /// Last missing record.
        last_seq: u64,
        /// Reason for the gap.
        reason: GapReason,
    },
}

/// Reason why records are no longer available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// Their segment was removed, because of its age or the size limit.
    Expired,
    /// Their file is corrupt or missing.
    Corrupt,
}

impl Reader {
    pub(crate) fn new(state: Arc<JournalState>, after: u64) -> Self {
        Self { state, next: after + 1, open: None }
    }

    /// Returns the sequence number of the record that is read next.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// Reads the next records, at most those of one commit. Returns `None` at the head. Blocks on
    /// file operations.
    ///
    /// # Errors
    /// Returns the error of the operating system. No record is skipped, and the call can be
    /// repeated.
    pub fn read(&mut self) -> io::Result<Option<Chunk>> {
        loop {
            let head = self.state.head();
            if self.next > head {
                return Ok(None);
            }
            let (segment, last) = match self.locate(head) {
                Location::Segment(segment, last) => (segment, last),
                Location::Before(first_seq) => return self.before(first_seq),
                Location::Missing => return Ok(Some(self.gap(head, GapReason::Corrupt))),
            };
            let cursor = match &mut self.open {
                Some((name, cursor)) if *name == segment.name => cursor,
                open => {
                    let file = match self
                        .state
                        .fs
                        .open(&segment.name.path(&self.state.dir), OpenMode::Read)
                    {
                        Ok(file) => file,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {
                            // Retention may have removed it meanwhile, from the list first.
                            if self
                                .state
                                .segments()
                                .iter()
                                .any(|listed| listed.name == segment.name)
                            {
                                // The log writes the last segment again if it was removed.
                                if last == head {
                                    return Err(error);
                                }
                                return self.corrupt(last);
                            }
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                    &mut open.insert((segment.name, segment.cursor(file))).1
                }
            };
            match cursor.step()? {
                Step::Block { header, mut records, .. } => {
                    if header.last_seq() < self.next {
                        continue;
                    }
                    if header.first_seq > last {
                        return self.corrupt(last);
                    }
                    if header.first_seq > self.next {
                        // The next call reads the block again.
                        self.open = None;
                        return self.corrupt(header.first_seq - 1);
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
                    return self.corrupt(last);
                }
            }
        }
    }

    /// Returns the segment that contains the next record.
    fn locate(&self, head: u64) -> Location {
        let segments = self.state.segments();
        let after = segments.partition_point(|segment| segment.name.first_seq <= self.next);
        let last = segments.get(after).map_or(head, |next| next.name.first_seq - 1);
        match after.checked_sub(1).and_then(|at| segments.get(at)) {
            Some(segment) => Location::Segment(*segment, last),
            None => segments
                .front()
                .map_or(Location::Missing, |oldest| Location::Before(oldest.name.first_seq)),
        }
    }

    /// Advances towards the oldest segment, which begins with `first_seq`. Records before it have
    /// expired, or are in a file that was set aside.
    fn before(&mut self, first_seq: u64) -> io::Result<Option<Chunk>> {
        match self.state.quarantined.filter(|quarantined| *quarantined < first_seq) {
            Some(quarantined) if quarantined <= self.next => self.corrupt(first_seq - 1),
            Some(quarantined) => Ok(Some(self.gap(quarantined - 1, GapReason::Expired))),
            None => Ok(Some(self.gap(first_seq - 1, GapReason::Expired))),
        }
    }

    /// Advances past `last_seq` and returns the gap. No record counts as lost while the folder is
    /// not in place: it may come back.
    fn corrupt(&mut self, last_seq: u64) -> io::Result<Option<Chunk>> {
        self.state.require_folder()?;
        Ok(Some(self.gap(last_seq, GapReason::Corrupt)))
    }

    /// Advances past `last_seq` and returns the gap.
    fn gap(&mut self, last_seq: u64, reason: GapReason) -> Chunk {
        let first_seq = self.next;
        self.next = last_seq + 1;
        Chunk::Gap { first_seq, last_seq, reason }
    }
}

/// Location of the next record.
enum Location {
    /// Segment, and the last record that it can contain.
    Segment(Segment, u64),
    /// The oldest segment begins later, with this record.
    Before(u64),
    /// There is no segment.
    Missing,
}
