//! Selection of past events, from flags.

use std::str::FromStr;
use std::time::SystemTime;

use anyhow::ensure;
use observer_core::{Field, Filter, Timestamp};
use serde_json::{Map, Value, json};

/// Field with a value that it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    field: Field,
    value: Value,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            let fields = Filter::FIELDS.map(Field::as_str).join(", ");
            format!("expected FIELD=VALUE, where FIELD is one of {fields}")
        };
        let (name, value) = text.split_once('=').ok_or_else(expected)?;
        let field =
            Filter::FIELDS.into_iter().find(|field| field.as_str() == name).ok_or_else(expected)?;
        let value = match (field, value) {
            (Field::Ok, "true") => true.into(),
            (Field::Ok, "false") => false.into(),
            (Field::Ok, _) => return Err("ok must be true or false".to_owned()),
            _ => value.into(),
        };
        Ok(Self { field, value })
    }
}

/// Parses a time in RFC 3339, or an age relative to now, and returns the time in RFC 3339.
pub(super) fn time(text: &str) -> Result<String, String> {
    if text.parse::<Timestamp>().is_ok() {
        return Ok(text.to_owned());
    }
    let age = humantime::parse_duration(text).map_err(|_| {
        "expected a time such as 2026-11-22T17:00:00Z, or an age such as 2h or 30d".to_owned()
    })?;
    let then = SystemTime::from(Timestamp::now())
        .checked_sub(age)
        .filter(|then| *then >= SystemTime::UNIX_EPOCH);
    Ok(humantime::format_rfc3339_micros(then.unwrap_or(SystemTime::UNIX_EPOCH)).to_string())
}

/// Returns the body of the request that starts a replay.
///
/// # Errors
/// If `ok` has more than one value.
pub(super) fn body(
    since: &str,
    until: Option<&str>,
    conditions: &[Condition],
) -> anyhow::Result<String> {
    let mut filter = Map::new();
    for Condition { field, value } in conditions {
        if *field == Field::Ok {
            let previous = filter.insert(field.as_str().to_owned(), value.clone());
            ensure!(previous.is_none(), "--filter ok is given twice; give it once, or not at all");
        } else if let Value::Array(values) =
            filter.entry(field.as_str()).or_insert_with(|| json!([]))
        {
            values.push(value.clone());
        }
    }
    let mut body = json!({ "since": since, "filter": filter });
    if let Some(until) = until {
        body["until"] = until.into();
    }
    Ok(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(texts: &[&str]) -> Vec<Condition> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn conditions_become_a_filter() {
        let several = conditions(&["ok=false", "source=bot", "source=a=b"]);
        assert_eq!(
            body("S", Some("U"), &several).unwrap(),
            r#"{"filter":{"ok":false,"source":["bot","a=b"]},"since":"S","until":"U"}"#
        );
        assert_eq!(body("S", None, &[]).unwrap(), r#"{"filter":{},"since":"S"}"#);
        assert!(body("S", None, &conditions(&["ok=true", "ok=false"])).is_err());
        for bad in ["ok", "ok=yes", "model=x", "=x"] {
            assert!(bad.parse::<Condition>().is_err(), "{bad}");
        }
    }

    #[test]
    fn time_is_absolute_or_an_age() {
        assert_eq!(time("2026-11-22T17:00:00+01:00").unwrap(), "2026-11-22T17:00:00+01:00");
        let ago: Timestamp = time("2h").unwrap().parse().unwrap();
        let seconds = Timestamp::now().duration_since(ago).as_secs();
        assert!((7195..7300).contains(&seconds), "{seconds}");
        assert_eq!(time("1000y").unwrap(), "1970-01-01T00:00:00.000000Z");
        assert!(time("yesterday").is_err());
    }
}
