//! The readers: a few threads, each with a connection that can't write.
//!
//! A query is one read transaction, and thus sees one state of the file. `pool` runs queries and
//! stops those whose caller is gone, `copy` copies a file that can't be read where it is; each further module answers one kind of question.

mod copy;
mod cursor;
mod diff;
mod events;
mod matcher;
mod models;
mod pool;
mod problem;
mod problems;
mod rivals;
mod scope;
mod similar;
mod store;
mod usage;

pub use self::store::KbStore;
