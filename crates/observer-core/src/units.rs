//! Deserialization of durations (`"1h 30m"`) and sizes (`"10GiB"`) with their units, for
//! `#[serde(deserialize_with = "…")]`.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};

/// Deserializes a duration such as `"500ms"` or `"24h"`.
///
/// # Errors
/// If the value is not a string with a number and a unit.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(Quantity::<Duration>(PhantomData))
}

/// Deserializes a [`duration`] that may be absent.
///
/// # Errors
/// If a value is present and not a duration.
pub fn optional_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// Deserializes a size in bytes such as `"10GiB"`, `"1MB"` or `4096`.
///
/// # Errors
/// If the value is neither a whole number nor a string with a number and a unit.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(Quantity::<u64>(PhantomData))
}

/// Deserializes a [`size`] that may be absent.
///
/// # Errors
/// If a value is present and not a size.
pub fn optional_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    size(deserializer).map(Some)
}

/// Visitor for a quantity with its unit.
struct Quantity<T>(PhantomData<T>);

impl Visitor<'_> for Quantity<Duration> {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit in quotes, such as \"500ms\", \"30s\" or \"24h\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        humantime::parse_duration(text)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

impl Visitor<'_> for Quantity<u64> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"64KiB\", \"1MiB\" or \"10GiB\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        text.parse::<bytesize::ByteSize>()
            .map(|size| size.as_u64())
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E>(self, bytes: u64) -> Result<u64, E> {
        Ok(bytes)
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<u64, E> {
        u64::try_from(bytes)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(bytes), &self))
    }
}

#[cfg(test)]
mod tests {
    use crate::{BatchSettings, RetrySettings};

    #[test]
    fn durations_and_sizes_have_units() {
        let batch: BatchSettings =
            serde_json::from_str(r#"{"max_bytes":"1MiB","linger":"1s"}"#).unwrap();
        assert_eq!(batch.max_bytes, Some(1 << 20));
        assert_eq!(batch.linger.unwrap().as_secs(), 1);
        assert_eq!(batch.max_events, None);
    }

    #[test]
    fn error_for_an_invalid_quantity_contains_an_example() {
        let error = serde_json::from_str::<RetrySettings>(r#"{"initial":"5 parsecs"}"#)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(
                r#"invalid value: string "5 parsecs", expected a duration with its unit in quotes"#
            ),
            "{error}"
        );
        let error =
            serde_json::from_str::<BatchSettings>(r#"{"max_bytes":-1}"#).unwrap_err().to_string();
        assert!(
            error.starts_with("invalid value: integer `-1`, expected a size such as"),
            "{error}"
        );
    }
}
