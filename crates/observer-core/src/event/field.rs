//! The fields of an event.

use std::fmt;

/// Field of an event that the observer reads. Every other field is kept and passed on unread.
///
/// Table of the fields and their names. The filter, the OpenAPI document, the CLI and the sinks
/// list the fields that they use separately.
///
/// ```
/// use observer_core::Field;
///
/// assert_eq!(Field::SigHash.as_str(), "sig_hash");
/// assert_eq!(Field::from_name(b"sig_hash"), Some(Field::SigHash));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `source`: the producer, such as `bot`.
    Source,
    /// `event_kind`: the outcome, such as `tests_failed`.
    EventKind,
    /// `ok`: whether the cycle succeeded.
    Ok,
    /// `cycle_id`: the cycle that ended.
    CycleId,
    /// `sig_hash`: hash of the problem that the cycle worked on.
    SigHash,
    /// `staffer_id`: the model.
    StafferId,
    /// `turns`: number of calls to the model.
    Turns,
    /// `duration_ms`: duration of the cycle in milliseconds.
    DurationMs,
    /// `extra`: an opaque object.
    Extra,
    /// `id`: the producer's identifier of the event.
    Id,
    /// `timestamp`: time of the outcome by the producer's clock.
    Timestamp,
    /// `traceparent`: W3C trace context of the cycle.
    Traceparent,
    /// `usage`: tokens and cost.
    Usage,
    /// `cost_usd`: cost of the cycle in US dollars.
    CostUsd,
    /// `attempt`: number of the attempt at the problem.
    Attempt,
    /// `replaces`: id of the outcome that this one corrects.
    Replaces,
    /// `labels`: a flat object of strings.
    Labels,
}

impl Field {
    /// All fields, each at the index of its discriminant.
    pub const ALL: [Self; 17] = [
        Self::Source,
        Self::EventKind,
        Self::Ok,
        Self::CycleId,
        Self::SigHash,
        Self::StafferId,
        Self::Turns,
        Self::DurationMs,
        Self::Extra,
        Self::Id,
        Self::Timestamp,
        Self::Traceparent,
        Self::Usage,
        Self::CostUsd,
        Self::Attempt,
        Self::Replaces,
        Self::Labels,
    ];

    /// Fields that every outcome has. A [phase](crate::Phases) needs no `ok`.
    pub const REQUIRED: [Self; 3] = [Self::Source, Self::EventKind, Self::Ok];

    /// Fields whose repetition makes an event malformed. Any other field that occurs twice is
    /// treated as absent.
    pub const UNREPEATABLE: [Self; 4] = [Self::Source, Self::EventKind, Self::Ok, Self::Id];

    /// Fields that an event may leave out.
    pub const OPTIONAL: [Self; 14] = [
        Self::CycleId,
        Self::SigHash,
        Self::StafferId,
        Self::Turns,
        Self::DurationMs,
        Self::Extra,
        Self::Id,
        Self::Timestamp,
        Self::Traceparent,
        Self::Usage,
        Self::CostUsd,
        Self::Attempt,
        Self::Replaces,
        Self::Labels,
    ];

    /// Returns the name of the field in an event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::EventKind => "event_kind",
            Self::Ok => "ok",
            Self::CycleId => "cycle_id",
            Self::SigHash => "sig_hash",
            Self::StafferId => "staffer_id",
            Self::Turns => "turns",
            Self::DurationMs => "duration_ms",
            Self::Extra => "extra",
            Self::Id => "id",
            Self::Timestamp => "timestamp",
            Self::Traceparent => "traceparent",
            Self::Usage => "usage",
            Self::CostUsd => "cost_usd",
            Self::Attempt => "attempt",
            Self::Replaces => "replaces",
            Self::Labels => "labels",
        }
    }

    /// Returns the field with this name. Takes bytes, since a key of a JSON object need not be
    /// Unicode.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"source" => Self::Source,
            b"event_kind" => Self::EventKind,
            b"ok" => Self::Ok,
            b"cycle_id" => Self::CycleId,
            b"sig_hash" => Self::SigHash,
            b"staffer_id" => Self::StafferId,
            b"turns" => Self::Turns,
            b"duration_ms" => Self::DurationMs,
            b"extra" => Self::Extra,
            b"id" => Self::Id,
            b"timestamp" => Self::Timestamp,
            b"traceparent" => Self::Traceparent,
            b"usage" => Self::Usage,
            b"cost_usd" => Self::CostUsd,
            b"attempt" => Self::Attempt,
            b"replaces" => Self::Replaces,
            b"labels" => Self::Labels,
            _ => return None,
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_found_by_its_name() {
        for (index, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(Field::from_name(field.as_str().as_bytes()), Some(field));
            assert_eq!(field as usize, index);
        }
        assert_eq!(Field::from_name(b"model"), None);
    }

    #[test]
    fn field_is_either_required_or_optional() {
        assert_eq!([&Field::REQUIRED[..], &Field::OPTIONAL].concat(), Field::ALL);
    }
}
