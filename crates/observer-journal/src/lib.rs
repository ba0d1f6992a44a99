//! A durable log of opaque records.
//!
//! Records are appended in groups, each made durable by one write and one sync, and read in order
//! by any number of readers, whose positions the journal keeps. It knows nothing of what the
//! records mean.
//!
//! - **On disk**: a folder of segments (see the format in `format.rs`), one small file of
//!   positions, and a lock. On memory: the same, by [`fs::Memory`].
//! - **After a crash** the last segment is read through: a block that was half written is cut and
//!   reported, and what is left is made durable before it is served. Nobody has to delete anything
//!   by hand.
//! - **What was changed or is missing** is told with its exact range, and all else is served.
//!   [`OfflineJournal`] looks at the files of a journal that isn't open without changing them, and mends
//!   what opening leaves alone: broken headers and footers. What it cuts or replaces it keeps. Even
//!   a segment whose first sector is gone is read: its header follows from its blocks.
//! - **A failed sync** ends the use of that file, since what the page cache says can't be trusted
//!   after it. Appends are refused until a fresh segment works.
//! - **Space**: at most [`Options::max_size`] bytes. The oldest segments make room, unless a
//!   [`Hold::Required`] reader isn't done with them.
//!
//! ```
//! use observer_journal::{Append, Chunk, Group, Journal, Options, Record, Runner, fs};
//!
//! let options = Options::new("journal").file_system(fs::Memory::default()).runner(Runner::Caller);
//! let on_commit = |group: Group<&str>| {
//!     assert_eq!(group.result.expect("memory doesn't fail"), 1);
//!     let tokens: Vec<_> = group.appends.into_iter().map(|append| append.into_parts().1).collect();
//!     assert_eq!(tokens, ["greeting"]);
//! };
//! let (journal, _recovery) = Journal::open(options, on_commit)?;
//! journal.append(Append::new(vec![Record::new(1, [7; 16], "hello")], "greeting"));
//! let Some(Chunk::Records { records, .. }) = journal.reader(0).read()? else { panic!("one record is there") };
//! assert_eq!(records[0].payload, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod durations;
mod error;
mod format;
pub mod fs;
mod journal;
mod lock;
mod offline;
mod options;
mod positions;
mod reader;
mod record;
mod recovery;
mod segment;
mod shared;
#[cfg(test)]
mod testing;
mod writer;

pub use durations::{Durations, DurationsSnapshot};
pub use error::{AppendError, OpenError};
pub use journal::{Journal, JournalStatus, SeekResult};
pub use offline::{
    Damage, DamageKind, Inspection, OfflineJournal, ReaderPosition, Repair, RepairAction,
    SegmentState, SegmentSummary,
};
pub use options::{Clock, Durability, Options, Runner};
pub use positions::StoredPosition;
pub use positions::readers::Hold;
pub use reader::{Chunk, GapReason, Reader};
pub use record::{Append, Group, Key, Record};
pub use recovery::Recovery;
