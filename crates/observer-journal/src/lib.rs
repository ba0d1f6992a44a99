//! Durable log of opaque records.
//!
//! Records are appended in groups and committed with one write and one sync for each group. Any
//! number of readers read them in order, and the journal stores the position of each. The content
//! of records is opaque to the journal.
//!
//! - **Storage**: a folder with segments, one small file of positions, and a lock file. [`fs`] has
//!   an implementation on disk and one in memory.
//! - **Recovery**: after a crash, the last segment is scanned. An incomplete last block is removed
//!   and reported, and all other records are made durable before they are read. No file has to be
//!   deleted by hand.
//! - **Corruption**: corrupt and missing records are reported as a [gap](Chunk::Gap) with the exact
//!   range, and all others can be read. A segment whose header is destroyed can be read, too: its
//!   header is rebuilt from a block.
//! - **Repair**: [`OfflineJournal`] inspects a journal that is not open without changing it, and
//!   repairs headers and footers. It keeps all bytes that it removes or replaces.
//! - **Failed syncs**: the segment is abandoned, since its content in the page cache may differ
//!   from the disk. Appends are refused until a new segment works.
//! - **Size**: at most [`Options::max_size`] bytes. At the limit the oldest segments are removed,
//!   unless a [`Hold::Required`] reader still needs them; then appends are refused.
//!
//! # Modules
//!
//! - `journal`: public interface, [`Journal`].
//! - `writer`: queue and thread that commit groups; the log that writes blocks and segments.
//! - `reader`, `recovery`, `offline`: reading, opening, and repairing.
//! - `shared`: state that these have in common.
//! - `positions`: positions and holds of readers, and reserved space to store them on a full disk.
//! - `segment`, `format`: segments, and the format of all files.
//! - [`fs`]: file operations, with implementations for tests.
//!
//! ```
//! use observer_journal::{Append, Chunk, Group, Journal, Options, Record, Runner, fs};
//!
//! let options = Options::new("journal").file_system(fs::Memory::default()).runner(Runner::Caller);
//! let on_commit = |group: Group<&str>| {
//!     assert_eq!(group.result.expect("memory doesn't fail"), 1);
//!     for append in group.appends {
//!         let (_records, token) = append.into_parts();
//!         assert_eq!(token, "greeting");
//!     }
//! };
//! let (journal, _recovery) = Journal::open(options, on_commit)?;
//! journal.append(Append::new(vec![Record::new(1, [7; 16], "hello")], "greeting"));
//! let Some(Chunk::Records { records, .. }) = journal.reader(0).read()? else {
//!     panic!("there is a record")
//! };
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
