//! The fields of an event that the observer does not read.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::field::Field;
use crate::scan;

/// Returns the fields that are not in [`Field`], each with its value as JSON text, in the order of
/// the event. Invalid Unicode in a name is replaced by U+FFFD.
pub(super) fn other_fields(event: &str) -> Vec<(Cow<'_, str>, &str)> {
    let mut found = Vec::new();
    let scanned = scan::members(event, |key, range| {
        if is_other(key) {
            found.push((Cow::Borrowed(key), &event[range]));
        }
    });
    if scanned.is_none() {
        found = serde_json::Deserializer::from_str(event)
            .deserialize_map(OtherFields)
            .unwrap_or_default();
    }
    found
}

fn is_other(name: &str) -> bool {
    Field::from_name(name.as_bytes()).is_none()
}

/// Collects the other fields of an object that [`scan`] does not accept.
struct OtherFields;

impl<'de> Visitor<'de> for OtherFields {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            let value = map.next_value::<&RawValue>()?.get();
            if is_other(&name) {
                found.push((name, value));
            }
        }
        Ok(found)
    }
}

/// Deserializes a key, which need not be valid Unicode.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        if text.contains('\\') {
            let unescaped = serde_json::Deserializer::from_str(text).deserialize_bytes(Self);
            Ok(Cow::Owned(unescaped.map_err(D::Error::custom)?.into_owned()))
        } else {
            Ok(Cow::Borrowed(&text[1..text.len() - 1]))
        }
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(String::from_utf8_lossy(key).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use crate::Event;

    #[test]
    fn other_fields_keep_their_json_text() {
        let event = concat!(
            r#"{"source":"s","team":"red","event_kind":"k","ok":true,"#,
            r#""tags":[1, 2],"extra":{"x":1},"none":null}"#,
        );
        let event = Event::parse(event).unwrap();
        let expected = [("team", r#""red""#), ("tags", "[1, 2]"), ("none", "null")];
        assert_eq!(
            event.other_fields().iter().map(|(key, value)| (&**key, *value)).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn other_fields_may_have_escapes_in_their_names() {
        let event = r#"{"source":"s","event_kind":"k","\u006fk":true,"a\"b":1,"\ud800":2}"#;
        let event = Event::parse(event).unwrap();
        let others = event.other_fields();
        assert_eq!(others.iter().map(|(_, value)| *value).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(others[0].0, "a\"b");
        assert!(others[1].0.starts_with('\u{fffd}'), "{others:?}");
    }
}
