//! The fields of an event that nobody here has a name for.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::keys::Key;
use crate::scan;

/// Each of them with its value as JSON text, in the order of the event. A key that is no Unicode
/// text is told as far as it is.
pub(crate) fn others(event: &str) -> Vec<(Cow<'_, str>, &str)> {
    let mut found = Vec::new();
    let scanned = scan::members(event, |key, range| {
        if !is_known(key.as_bytes()) {
            found.push((Cow::Borrowed(key), &event[range]));
        }
    });
    if scanned.is_none() {
        found =
            serde_json::Deserializer::from_str(event).deserialize_map(Others).unwrap_or_default();
    }
    found
}

fn is_known(key: &[u8]) -> bool {
    matches!(Key::of(key), Key::Known(_))
}

struct Others;

impl<'de> Visitor<'de> for Others {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(key) = map.next_key_seed(Name)? {
            let value = map.next_value::<&RawValue>()?.get();
            if !is_known(key.as_bytes()) {
                found.push((key, value));
            }
        }
        Ok(found)
    }
}

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
    fn unknown_fields_are_told_whatever_they_are() {
        let event = r#"{"source":"s","team":"red","event_kind":"k","ok":true,"tags":[1, 2],"extra":{"x":1},"none":null}"#;
        let event = Event::parse(event).unwrap();
        let expected = [("team", r#""red""#), ("tags", "[1, 2]"), ("none", "null")];
        assert_eq!(
            event.other_fields().iter().map(|(key, value)| (&**key, *value)).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn so_are_those_with_escapes_in_their_keys() {
        let event = r#"{"source":"s","event_kind":"k","\u006fk":true,"a\"b":1,"\ud800":2}"#;
        let event = Event::parse(event).unwrap();
        let others = event.other_fields();
        assert_eq!(others.iter().map(|(_, value)| *value).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(others[0].0, "a\"b");
        assert!(others[1].0.starts_with('\u{fffd}'), "{others:?}");
    }
}
