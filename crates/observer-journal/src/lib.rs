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
//!   range, and all others can be read, also those of a corrupt block. A flipped bit is corrected.
//!   A segment whose header is destroyed can be read, too: its header is rebuilt from a block.
//! - **Repair**: [`OfflineJournal`] inspects a journal that is not open without changing it, and
//!   repairs headers and footers. It keeps all bytes that it removes or replaces.
//! - **Failed syncs**: the segment is abandoned, since its content in the page cache may differ
//!   from the disk. Appends are rejected until a new segment works.
//! - **Removed files**: a commit fails if the path of the segment or of the folder leads elsewhere
//!   after the sync. The records of the open segment are then written to a new file.
//! - **Versions**: a file of a later version is [refused](OpenError::Newer), and nothing is
//!   changed.
//! - **Size**: at most [`Options::max_size`] bytes. At the limit the oldest segments are removed,
//!   unless a [`Hold::Required`] reader still needs them; then appends are rejected.
//!
//! # Files
//!
//! A journal is one folder. The modules that write the files describe their formats.
//!
//! - `{first_seq:020}-{n}.log`: segment whose first record has the sequence number `first_seq`, in
//!   its generation `n` (0 for the first one).
//! - `{n:010}.keys`: keys of removed segments, see [`Options::remember_keys`].
//! - `positions`: epochs, and the position of each reader.
//! - `positions.new`: the next version of `positions`, until it is renamed.
//! - `positions.reserve`: 64 KiB of zeros, which are released for `positions` on a full disk.
//! - `lock`: empty file. The process that has the journal open holds its lock.
//! - `{name}.corrupt`, `{name}.from-{offset}.corrupt`, and both with `.{n}`: bytes that could not
//!   be read, or that a repair replaced. The journal never reads them.
//!
//! # Modules
//!
//! - `journal`: public interface, [`Journal`], and recovery at opening.
//! - `writer`: queue and thread that commit groups; the log that writes blocks and segments.
//! - `reader`, `offline`: reading, inspecting and repairing.
//! - `state`: state that these have in common.
//! - `positions`: positions and holds of readers, and reserved space to store them on a full disk.
//! - `removed_keys`: keys of removed segments.
//! - `segment`: format, scan and keys of segments.
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
mod folder;
pub mod fs;
mod journal;
mod lock;
mod offline;
mod options;
mod positions;
mod reader;
mod record;
mod removed_keys;
mod segment;
mod state;
#[cfg(test)]
mod testing;
mod writer;

pub use durations::{Durations, DurationsSnapshot};
pub use error::{AppendError, OpenError};
pub use journal::recovery::Recovery;
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
