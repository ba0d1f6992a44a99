//! The values of an event's fields, as ranges of its bytes and small values.

use std::ops::Range;
use std::sync::OnceLock;

use jiff::Timestamp;

use crate::usage::UsageReading;

/// Values of the fields of one event.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) source: Text,
    pub(super) event_kind: Text,
    pub(super) ok: Option<bool>,
    pub(super) cycle_id: Option<Text>,
    pub(super) sig_hash: Option<Text>,
    pub(super) staffer_id: Option<Text>,
    pub(super) id: Option<Text>,
    pub(super) traceparent: Option<Text>,
    pub(super) turns: Option<u64>,
    pub(super) duration_ms: Option<f64>,
    pub(super) timestamp: Option<Timestamp>,
    pub(super) extra: Option<Span>,
    pub(super) usage_field: Option<Span>,
    pub(super) cost_usd: Option<f64>,
    pub(super) attempt: Option<u64>,
    pub(super) replaces: Option<Text>,
    /// Names and values.
    pub(super) labels: Vec<(Text, Text)>,
    /// True if the event has members that are no fields.
    pub(super) has_others: bool,
    /// Parsed from `usage_field`, `extra` and `cost_usd` on first use.
    pub(super) usage: OnceLock<UsageReading>,
}

/// Range of an event's bytes. The parser rejects events of 4 GiB and more.
#[derive(Clone, Copy, Default)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn new(range: Range<usize>) -> Self {
        let narrow = |at: usize| u32::try_from(at).expect("the parser rejects events of 4 GiB");
        Self { start: narrow(range.start), end: narrow(range.end) }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// String value of a field: its range, or the text itself if the JSON string has escapes.
#[derive(Clone)]
pub(super) enum Text {
    InPlace(Span),
    Unescaped(Box<str>),
}

impl Default for Text {
    fn default() -> Self {
        Self::InPlace(Span::default())
    }
}

impl Text {
    /// Returns the text, given the event that the range refers to.
    pub(super) fn as_str<'a>(&'a self, event: &'a str) -> &'a str {
        match self {
            Self::InPlace(span) => &event[span.range()],
            Self::Unescaped(text) => text,
        }
    }
}
