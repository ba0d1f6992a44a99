//! From a table to a type, with everything that is wrong on the way told at once.

use serde::de::DeserializeOwned;

use super::Problem;
use super::fill::Filled;
use super::key::KeyPath;
use super::value::{self, Fault};
use crate::suggest;

/// What is said in place of a message that might repeat a secret.
pub(crate) const NOT_SHOWN: &str =
    "has the wrong form (the value is not shown, since it was filled in)";

/// A table on its way to a type.
pub(crate) struct Reader<'a> {
    /// Where the table stands in the file.
    pub(crate) at: KeyPath,
    /// Which values in the table were filled in, as seen from it.
    pub(crate) filled: &'a Filled,
    /// Keys that may stand in the table too, and are read elsewhere.
    pub(crate) also_known: &'a [&'a str],
}

impl Reader<'_> {
    /// Read the table as a `T`.
    ///
    /// serde stops at the first fault. So what is at fault is taken out and the rest is read again,
    /// until there is nothing more to say.
    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        mut table: toml::Table,
    ) -> Result<T, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut removed: Vec<KeyPath> = Vec::new();
        loop {
            let error = match serde_path_to_error::deserialize(value::table(&table)) {
                Ok(read) if problems.is_empty() => return Ok(read),
                Ok(_) => return Err(problems),
                Err(error) => error,
            };
            let mut path = KeyPath::from(error.path());
            let fault = error.into_inner();
            match &fault {
                Fault::MissingKey { key }
                    if removed.iter().any(|gone| gone.meets(&path.key(key))) =>
                {
                    return Err(problems);
                }
                // Within an enum, the path ends above the key.
                Fault::UnknownKey { key, .. } if path.last_key() != Some(key) => {
                    path = path.key(key)
                }
                _ => {}
            }
            problems.push(Problem::new(self.at.join(&path), self.describe(fault, &path)));
            if !path.remove_from(&mut table) {
                return Err(problems);
            }
            removed.push(path);
        }
    }

    /// A message that was made of the value at `path`, unless it may repeat a secret.
    pub(crate) fn unless_secret(&self, path: &KeyPath, message: String) -> String {
        if self.filled.touches(path) { NOT_SHOWN.to_owned() } else { message }
    }

    fn describe(&self, fault: Fault, path: &KeyPath) -> String {
        match fault {
            Fault::UnknownKey { key, known } => {
                let is_top = path == &KeyPath::of([key.as_str()]);
                let elsewhere = if is_top { self.also_known } else { &[] };
                let known: Vec<&str> = known.iter().chain(elsewhere).copied().collect();
                format!("unknown key; {}", suggest::hint(&key, &known, "known keys"))
            }
            Fault::MissingKey { key } => format!("the key `{key}` is missing"),
            Fault::UnknownName { name, known } => {
                let hint = suggest::hint(&name, known, "known names");
                self.unless_secret(path, format!("unknown name {name:?}; {hint}"))
            }
            Fault::Mismatch { found, expected } if self.filled.touches(path) => {
                drop(found);
                format!("expected {expected} (the value is not shown, since it was filled in)")
            }
            fault @ (Fault::Mismatch { .. } | Fault::Other(_)) => {
                self.unless_secret(path, fault.to_string())
            }
        }
    }
}
