//! Dead letters: events that a sink rejected permanently.
//!
//! Each sink has a folder with numbered files of JSON Lines, which an operator can read:
//! `{"reason":…,"attempts":…,"dead_at":…,"envelope":{…}}`. The file with the highest number is
//! written to; a new process begins a new file. When the files reach their size limit, the oldest
//! one is removed, and the number of its dead letters is logged.
//!
//! [`store`] writes the files, [`index`] finds, loads and removes dead letters, and [`redeliver`]
//! sends them to their sink again. [`handle`] is the API of the pipeline for all of that.

pub(crate) mod handle;
pub(crate) mod index;
mod redeliver;
pub(crate) mod store;
