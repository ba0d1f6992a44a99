//! Inverted index of events.
//!
//! An event has *terms*: its id, the producer's id, the cycle, the signature, the source, the kind,
//! the model, whether it succeeded, and each label. An index on terms as they come, most of them
//! random, would change a random page for each; so terms are collected and sorted first:
//!
//! - The *head* is the events since the last block. The writer has their terms in memory; a reader
//!   looks at the events themselves.
//! - A *block* has the terms of 4,096 events, as 32-bit hashes in order, each with the offsets of
//!   its events in the block. Sixteen neighbouring blocks become one of 65,536 events.
//!
//! A search goes through blocks from the newest one, intersects the offsets of the terms that it
//! needs, and reads the events that remain. Hashes collide now and then, so that it compares the
//! events with what was asked for.
//!
//! [`Seen`] tells that an id is new without a search, nearly always.

mod block;
mod lookup;
mod seen;
mod term;

pub(crate) use self::block::{Head, delete_block, merge_blocks};
pub(crate) use self::lookup::{blocks, candidates, newest_with};
pub(crate) use self::seen::{Seen, hash_of};
pub(crate) use self::term::{Field, Term, term, terms_of};
