//! Where in a configuration something stands.

use std::fmt;

/// The way from the top of the file to a value, shown as `sinks.archive.rotate.max_size` or
/// `server.listen[1]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(usize),
}

impl KeyPath {
    pub(crate) fn of<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self(keys.into_iter().map(|key| Step::Key(key.to_owned())).collect())
    }

    pub(crate) fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// This path, and then `further`.
    pub(crate) fn join(&self, further: &Self) -> Self {
        Self(self.0.iter().chain(&further.0).cloned().collect())
    }

    /// The rest of this path past `start`, if it starts there.
    pub(crate) fn after(&self, start: &Self) -> Option<Self> {
        self.0.strip_prefix(&*start.0).map(|rest| Self(rest.to_vec()))
    }

    /// Whether one of the two values is the other one, or a part of it.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(ours, theirs)| ours == theirs)
    }

    /// The last key, if it isn't an index.
    pub(crate) fn last_key(&self) -> Option<&str> {
        match self.0.last()? {
            Step::Key(key) => Some(key),
            Step::Index(_) => None,
        }
    }

    /// Take the value out of the table; one in a list takes the list with it. Says whether anything
    /// was there.
    pub(crate) fn remove_from(&self, table: &mut toml::Table) -> bool {
        let keys: Vec<&str> = self
            .0
            .iter()
            .map_while(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                Step::Index(_) => None,
            })
            .collect();
        let Some((last, parents)) = keys.split_last() else { return false };
        let parent = parents
            .iter()
            .try_fold(table, |table, key| table.get_mut(*key).and_then(toml::Value::as_table_mut));
        parent.is_some_and(|table| table.remove(*last).is_some())
    }

    fn with(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl From<&serde_path_to_error::Path> for KeyPath {
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment;
        let steps = path.iter().map_while(|segment| match segment {
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        Self(steps.collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_bare = |key: &str| {
            !key.is_empty()
                && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        };
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    f.write_str(if place == 0 { "" } else { "." })?;
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
    fn a_path_is_written_as_in_the_file() {
        let path = KeyPath::of(["sinks", "hooks", "X.Y"]).index(1).key("a");
        assert_eq!(path.to_string(), r#"sinks.hooks."X.Y"[1].a"#);
        assert!(path.meets(&KeyPath::of(["sinks"])));
        assert!(!path.meets(&KeyPath::of(["sinks", "other"])));
        assert_eq!(
            path.after(&KeyPath::of(["sinks", "hooks"])).unwrap().to_string(),
            r#""X.Y"[1].a"#
        );
    }

    #[test]
    fn a_value_in_a_list_is_removed_with_its_list() {
        let mut table: toml::Table = toml::from_str("a.b = [1, 2]\na.c = 3").unwrap();
        assert!(KeyPath::of(["a", "b"]).index(1).remove_from(&mut table));
        assert_eq!(table, toml::from_str("a.c = 3").unwrap());
        assert!(!KeyPath::of(["a", "x"]).remove_from(&mut table));
    }
}
