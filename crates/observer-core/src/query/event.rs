//! Events by filter, and one event by its id.

use jiff::Timestamp;

use super::Scope;
use crate::{Envelope, Position, Uuid};

/// Request for events. An event must meet every condition; an empty list is no condition.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventsRequest {
    /// Sources that the caller may read.
    pub scope: Scope,
    /// Accepted values of `source`.
    pub source: Vec<String>,
    /// Accepted values of `event_kind`.
    pub event_kind: Vec<String>,
    /// Required value of `ok`, which a phase never has.
    pub ok: Option<bool>,
    /// Accepted values of `sig_hash`.
    pub sig_hash: Vec<String>,
    /// Accepted values of `cycle_id`.
    pub cycle_id: Vec<String>,
    /// Accepted values of `staffer_id`.
    pub staffer_id: Vec<String>,
    /// Required labels by name and value; one of the values with the same name.
    pub labels: Vec<(String, String)>,
    /// Earliest time of receipt.
    pub since: Option<Timestamp>,
    /// Time of receipt before which the events were received.
    pub until: Option<Timestamp>,
    /// Largest number of events, from 1 to [`MAX_LIMIT`](super::MAX_LIMIT).
    pub limit: usize,
    /// [`EventPage::cursor`] of the page before.
    pub cursor: Option<String>,
}

/// Events in the order of receipt, newest first. A page has at most [`EventsRequest::limit`]
/// events, and ends after the first event with which they exceed
/// [`MAX_PAGE_BYTES`](super::MAX_PAGE_BYTES).
#[derive(Debug, Default, PartialEq)]
pub struct EventPage {
    /// The events.
    pub events: Vec<StoredEvent>,
    /// Where the next page begins; `None` after the last page. The text is opaque.
    pub cursor: Option<String>,
}

/// Event in a store.
#[derive(Debug, PartialEq)]
pub struct StoredEvent {
    /// Event with its identity. Its `seq` is that of `position`.
    pub envelope: Envelope,
    /// Position in the journal.
    pub position: Position,
    /// Event that corrects this one and counts instead of it.
    pub replaced_by: Option<Uuid>,
}

/// Request for one event.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRequest {
    /// Sources that the caller may read.
    pub scope: Scope,
    /// Id that the observer gave the event, or else the producer's own. If a producer's id occurs
    /// more than once, the event that was received last is meant.
    pub id: String,
    /// Source of the event, for producer's ids that occur in several.
    pub source: Option<String>,
}
