//! Items of a list: usage that adds up, and usage that is the same one at a later time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::found::{Found, Siblings};
use super::names::Rank;

/// Relation of usage in a list to the items before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Part {
    /// Usage that says nothing about others.
    #[default]
    Own,
    /// Sum of several usages.
    Sum,
    /// Usage of the response with this id, up to this item.
    Of(ResponseId),
    /// First usage of a response (Anthropic's `message_start`).
    First,
    /// Later usage of the response before (`message_delta`).
    Later,
    /// Running total of a session.
    Running,
}

/// Hash of the id of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ResponseId(u64);

impl ResponseId {
    pub(super) fn of(id: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Usages that replace each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stream {
    /// Response whose chunks have no id.
    Unnamed,
    Running,
    Of(ResponseId),
}

/// Items of a list. Usage is added up, except that chunks of one response and running totals
/// include the chunks and totals before them.
#[derive(Default)]
pub(super) struct Items {
    siblings: Siblings,
    streams: BTreeMap<Stream, Found>,
    /// Stream to which chunks without an id belong.
    current: Option<Stream>,
}

impl Items {
    /// Adds an item.
    pub(super) fn add(&mut self, found: Found) {
        if found.is_total {
            return self.siblings.add(Rank::Total, found);
        }
        let stream = match found.part {
            Part::Own | Part::Sum => return self.siblings.add(Rank::Other, found),
            Part::Of(id) => Stream::Of(id),
            Part::First => Stream::Unnamed,
            Part::Later => self.current.unwrap_or(Stream::Unnamed),
            Part::Running => Stream::Running,
        };
        if stream != Stream::Running {
            self.current = Some(stream);
        }
        match self.streams.entry(stream) {
            Entry::Vacant(entry) => {
                entry.insert(found);
            }
            Entry::Occupied(mut entry) => {
                let is_same = found.part == Part::Later
                    || (found.part != Part::First && found.continues(entry.get()));
                if is_same {
                    entry.get_mut().advance(&found);
                } else {
                    let ended = entry.insert(found);
                    self.siblings.add(Rank::Other, ended);
                }
            }
        }
    }

    /// Returns what the list holds.
    pub(super) fn finish(mut self) -> Found {
        for found in self.streams.into_values() {
            self.siblings.add(Rank::Other, found);
        }
        Found { part: Part::Sum, ..self.siblings.finish() }
    }
}
