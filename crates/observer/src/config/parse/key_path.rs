//! Path of a value in a configuration.

use std::fmt;

/// Path of a value from the root of the file, displayed as `sinks.archive.rotate.max_size` or
/// `server.listen[1]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyPath(Vec<Segment>);

/// Keys whose value, or whatever it contains, may be a secret.
const SECRET_KEYS: [&str; 11] = [
    "auth",
    "authorization",
    "bearer",
    "credentials",
    "headers",
    "password",
    "secret",
    "secrets",
    "signing",
    "token",
    "vars",
];
/// Sections about credentials, in whose place a secret may be written by mistake.
const SECRET_SECTIONS: [&str; 2] = ["access", "tokens"];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Key(String),
    Index(usize),
}

impl KeyPath {
    pub(crate) fn of<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self(keys.into_iter().map(|key| Segment::Key(key.to_owned())).collect())
    }

    pub(crate) fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// Appends a relative path.
    pub(crate) fn join(&self, relative: &Self) -> Self {
        Self(self.0.iter().chain(&relative.0).cloned().collect())
    }

    /// Returns this path relative to `prefix`, or `None` if it doesn't start with it.
    pub(crate) fn strip_prefix(&self, prefix: &Self) -> Option<Self> {
        self.0.strip_prefix(&*prefix.0).map(|rest| Self(rest.to_vec()))
    }

    /// Returns whether one of the two values contains the other one or equals it.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(ours, theirs)| ours == theirs)
    }

    /// Returns the last segment if it is a key.
    pub(crate) fn last_key(&self) -> Option<&str> {
        match self.0.last()? {
            Segment::Key(key) => Some(key),
            Segment::Index(_) => None,
        }
    }

    /// Returns whether the value may be a secret that is written in the file: it is credentials, or
    /// stands in the place of a section about them.
    pub(crate) fn may_hold_secret(&self) -> bool {
        let keys: Vec<&str> = self.keys().collect();
        let is_secret = |key: &&str| SECRET_KEYS.contains(key);
        let (parent, last) = match keys.as_slice() {
            [.., parent, last] => (Some(*parent), Some(*last)),
            [last] => (None, Some(*last)),
            [] => (None, None),
        };
        keys.iter().any(is_secret)
            || parent == Some("tokens")
            || last.is_some_and(|last| SECRET_SECTIONS.contains(&last))
    }

    /// Returns the keys of the path, without the indices of lists.
    fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Key(key) => Some(key.as_str()),
            Segment::Index(_) => None,
        })
    }

    /// Returns the value in the table, or the whole list if the path leads to an element of a list.
    pub(crate) fn value_in<'a>(&self, table: &'a toml::Table) -> Option<&'a toml::Value> {
        let mut keys = self.keys();
        let first = table.get(keys.next()?)?;
        keys.try_fold(first, |value, key| value.get(key))
    }

    /// Removes the value from the table, or the whole list if the value is an element of a list.
    /// Returns whether the value existed.
    pub(crate) fn remove_from(&self, table: &mut toml::Table) -> bool {
        let keys: Vec<&str> = self
            .0
            .iter()
            .map_while(|segment| match segment {
                Segment::Key(key) => Some(key.as_str()),
                Segment::Index(_) => None,
            })
            .collect();
        let Some((last, parents)) = keys.split_last() else { return false };
        let parent = parents
            .iter()
            .try_fold(table, |table, key| table.get_mut(*key).and_then(toml::Value::as_table_mut));
        parent.is_some_and(|table| table.remove(*last).is_some())
    }

    fn with(&self, segment: Segment) -> Self {
        Self(self.0.iter().cloned().chain([segment]).collect())
    }
}

impl From<&serde_path_to_error::Path> for KeyPath {
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment as Source;
        let segments = path.iter().map_while(|segment| match segment {
            Source::Map { key } => Some(Segment::Key(key.clone())),
            Source::Seq { index } => Some(Segment::Index(*index)),
            Source::Enum { .. } | Source::Unknown => None,
        });
        Self(segments.collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_bare = |key: &str| {
            !key.is_empty()
                && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        };
        for (index, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(element) => write!(f, "[{element}]")?,
                Segment::Key(key) => {
                    f.write_str(if index == 0 { "" } else { "." })?;
                    if is_bare(key) { f.write_str(key)? } else { write!(f, "{key:?}")? }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_displayed_as_in_the_file() {
        let path = KeyPath::of(["sinks", "hooks", "X.Y"]).index(1).key("a");
        assert_eq!(path.to_string(), r#"sinks.hooks."X.Y"[1].a"#);
        assert!(path.overlaps(&KeyPath::of(["sinks"])));
        assert!(!path.overlaps(&KeyPath::of(["sinks", "other"])));
        assert_eq!(
            path.strip_prefix(&KeyPath::of(["sinks", "hooks"])).unwrap().to_string(),
            r#""X.Y"[1].a"#
        );
    }

    #[test]
    fn removal_of_a_list_element_removes_the_list() {
        let mut table: toml::Table = toml::from_str("a.b = [1, 2]\na.c = 3").unwrap();
        assert!(KeyPath::of(["a", "b"]).index(1).remove_from(&mut table));
        assert_eq!(table, toml::from_str("a.c = 3").unwrap());
        assert!(!KeyPath::of(["a", "x"]).remove_from(&mut table));
    }
}
