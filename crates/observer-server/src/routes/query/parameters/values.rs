//! Values of the parameters of one request.

use std::borrow::Cow;

use form_urlencoded as form;
use jiff::tz::TimeZone;
use observer_core::query::{QueryError, moment};
use observer_core::{Timestamp, suggest};

use super::{Kind, LABEL_PREFIX, Parameter};

/// Values of the parameters of a request. Names and values of the query string are decoded.
///
/// # Errors
/// Methods that return an error name the parameter, what it has, and what it should have.
#[derive(Debug)]
pub(in crate::routes) struct Values {
    declared: &'static [Parameter],
    pairs: Vec<(String, String)>,
    /// Present time, which ages refer to.
    now: Timestamp,
}

impl Values {
    /// Reads a query string.
    ///
    /// # Errors
    /// If it has a name that is not declared, or a value that is empty or not UTF-8.
    pub(in crate::routes) fn read(
        query: Option<&str>,
        declared: &'static [Parameter],
        now: Timestamp,
    ) -> Result<Self, QueryError> {
        let query = query.unwrap_or_default();
        let mut pairs = Vec::new();
        for (name, value) in form::parse(query.as_bytes()) {
            check_name(&name, declared)?;
            if value.is_empty() {
                let detail = "is empty; give a value, or leave it out";
                return Err(QueryError::bad_request(name.into_owned(), detail));
            }
            // The decoder puts this character in place of bytes that are not UTF-8.
            if value.contains(char::REPLACEMENT_CHARACTER) && !is_utf8(query) {
                return Err(QueryError::bad_request(name.into_owned(), "is not UTF-8"));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self { declared, pairs, now })
    }

    /// Returns whether the parameter is given.
    pub(in crate::routes::query) fn has(&self, name: &'static str) -> bool {
        self.all(name).next().is_some()
    }

    /// Returns the only value of a parameter.
    pub(in crate::routes) fn text(&self, name: &'static str) -> Result<Option<&str>, QueryError> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => {
                Err(QueryError::bad_request(name, "is given more than once; give one value"))
            }
        }
    }

    /// Returns the only value of a parameter as an owned string.
    pub(in crate::routes::query) fn string(
        &self,
        name: &'static str,
    ) -> Result<Option<String>, QueryError> {
        Ok(self.text(name)?.map(str::to_owned))
    }

    /// Returns the value of a parameter that takes the place of a segment of the path, or else that
    /// segment. Clients remove the segments `.` and `..` from a path, also if they are
    /// percent-encoded (WHATWG URL, section 4.4).
    pub(in crate::routes::query) fn segment(
        &self,
        segment: String,
        name: &'static str,
    ) -> Result<String, QueryError> {
        Ok(self.string(name)?.unwrap_or(segment))
    }

    /// Returns all values of a parameter.
    pub(in crate::routes) fn strings(&self, name: &'static str) -> Vec<String> {
        self.all(name).map(str::to_owned).collect()
    }

    /// Returns the value of a flag.
    pub(in crate::routes) fn flag(&self, name: &'static str) -> Result<Option<bool>, QueryError> {
        match self.text(name)? {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(value) => {
                let detail = format!("must be true or false, and is {value:?}");
                Err(QueryError::bad_request(name, detail))
            }
        }
    }

    /// Returns a number within the declared range.
    pub(in crate::routes::query) fn count(
        &self,
        name: &'static str,
    ) -> Result<Option<usize>, QueryError> {
        let Kind::Count { min, max } = self.kind(name) else {
            unreachable!("`{name}` is declared as a count")
        };
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => {
                let detail = format!("must be from {min} to {max}, and is {text:?}");
                Err(QueryError::bad_request(name, detail))
            }
        }
    }

    /// Returns the values of a parameter, of which `from_name` knows all that are declared.
    pub(in crate::routes::query) fn names<T>(
        &self,
        name: &'static str,
        from_name: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, QueryError> {
        let (Kind::AnyOf(known) | Kind::OneOf(known)) = self.kind(name) else {
            unreachable!("`{name}` is declared with a list of names")
        };
        let unknown = |value: &str| {
            let hint = suggest::hint(value, known, "the values are");
            QueryError::bad_request(name, format!("has the unknown value {value:?}; {hint}"))
        };
        self.all(name).map(|value| from_name(value).ok_or_else(|| unknown(value))).collect()
    }

    /// Returns the only value of a parameter with a list of names.
    pub(in crate::routes::query) fn name<T>(
        &self,
        name: &'static str,
        from_name: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, QueryError> {
        self.text(name)?;
        Ok(self.names(name, from_name)?.pop())
    }

    /// Returns the time zone; UTC if none is given.
    pub(in crate::routes::query) fn zone(
        &self,
        name: &'static str,
    ) -> Result<TimeZone, QueryError> {
        let Some(text) = self.text(name)? else { return Ok(TimeZone::UTC) };
        TimeZone::get(text).map_err(|_| {
            let detail = format!(
                "is not a time zone: {text:?}; give a name of the IANA database such as \
                 Europe/Berlin"
            );
            QueryError::bad_request(name, detail)
        })
    }

    /// Returns a moment. A date is one of the time zone.
    pub(in crate::routes::query) fn time(
        &self,
        name: &'static str,
        zone: &TimeZone,
    ) -> Result<Option<Timestamp>, QueryError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        moment::parse(text, self.now, zone).map(Some).ok_or_else(|| moment::invalid(name, text))
    }

    /// Returns `since` and `until`.
    pub(in crate::routes::query) fn window(
        &self,
        zone: &TimeZone,
    ) -> Result<(Option<Timestamp>, Option<Timestamp>), QueryError> {
        let (since, until) = (self.time("since", zone)?, self.time("until", zone)?);
        if let (Some(since), Some(until)) = (since, until)
            && until <= since
        {
            let detail = format!("must be later than `since`: {until} is not after {since}");
            return Err(QueryError::bad_request("until", detail));
        }
        Ok((since, until))
    }

    /// Returns labels by name and value.
    pub(in crate::routes) fn labels(&self) -> Vec<(String, String)> {
        let labels = self.pairs.iter().filter_map(|(name, value)| {
            name.strip_prefix(LABEL_PREFIX).map(|label| (label.to_owned(), value.clone()))
        });
        labels.collect()
    }

    /// Returns the query string with another cursor.
    pub(in crate::routes::query) fn with_cursor(&self, cursor: &str) -> String {
        let others = self.pairs.iter().filter(|(name, _)| name != "cursor");
        form::Serializer::new(String::new())
            .extend_pairs(others)
            .append_pair("cursor", cursor)
            .finish()
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        debug_assert!(self.declared.iter().any(|declared| declared.name == name), "{name}");
        let pairs = self.pairs.iter().filter(move |(known, _)| known == name);
        pairs.map(|(_, value)| value.as_str())
    }

    fn kind(&self, name: &'static str) -> Kind {
        let declared = self.declared.iter().find(|declared| declared.name == name);
        declared.expect("handlers read declared parameters only").kind
    }
}

fn is_utf8(query: &str) -> bool {
    percent_encoding::percent_decode_str(query).decode_utf8().is_ok()
}

fn check_name(name: &str, declared: &'static [Parameter]) -> Result<(), QueryError> {
    let is_declared = |parameter: &Parameter| match parameter.kind {
        Kind::Labels => name.strip_prefix(LABEL_PREFIX).is_some_and(|label| !label.is_empty()),
        _ => name == parameter.name,
    };
    if declared.iter().any(is_declared) {
        return Ok(());
    }
    let known: Vec<_> = declared.iter().map(Parameter::shown_name).collect();
    let hint = suggest::hint(name, &known, "the parameters are");
    let name: Cow<'static, str> = name.to_owned().into();
    Err(QueryError::bad_request(name, format!("is not a parameter of this route; {hint}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: &[Parameter] = &[
        Parameter::new("source", Kind::Texts, ""),
        Parameter::new("model", Kind::Text, ""),
        Parameter::new("ok", Kind::Flag, ""),
        Parameter::new("since", Kind::Time, ""),
        Parameter::new("until", Kind::Time, ""),
        Parameter::new("limit", Kind::Count { min: 1, max: 1_000 }, ""),
        Parameter::new("state", Kind::AnyOf(&["new", "fixed?"]), ""),
        Parameter::new("sort", Kind::OneOf(&["wasted", "recent"]), ""),
        Parameter::new("tz", Kind::Zone, ""),
        Parameter::new("cursor", Kind::Text, ""),
        Parameter::new("labels", Kind::Labels, ""),
    ];

    fn now() -> Timestamp {
        "2026-11-27T12:00:00Z".parse().unwrap()
    }

    fn read(query: &str) -> Result<Values, QueryError> {
        Values::read(Some(query), DECLARED, now())
    }

    fn values(query: &str) -> Values {
        read(query).unwrap()
    }

    #[track_caller]
    fn check_error<T: std::fmt::Debug>(result: Result<T, QueryError>, expected: &str) {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }

    #[test]
    fn values_are_decoded_and_may_repeat_where_declared() {
        let values =
            values("source=a+b&source=%C3%A9&model=gpt-oss%3A120b&label.a.b=x%26y&ok=true");
        assert_eq!(values.strings("source"), ["a b", "é"]);
        assert_eq!(values.text("model").unwrap(), Some("gpt-oss:120b"));
        assert_eq!(values.labels(), [("a.b".to_owned(), "x&y".to_owned())]);
        assert_eq!(values.flag("ok").unwrap(), Some(true));
        assert!(!values.has("limit"));
        assert_eq!(values.count("limit").unwrap(), None);
    }

    #[test]
    fn unknown_name_suggests_the_nearest() {
        for (query, expected) in [
            ("souce=a", "`souce` is not a parameter of this route; did you mean `source`?"),
            ("label=a", "`label` is not a parameter of this route; did you mean `label.NAME`?"),
            ("label.=a", "`label.` is not a parameter of this route; did you mean `label.NAME`?"),
            ("Limit=1", "`Limit` is not a parameter of this route; did you mean `limit`?"),
            (
                "x=1",
                "`x` is not a parameter of this route; the parameters are: `source`, `model`, \
                 `ok`, `since`, `until`, `limit`, `state`, `sort`, `tz`, `cursor`, `label.NAME`",
            ),
        ] {
            check_error(read(query), expected);
        }
    }

    #[test]
    fn errors_name_the_parameter_and_its_value() {
        check_error(read("model="), "`model` is empty; give a value, or leave it out");
        check_error(read("source=a&model=%ff"), "`model` is not UTF-8");
        assert_eq!(values("model=%EF%BF%BD").text("model").unwrap(), Some("\u{fffd}"));
        check_error(
            values("model=a&model=b").text("model"),
            "`model` is given more than once; give one value",
        );
        check_error(values("ok=1").flag("ok"), "`ok` must be true or false, and is \"1\"");
        for limit in ["0", "1001", "-1", "ten", "99999999999999999999"] {
            let expected = format!("`limit` must be from 1 to 1000, and is {limit:?}");
            check_error(values(&format!("limit={limit}")).count("limit"), &expected);
        }
        check_error(
            values("tz=Berlin").zone("tz"),
            "`tz` is not a time zone: \"Berlin\"; give a name of the IANA database such as \
             Europe/Berlin",
        );
        check_error(
            values("since=soon").window(&TimeZone::UTC),
            "`since` is not a time: \"soon\"; give a time such as 2026-11-22T17:00:00Z, a date \
             such as 2026-11-22, or an age such as 24h or 7d",
        );
        check_error(
            values("since=1h&until=2h").window(&TimeZone::UTC),
            "`until` must be later than `since`: 2026-11-27T10:00:00Z is not after \
             2026-11-27T11:00:00Z",
        );
    }

    #[test]
    fn parameter_takes_the_place_of_a_segment() {
        let segment = |query: &str| values(query).segment("-".into(), "model");
        assert_eq!(segment("").unwrap(), "-");
        assert_eq!(segment("model=..").unwrap(), "..");
        check_error(segment("model=a&model=b"), "`model` is given more than once; give one value");
    }

    #[test]
    fn label_may_have_several_values() {
        let labels = values("label.a=x&label.b=y&label.a=z").labels();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(labels, [pair("a", "x"), pair("b", "y"), pair("a", "z")]);
    }

    #[test]
    fn names_are_those_that_are_declared() {
        let parse = |name: &str| ["new", "fixed?"].into_iter().find(|known| *known == name);
        assert_eq!(values("state=new&state=fixed%3F").names("state", parse).unwrap().len(), 2);
        check_error(
            values("state=fixed").names("state", parse),
            "`state` has the unknown value \"fixed\"; did you mean `fixed?`?",
        );
        check_error(
            values("sort=wasted&sort=recent").name("sort", |_| Some(())),
            "`sort` is given more than once; give one value",
        );
    }

    #[test]
    fn window_ends_after_it_begins() {
        let (since, until) = values("since=2h&until=1h").window(&TimeZone::UTC).unwrap();
        assert!(since.unwrap() < until.unwrap());
        assert_eq!(values("").window(&TimeZone::UTC).unwrap(), (None, None));
    }

    #[test]
    fn next_page_has_the_same_parameters_and_another_cursor() {
        let next = values("source=a%20b&cursor=1&limit=2").with_cursor("x&y");
        assert_eq!(next, "source=a+b&limit=2&cursor=x%26y");
    }
}
