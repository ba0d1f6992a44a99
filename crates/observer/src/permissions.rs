//! Warnings about files with secrets that other users of the machine can read.

use std::path::Path;

use crate::config::parse::key_path::KeyPath;
use crate::config::{Config, SinkTable};

/// Returns a warning for each file with a secret that every user of this machine can read.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let key = config.server.tls.as_ref().map(|tls| ("the TLS key", tls.key.as_path()));
    let has_secret = config.sinks.iter().any(|(name, table)| has_literal_secret(name, table));
    let file = config.origin.as_deref().filter(|_| has_secret);
    let file = file.map(|path| ("the configuration, which holds a secret,", path));
    let readable = key.into_iter().chain(file).filter(|(_, path)| is_readable_by_others(path));
    readable
        .map(|(what, path)| {
            format!(
                "{what} can be read by every user of this machine: {}; change its mode to 0600",
                path.display()
            )
        })
        .collect()
}

/// Returns whether the table of a sink holds a secret that is not substituted.
fn has_literal_secret(name: &str, table: &SinkTable) -> bool {
    let root = KeyPath::of(["sinks", name]);
    let SinkTable { table, substituted } = table;
    let mut values: Vec<_> =
        table.iter().map(|(key, value)| (KeyPath::of([key.as_str()]), value)).collect();
    while let Some((path, value)) = values.pop() {
        match value {
            toml::Value::String(text)
                if !text.is_empty()
                    && root.join(&path).may_hold_secret()
                    && !substituted.touches(&path) =>
            {
                return true;
            }
            toml::Value::Array(list) => {
                values.extend(list.iter().enumerate().map(|(at, value)| (path.index(at), value)));
            }
            toml::Value::Table(inner) => {
                values.extend(inner.iter().map(|(key, value)| (path.key(key), value)));
            }
            _ => {}
        }
    }
    false
}

#[cfg(unix)]
fn is_readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_readable_by_others(_: &Path) -> bool {
    false
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_with_secrets_that_others_can_read_have_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("observer.toml");
        let hook = "[sinks.hook]\ntype = 'http'\nurl = 'http://localhost'\n";
        for (line, mode, is_warned) in [
            ("auth = { bearer = 'hunter2' }", 0o644, true),
            ("signing = { secrets = ['whsec_aGk='] }", 0o604, true),
            ("auth = { bearer = 'hunter2' }", 0o640, false),
            ("auth = { bearer = '${HOME}' }", 0o644, false),
            ("auth = { bearer = '' }", 0o644, false),
            ("", 0o644, false),
        ] {
            fs::write(&path, format!("{hook}{line}\n")).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let config = Config::load(Some(&path)).unwrap();
            assert_eq!(!warnings(&config).is_empty(), is_warned, "{line} {mode:o}");
        }
    }
}
