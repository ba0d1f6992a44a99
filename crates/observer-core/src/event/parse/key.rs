//! The keys of an event's object.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};
use serde_json::value::RawValue;

use super::super::field::Field;

/// Key of the outermost object.
pub(in super::super) enum Key {
    Field(Field),
    /// `event`, which holds the event in an envelope.
    Event,
    Unknown,
}

impl Key {
    pub(in super::super) fn of(key: &[u8]) -> Self {
        match Field::from_name(key) {
            Some(field) => Self::Field(field),
            None if key == b"event" => Self::Event,
            None => Self::Unknown,
        }
    }

    /// Returns whether secrets in the value are redacted. Other values have a meaning.
    pub(in super::super) fn is_redactable(&self) -> bool {
        matches!(self, Self::Unknown | Self::Event | Self::Field(Field::Extra | Field::Labels))
    }
}

/// Deserializes a key as bytes, so that a lone surrogate in an unknown key is not an error.
pub(super) struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        // `deserialize_bytes` of serde_json accepts control characters in a string, so the key is
        // first read as text, and as bytes only to resolve escapes.
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
