//! The writer: one thread that owns the only connection that writes.
//!
//! A batch is stored by `store`: rows of events, and the position, in one transaction. A flush
//! derives figures from them (`derive`, `corrections`), and makes everything durable. Between
//! batches, `upkeep` merges runs and blocks, and deletes old events, in small steps.
//!
//! If a transaction fails, what the writer knows beside the file (`memory`) is read again.

mod aliases;
mod corrections;
mod derive;
mod labels;
mod memory;
mod reprice;
mod store;
mod thread;
mod upkeep;

pub(crate) use self::corrections::{corrections_of, load};
pub(crate) use self::labels::NAMES as LABELS;
pub(crate) use self::memory::{EVENT_COLUMNS, Writer, envelope};
pub(crate) use self::thread::Thread;
pub(crate) use self::upkeep::used;
