//! Which past events, from flags.

use std::str::FromStr;
use std::time::SystemTime;

use anyhow::ensure;
use observer_core::Timestamp;
use serde_json::{Map, Value, json};

const FIELDS: [&str; 6] = ["ok", "source", "event_kind", "sig_hash", "cycle_id", "staffer_id"];

/// A field and a value that will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    field: &'static str,
    value: Value,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || format!("it is FIELD=VALUE, and the fields are {}", FIELDS.join(", "));
        let (name, value) = text.split_once('=').ok_or_else(known)?;
        let field = FIELDS.into_iter().find(|field| *field == name).ok_or_else(known)?;
        let value = match (field, value) {
            ("ok", "true") => true.into(),
            ("ok", "false") => false.into(),
            ("ok", _) => return Err("ok is true or false".to_owned()),
            _ => value.into(),
        };
        Ok(Self { field, value })
    }
}

/// A time as the observer takes it, given as one or as how long ago it was.
pub(super) fn moment(text: &str) -> Result<String, String> {
    if text.parse::<Timestamp>().is_ok() {
        return Ok(text.to_owned());
    }
    let age = humantime::parse_duration(text).map_err(|_| {
        "it is a time such as 2026-11-22T17:00:00Z, or how long ago, such as 2h or 30d".to_owned()
    })?;
    let then = SystemTime::now().checked_sub(age).filter(|then| *then >= SystemTime::UNIX_EPOCH);
    Ok(humantime::format_rfc3339_micros(then.unwrap_or(SystemTime::UNIX_EPOCH)).to_string())
}

/// What is asked of the observer.
pub(super) fn body(
    since: &str,
    until: Option<&str>,
    conditions: &[Condition],
) -> anyhow::Result<String> {
    let mut filter = Map::new();
    for Condition { field, value } in conditions {
        if *field == "ok" {
            ensure!(filter.insert("ok".to_owned(), value.clone()).is_none(), "ok is given twice");
        } else if let Value::Array(values) = filter.entry(*field).or_insert_with(|| json!([])) {
            values.push(value.clone());
        }
    }
    let mut wanted = json!({ "since": since, "filter": filter });
    if let Some(until) = until {
        wanted["until"] = until.into();
    }
    Ok(wanted.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(texts: &[&str]) -> Vec<Condition> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn conditions_become_a_filter() {
        let wanted = conditions(&["ok=false", "source=bot", "source=a=b"]);
        assert_eq!(
            body("S", Some("U"), &wanted).unwrap(),
            r#"{"filter":{"ok":false,"source":["bot","a=b"]},"since":"S","until":"U"}"#
        );
        assert_eq!(body("S", None, &[]).unwrap(), r#"{"filter":{},"since":"S"}"#);
        assert!(body("S", None, &conditions(&["ok=true", "ok=false"])).is_err());
        for bad in ["ok", "ok=yes", "model=x", "=x"] {
            assert!(bad.parse::<Condition>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_is_one_or_how_long_ago_it_was() {
        assert_eq!(moment("2026-11-22T17:00:00+01:00").unwrap(), "2026-11-22T17:00:00+01:00");
        let ago: Timestamp = moment("2h").unwrap().parse().unwrap();
        let seconds = Timestamp::now().duration_since(ago).as_secs();
        assert!((7195..7300).contains(&seconds), "{seconds}");
        assert_eq!(moment("1000y").unwrap(), "1970-01-01T00:00:00.000000Z");
        assert!(moment("yesterday").is_err());
    }
}
