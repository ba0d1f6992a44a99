//! Substitution of environment variables and files in string values.
//!
//! | in a string | replacement |
//! |---|---|
//! | `${NAME}` | the environment variable; an error if it is unset |
//! | `${NAME:-default}` | the environment variable, or `default` if it is unset or empty |
//! | `${file:/run/secrets/token}` | the content of the file without one trailing line feed |
//! | `$$` | `$` |
//!
//! Substitution follows TOML parsing, so that a replacement can't change the structure of the file.
//! A replacement is not substituted again. [`Substituted`] records the changed values, since they
//! may be secrets.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};

use super::key_path::KeyPath;
use crate::config::Problem;

/// Lookup of an environment variable by name.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Paths of the values that contain a substitution.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Substituted(Vec<KeyPath>);

impl Substituted {
    /// Returns whether an error about this value could reveal a substitution: the value contains
    /// one, or is part of one.
    pub(crate) fn touches(&self, path: &KeyPath) -> bool {
        self.0.iter().any(|substituted| substituted.overlaps(path))
    }

    /// Returns the paths within one table, relative to it.
    pub(crate) fn within(&self, start: &KeyPath) -> Self {
        Self(self.0.iter().filter_map(|path| path.strip_prefix(start)).collect())
    }
}

/// Substitutes every string value of the table.
///
/// # Errors
/// If a value refers to an unset variable or an unreadable file; the error holds a problem for
/// each.
pub(crate) fn substitute(
    table: &mut toml::Table,
    environment: Environment<'_>,
) -> Result<Substituted, Vec<Problem>> {
    let mut pass = Pass { environment, substituted: Substituted::default(), problems: Vec::new() };
    pass.table(table, &KeyPath::default());
    if pass.problems.is_empty() { Ok(pass.substituted) } else { Err(pass.problems) }
}

struct Pass<'a> {
    environment: Environment<'a>,
    substituted: Substituted,
    problems: Vec<Problem>,
}

impl Pass<'_> {
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
                Ok((expanded, was_substituted)) => {
                    *text = expanded;
                    if was_substituted {
                        self.substituted.0.push(path);
                    }
                }
                Err(message) => self.problems.push(Problem::new(path, message)),
            },
            _ => {}
        }
    }
}

/// Returns the expanded text, and whether it contains a reference other than `$$`.
fn expand(text: &str, environment: Environment<'_>) -> Result<(String, bool), String> {
    let (mut expanded, mut was_substituted) = (String::with_capacity(text.len()), false);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(reference) = after.strip_prefix('{') {
            let (reference, after) = reference
                .split_once('}')
                .ok_or("`${` without a `}`; write `$$` for a plain `$`")?;
            expanded.push_str(&look_up(reference, environment)?);
            was_substituted = true;
            rest = after;
        } else {
            expanded.push('$');
            rest = after.strip_prefix('$').unwrap_or(after);
        }
    }
    expanded.push_str(rest);
    Ok((expanded, was_substituted))
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
            "`${{{reference}}}` is neither `${{NAME}}` nor `${{file:PATH}}`; \
             write `$$` for a plain `$`"
        ));
    }
    match (environment(name), default) {
        (Some(value), default) => {
            let value = value
                .into_string()
                .map_err(|_| format!("environment variable {name} is not UTF-8"))?;
            Ok(default.filter(|_| value.is_empty()).map_or(value, str::to_owned))
        }
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!("environment variable {name} is not set")),
    }
}

/// Reads a file of at most 1 MiB. The limit bounds reads of devices.
fn read(path: &str) -> io::Result<String> {
    const MAX_SIZE: u64 = 1 << 20;
    let mut text = String::new();
    if File::open(path)?.take(MAX_SIZE + 1).read_to_string(&mut text)? as u64 > MAX_SIZE {
        return Err(io::Error::other("the file is larger than 1 MiB"));
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
    fn references_are_substituted() {
        check("Bearer ${TOKEN}!", Ok("Bearer t0p!"));
        check("${TOKEN}${TOKEN}", Ok("t0pt0p"));
        check("${TRICKY}", Ok("a\"\nb = ${TOKEN}"));
        check("${EMPTY}", Ok(""));
        check("${EMPTY:-here}", Ok("here"));
        check("${GONE:-http://[::1]:1}", Ok("http://[::1]:1"));
        check("5$ and $$ and $${TOKEN}", Ok("5$ and $ and ${TOKEN}"));
        check("${GONE}", Err("environment variable GONE is not set"));
        check("${TOKEN", Err("`${` without a `}`; write `$$` for a plain `$`"));
        check(
            "${a b}",
            Err("`${a b}` is neither `${NAME}` nor `${file:PATH}`; write `$$` for a plain `$`"),
        );
    }

    #[test]
    fn file_content_loses_one_trailing_line_feed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "one\ntwo\n\n").unwrap();
        check(&format!("<${{file:{}}}>", file.display()), Ok("<one\ntwo\n>"));
        File::options().write(true).open(&file).unwrap().set_len((1 << 20) + 1).unwrap();
        let error = expand(&format!("${{file:{}}}", file.display()), &environment).unwrap_err();
        assert!(error.ends_with("can't be read: the file is larger than 1 MiB"), "{error}");
        let error = expand("${file:/no/such/file}", &environment).unwrap_err();
        assert!(error.starts_with("the file /no/such/file can't be read: "), "{error}");
    }

    #[test]
    fn substituted_values_are_recorded_by_path() {
        let mut table: toml::Table = toml::from_str(r#"a.b = ["x", "${TOKEN}"]"#).unwrap();
        let substituted = substitute(&mut table, &environment).unwrap();
        assert_eq!(table, toml::from_str(r#"a.b = ["x", "t0p"]"#).unwrap());
        let list = KeyPath::of(["a", "b"]);
        assert!(
            substituted.touches(&list)
                && substituted.touches(&list.index(1))
                && !substituted.touches(&list.index(0))
        );
        assert!(substituted.within(&KeyPath::of(["a"])).touches(&KeyPath::of(["b"])));
    }
}
