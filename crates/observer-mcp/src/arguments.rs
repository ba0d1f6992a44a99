//! Arguments of a call.

use jiff::tz::TimeZone;
use observer_core::query::{QueryError, moment};
use observer_core::{Timestamp, suggest};
use serde_json::{Map, Value};

use crate::definition::{Definition, Kind};

/// Longest text of an argument in bytes.
const MAX_TEXT: usize = 4_096;

/// Arguments of a call, by the parameters of its tool. A `null` is an absent argument. Models write
/// numbers as text and text as numbers; both are understood.
///
/// # Errors
/// Methods that return an error name the parameter, what it has, and what it should have.
pub(crate) struct Arguments<'a> {
    definition: &'a Definition,
    values: Map<String, Value>,
    /// Present time, which ages refer to.
    pub(crate) now: Timestamp,
}

/// Window of time; both ends are optional.
pub(crate) type Window = (Option<Timestamp>, Option<Timestamp>);

impl<'a> Arguments<'a> {
    /// Reads the arguments of a call.
    ///
    /// # Errors
    /// If the tool has no parameter of a name.
    pub(crate) fn read(
        definition: &'a Definition,
        mut values: Map<String, Value>,
        now: Timestamp,
    ) -> Result<Self, QueryError> {
        values.retain(|_, value| !value.is_null());
        let known: Vec<_> = definition.parameters.iter().map(|parameter| parameter.name).collect();
        match values.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(Self { definition, values, now }),
            Some(name) => {
                let hint = suggest::hint(name, &known, "the parameters are");
                let detail = format!("is not a parameter of `{}`; {hint}", definition.name);
                Err(QueryError::bad_request(name.clone(), detail))
            }
        }
    }

    /// Returns the names of the given arguments.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Returns a text.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<String>, QueryError> {
        self.values.get(name).map(|value| text(name, value)).transpose()
    }

    /// Returns a text that must be given.
    pub(crate) fn required(&self, name: &'static str) -> Result<String, QueryError> {
        self.text(name)?.ok_or_else(|| QueryError::bad_request(name, "is missing"))
    }

    /// Returns a text as a list of at most one value.
    pub(crate) fn texts(&self, name: &'static str) -> Result<Vec<String>, QueryError> {
        Ok(self.text(name)?.into_iter().collect())
    }

    /// Returns a flag.
    pub(crate) fn flag(&self, name: &'static str) -> Result<Option<bool>, QueryError> {
        let Some(value) = self.values.get(name) else { return Ok(None) };
        match value {
            Value::Bool(flag) => Ok(Some(*flag)),
            Value::String(text) if text == "true" => Ok(Some(true)),
            Value::String(text) if text == "false" => Ok(Some(false)),
            _ => Err(wrong(name, "must be true or false", value)),
        }
    }

    /// Returns a number within the range of the parameter.
    pub(crate) fn count(&self, name: &'static str) -> Result<Option<usize>, QueryError> {
        let Kind::Count { min, max } = self.kind(name) else {
            unreachable!("`{name}` is declared as a count")
        };
        let Some(value) = self.values.get(name) else { return Ok(None) };
        let number = match value {
            Value::String(text) => text.parse().ok(),
            _ => value.as_u64().and_then(|number| usize::try_from(number).ok()),
        };
        match number {
            Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(wrong(name, &format!("must be from {min} to {max}"), value)),
        }
    }

    /// Returns one of the names of the parameter, of which `from_name` knows all.
    pub(crate) fn name<T>(
        &self,
        name: &'static str,
        from_name: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, QueryError> {
        let Kind::OneOf(known) = self.kind(name) else {
            unreachable!("`{name}` is declared with a list of names")
        };
        let Some(text) = self.text(name)? else { return Ok(None) };
        from_name(&text).map(Some).ok_or_else(|| {
            let hint = suggest::hint(&text, known, "the values are");
            QueryError::bad_request(name, format!("has the unknown value {text:?}; {hint}"))
        })
    }

    /// Returns labels by name and value.
    pub(crate) fn labels(&self, name: &'static str) -> Result<Vec<(String, String)>, QueryError> {
        let Some(value) = self.values.get(name) else { return Ok(Vec::new()) };
        let Value::Object(labels) = value else {
            return Err(wrong(name, "must be an object such as {\"branch\":\"main\"}", value));
        };
        labels.iter().map(|(label, value)| Ok((label.clone(), text(name, value)?))).collect()
    }

    /// Returns the time zone; UTC if none is given.
    pub(crate) fn zone(&self, name: &'static str) -> Result<TimeZone, QueryError> {
        let Some(text) = self.text(name)? else { return Ok(TimeZone::UTC) };
        TimeZone::get(&text).map_err(|_| {
            let detail = format!(
                "is not a time zone: {text:?}; give a name of the IANA database such as \
                 Europe/Berlin"
            );
            QueryError::bad_request(name, detail)
        })
    }

    /// Returns `since`, for which there may be a default, and `until`.
    pub(crate) fn window(
        &self,
        default: Option<&'static str>,
        zone: &TimeZone,
    ) -> Result<Window, QueryError> {
        let since = self.text("since")?.or_else(|| default.map(str::to_owned));
        let time = |name, text: Option<String>| match text {
            None => Ok(None),
            Some(text) => match moment::parse(&text, self.now, zone) {
                Some(time) => Ok(Some(time)),
                None => Err(moment::invalid(name, &text)),
            },
        };
        let since = time("since", since)?;
        let until =
            if self.is_declared("until") { time("until", self.text("until")?)? } else { None };
        if let (Some(since), Some(until)) = (since, until)
            && until <= since
        {
            let detail = format!("must be later than `since`: {until} is not after {since}");
            return Err(QueryError::bad_request("until", detail));
        }
        Ok((since, until))
    }

    fn is_declared(&self, name: &str) -> bool {
        self.definition.parameters.iter().any(|parameter| parameter.name == name)
    }

    fn kind(&self, name: &'static str) -> Kind {
        let declared = self.definition.parameters.iter().find(|declared| declared.name == name);
        declared.expect("tools read declared parameters only").kind
    }
}

fn text(name: &'static str, value: &Value) -> Result<String, QueryError> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(wrong(name, "must be a string", value)),
    };
    if text.is_empty() {
        return Err(QueryError::bad_request(name, "is empty; give a value, or leave it out"));
    }
    if text.len() > MAX_TEXT {
        let detail = format!("has {} bytes; give at most {MAX_TEXT}", text.len());
        return Err(QueryError::bad_request(name, detail));
    }
    Ok(text)
}

fn wrong(name: &'static str, expected: &str, value: &Value) -> QueryError {
    QueryError::bad_request(name, format!("{expected}, and is {value}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::definition::{Parameter, UNTIL};

    const DEFINITION: Definition = Definition {
        name: "tool",
        description: "",
        parameters: &[
            Parameter::new("source", Kind::Text, ""),
            Parameter::new("sig_hash", Kind::Required, ""),
            Parameter::new("ok", Kind::Flag, ""),
            Parameter::new("limit", Kind::Count { min: 1, max: 50 }, ""),
            Parameter::new("sort", Kind::OneOf(&["wasted", "recent"]), ""),
            Parameter::new("labels", Kind::Labels, ""),
            Parameter::new("since", Kind::Text, ""),
            UNTIL,
            Parameter::new("tz", Kind::Text, ""),
        ],
    };

    fn read(values: Value) -> Result<Arguments<'static>, QueryError> {
        let Value::Object(values) = values else { panic!("{values} is no object") };
        Arguments::read(&DEFINITION, values, "2026-11-27T12:00:00Z".parse().unwrap())
    }

    fn arguments(values: Value) -> Arguments<'static> {
        read(values).unwrap()
    }

    #[track_caller]
    fn check_error<T>(result: Result<T, QueryError>, expected: &str) {
        let error = result.err().expect("an error");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn values_are_read_also_from_text_and_numbers() {
        let values = arguments(json!({
            "source": 7, "limit": "5", "ok": "false", "sort": "recent",
            "labels": {"branch": "main", "n": 1}, "sig_hash": null,
        }));
        assert_eq!(values.text("source").unwrap(), Some("7".into()));
        assert_eq!(values.count("limit").unwrap(), Some(5));
        assert_eq!(values.flag("ok").unwrap(), Some(false));
        assert_eq!(values.name("sort", |name| Some(name.len())).unwrap(), Some(6));
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let labels = values.labels("labels").unwrap();
        assert_eq!(labels, [label("branch", "main"), label("n", "1")]);
        assert_eq!(values.text("sig_hash").unwrap(), None);
        assert_eq!(arguments(json!({"limit": 5})).count("limit").unwrap(), Some(5));
    }

    #[test]
    fn errors_name_the_parameter_and_its_value() {
        let one =
            |name: &str, value: Value| arguments(Map::from_iter([(name.into(), value)]).into());
        check_error(
            read(json!({"limt": 5})),
            "`limt` is not a parameter of `tool`; did you mean `limit`?",
        );
        check_error(
            one("limit", json!(51)).count("limit"),
            "`limit` must be from 1 to 50, and is 51",
        );
        check_error(
            one("limit", json!("many")).count("limit"),
            "`limit` must be from 1 to 50, and is \"many\"",
        );
        check_error(
            one("limit", json!(-1)).count("limit"),
            "`limit` must be from 1 to 50, and is -1",
        );
        check_error(one("ok", json!(1)).flag("ok"), "`ok` must be true or false, and is 1");
        check_error(
            one("source", json!([1])).text("source"),
            "`source` must be a string, and is [1]",
        );
        check_error(
            one("source", json!("")).text("source"),
            "`source` is empty; give a value, or leave it out",
        );
        check_error(
            one("source", json!("x".repeat(5_000))).text("source"),
            "`source` has 5000 bytes; give at most 4096",
        );
        check_error(arguments(json!({})).required("sig_hash"), "`sig_hash` is missing");
        check_error(
            one("sort", json!("recnt")).name("sort", |_| None::<()>),
            "`sort` has the unknown value \"recnt\"; did you mean `recent`?",
        );
        check_error(
            one("labels", json!("main")).labels("labels"),
            "`labels` must be an object such as {\"branch\":\"main\"}, and is \"main\"",
        );
        check_error(
            one("tz", json!("Berlin")).zone("tz"),
            "`tz` is not a time zone: \"Berlin\"; give a name of the IANA database such as \
             Europe/Berlin",
        );
    }

    #[test]
    fn window_ends_after_it_begins() {
        let window = |values| arguments(values).window(Some("24h"), &TimeZone::UTC);
        let (since, until) = window(json!({})).unwrap();
        assert_eq!((since.unwrap().to_string(), until), ("2026-11-26T12:00:00Z".into(), None));
        let (since, until) = window(json!({"since": "2h", "until": "1h"})).unwrap();
        assert!(since < until);
        check_error(
            window(json!({"since": "1h", "until": "2h"})),
            "`until` must be later than `since`: 2026-11-27T10:00:00Z is not after \
             2026-11-27T11:00:00Z",
        );
        check_error(
            window(json!({"since": "soon"})),
            "`since` is not a time: \"soon\"; give a time such as 2026-11-22T17:00:00Z, a date \
             such as 2026-11-22, or an age such as 24h or 7d",
        );
    }
}
