//! Names under which producers report tokens and cost.
//!
//! | module | content |
//! |---|---|
//! | `table` | the names of numbers that are clear wherever they stand |
//! | `context` | names that are clear in a certain kind of object |
//! | `container` | names of objects and arrays |
//! | `key` | the comparison of names without case and separators |
//! | `lookalike` | names that look like tokens or cost, known or not |

mod container;
mod context;
mod key;
mod lookalike;
mod table;

pub(super) use self::container::{Container, Rank, container, is_copy, is_running};
pub(super) use self::context::{Context, meaning};
pub(super) use self::key::{Key, Normalized};
pub(super) use self::lookalike::{Lookalike, lookalike};
pub(super) use self::table::{CostName, CostPart, Count, Meaning};

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a name as a key, if it can be one.
    pub(super) fn key(name: &str) -> Option<Key> {
        match Key::of(name) {
            Normalized::Key(key) => Some(key),
            Normalized::NoName | Normalized::Escaped => None,
        }
    }
}
