//! The keys of an event.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};
use serde_json::value::RawValue;

/// A key that an event may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Source,
    EventKind,
    Ok,
    CycleId,
    SigHash,
    StafferId,
    Turns,
    DurationMs,
    Extra,
    Id,
    Timestamp,
    Traceparent,
    Usage,
}

impl Known {
    /// In the order of their numbers.
    pub(super) const ALL: [Self; 13] = [
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
    ];

    pub(super) fn name(self) -> &'static str {
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
        }
    }
}

/// A key of the outermost object.
pub(super) enum Key {
    Known(Known),
    /// The payload of an envelope.
    Event,
    Unknown,
}

impl Key {
    pub(super) fn of(key: &[u8]) -> Self {
        Self::Known(match key {
            b"event" => return Self::Event,
            b"source" => Known::Source,
            b"event_kind" => Known::EventKind,
            b"ok" => Known::Ok,
            b"cycle_id" => Known::CycleId,
            b"sig_hash" => Known::SigHash,
            b"staffer_id" => Known::StafferId,
            b"turns" => Known::Turns,
            b"duration_ms" => Known::DurationMs,
            b"extra" => Known::Extra,
            b"id" => Known::Id,
            b"timestamp" => Known::Timestamp,
            b"traceparent" => Known::Traceparent,
            b"usage" => Known::Usage,
            _ => return Self::Unknown,
        })
    }
}

/// Reads a key as bytes, so that one that is no text does no harm.
pub(super) struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        // As its text: where serde_json makes bytes of a string, it lets control characters pass.
        let text = <&RawValue>::deserialize(deserializer)?.get();
        if text.contains('\\') {
            serde_json::Deserializer::from_str(text)
                .deserialize_bytes(self)
                .map_err(D::Error::custom)
        } else {
            Ok(Key::of(&text.as_bytes()[1..text.len() - 1]))
        }
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Key, E> {
        Ok(Key::of(key))
    }
}
