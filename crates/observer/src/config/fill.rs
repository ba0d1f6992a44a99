//! Environment variables and files, filled into string values.
//!
//! | in a string | becomes |
//! |---|---|
//! | `${NAME}` | the environment variable; an error where it isn't set |
//! | `${NAME:-default}` | the same, or `default` where it is unset or empty |
//! | `${file:/run/secrets/token}` | the file's text, without one line feed at its end |
//! | `$$` | `$` |
//!
//! This happens after the file was parsed, so that what is filled in can't change its structure,
//! and only once: what is filled in is not searched again. Which values came to be in this way is
//! remembered, since they may be secrets.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};

use super::Problem;
use super::key::KeyPath;

/// Where environment variables come from.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Which values were filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filled(Vec<KeyPath>);

impl Filled {
    /// Whether an error about this value, or a value around it, might repeat what was filled in.
    pub(crate) fn touches(&self, path: &KeyPath) -> bool {
        self.0.iter().any(|filled| filled.meets(path))
    }

    /// Those within one table, as seen from it.
    pub(crate) fn within(&self, start: &KeyPath) -> Self {
        Self(self.0.iter().filter_map(|path| path.after(start)).collect())
    }
}

/// Fill in every string value of the table.
pub(crate) fn fill(
    table: &mut toml::Table,
    environment: Environment<'_>,
) -> Result<Filled, Vec<Problem>> {
    let mut filler = Filler { environment, filled: Filled::default(), problems: Vec::new() };
    filler.table(table, &KeyPath::default());
    if filler.problems.is_empty() { Ok(filler.filled) } else { Err(filler.problems) }
}

struct Filler<'a> {
    environment: Environment<'a>,
    filled: Filled,
    problems: Vec<Problem>,
}

impl Filler<'_> {
    fn table(&mut self, table: &mut toml::Table, path: &KeyPath) {
        for (key, value) in table.iter_mut() {
            self.value(value, path.key(key));
        }
    }

    fn value(&mut self, value: &mut toml::Value, path: KeyPath) {
        match value {
            toml::Value::Table(table) => self.table(table, &path),
            toml::Value::Array(values) => {
                for (index, value) in values.iter_mut().enumerate() {
                    self.value(value, path.index(index));
                }
            }
            toml::Value::String(text) if text.contains('$') => match expand(text, self.environment)
            {
                Ok((expanded, was_filled)) => {
                    *text = expanded;
                    if was_filled {
                        self.filled.0.push(path);
                    }
                }
                Err(message) => self.problems.push(Problem::new(path, message)),
            },
            _ => {}
        }
    }
}

/// The text with everything filled in, and whether there was anything but `$$`.
fn expand(text: &str, environment: Environment<'_>) -> Result<(String, bool), String> {
    let (mut expanded, mut was_filled) = (String::with_capacity(text.len()), false);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(reference) = after.strip_prefix('{') {
            let (reference, after) = reference
                .split_once('}')
                .ok_or("there is a `${` without a `}`; a plain `$` is written `$$`")?;
            expanded.push_str(&look_up(reference, environment)?);
            was_filled = true;
            rest = after;
        } else {
            expanded.push('$');
            rest = after.strip_prefix('$').unwrap_or(after);
        }
    }
    expanded.push_str(rest);
    Ok((expanded, was_filled))
}

fn look_up(reference: &str, environment: Environment<'_>) -> Result<String, String> {
    if let Some(path) = reference.strip_prefix("file:") {
        let mut text =
            read(path).map_err(|error| format!("the file {path} can't be read: {error}"))?;
        let content = text.strip_suffix('\n').map_or(text.len(), str::len);
        text.truncate(content);
        return Ok(text);
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(format!(
            "`${{{reference}}}` is neither `${{NAME}}` nor `${{file:PATH}}`; a plain `$` is written `$$`"
        ));
    }
    match (environment(name), default) {
        (Some(value), default) => {
            let value = value
                .into_string()
                .map_err(|_| format!("the value of environment variable {name} is not UTF-8"))?;
            Ok(default.filter(|_| value.is_empty()).map_or(value, str::to_owned))
        }
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!("environment variable {name} is not set")),
    }
}

/// A device may go on for ever, so there is an end to what is read.
fn read(path: &str) -> io::Result<String> {
    const MOST: u64 = 1 << 20;
    let mut text = String::new();
    if File::open(path)?.take(MOST + 1).read_to_string(&mut text)? as u64 > MOST {
        return Err(io::Error::other("it holds more than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<OsString> {
        match name {
            "TOKEN" => Some("t0p".into()),
            "EMPTY" => Some("".into()),
            "TRICKY" => Some("a\"\nb = ${TOKEN}".into()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let expanded = expand(text, &environment).map(|(text, _)| text);
        assert_eq!(expanded.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn references_in_strings_are_filled_in() {
        check("Bearer ${TOKEN}!", Ok("Bearer t0p!"));
        check("${TOKEN}${TOKEN}", Ok("t0pt0p"));
        check("${TRICKY}", Ok("a\"\nb = ${TOKEN}"));
        check("${EMPTY}", Ok(""));
        check("${EMPTY:-here}", Ok("here"));
        check("${GONE:-http://[::1]:1}", Ok("http://[::1]:1"));
        check("5$ and $$ and $${TOKEN}", Ok("5$ and $ and ${TOKEN}"));
        check("${GONE}", Err("environment variable GONE is not set"));
        check("${TOKEN", Err("there is a `${` without a `}`; a plain `$` is written `$$`"));
        check(
            "${a b}",
            Err("`${a b}` is neither `${NAME}` nor `${file:PATH}`; a plain `$` is written `$$`"),
        );
    }

    #[test]
    fn a_file_is_filled_in_without_its_last_line_feed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "one\ntwo\n\n").unwrap();
        check(&format!("<${{file:{}}}>", file.display()), Ok("<one\ntwo\n>"));
        File::options().write(true).open(&file).unwrap().set_len((1 << 20) + 1).unwrap();
        let error = expand(&format!("${{file:{}}}", file.display()), &environment).unwrap_err();
        assert!(error.ends_with("can't be read: it holds more than 1 MiB"), "{error}");
        let error = expand("${file:/no/such/file}", &environment).unwrap_err();
        assert!(error.starts_with("the file /no/such/file can't be read: "), "{error}");
    }

    #[test]
    fn what_was_filled_in_is_remembered_by_its_place() {
        let mut table: toml::Table = toml::from_str(r#"a.b = ["x", "${TOKEN}"]"#).unwrap();
        let filled = fill(&mut table, &environment).unwrap();
        assert_eq!(table, toml::from_str(r#"a.b = ["x", "t0p"]"#).unwrap());
        let list = KeyPath::of(["a", "b"]);
        assert!(
            filled.touches(&list)
                && filled.touches(&list.index(1))
                && !filled.touches(&list.index(0))
        );
        assert!(filled.within(&KeyPath::of(["a"])).touches(&KeyPath::of(["b"])));
    }
}
