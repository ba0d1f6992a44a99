//! `observer journal repair`: rewrites what can be derived and sets unreadable files aside.

use std::fmt::Write;

use observer_journal::OfflineJournal;
use serde_json::json;

use super::damage::{bytes_json, damage_json, list, lost};
use crate::cli::failure::Failure;
use crate::cli::output::{count, table};

pub(super) const REPAIR_EXAMPLES: &str = "\
Examples:
  observer journal repair
  cp -a observer-data/journal /backup/ && observer journal repair

A repair truncates a torn write at the end, rewrites headers and key lists, and sets unreadable
files aside. It removes no readable record. Every byte that is cut or replaced is kept in a file
with the suffix `.corrupt` in the same folder; such files may be deleted. At startup the observer
makes the necessary repairs itself, but keeps no copy of a torn write.

Exit codes:
  0  every record is readable
  1  some records are lost permanently; the observer runs without them
  2  invalid usage or configuration, a missing journal, or a running observer";

/// Repairs the journal. Returns the report, and whether no record is lost and no damage remains.
pub(super) fn report(stopped: &OfflineJournal, as_json: bool) -> Result<(String, bool), Failure> {
    // Losses that the repair makes final, such as that of the end, are damage before it alone.
    let mut remaining = stopped.inspect()?.damage;
    remaining.retain(|damage| damage.records.is_some());
    let actions = stopped.repair()?.actions;
    let unrepaired = stopped.inspect()?.damage;
    remaining.extend(unrepaired.into_iter().filter(|damage| damage.records.is_none()));
    let dir = stopped.dir();
    if as_json {
        let actions: Vec<_> = actions
            .iter()
            .map(|action| {
                let kept_in =
                    action.kept_in.as_ref().map(|name| dir.join(name).display().to_string());
                json!({
                    "file": action.file,
                    "bytes": bytes_json(&action.bytes),
                    "done": action.done,
                    "kept_in": kept_in,
                })
            })
            .collect();
        let report = json!({
            "journal": dir.display().to_string(),
            "actions": actions,
            "lost": lost(&remaining),
            "damage": damage_json(&remaining),
        });
        return Ok((format!("{report}\n"), remaining.is_empty()));
    }
    let mut text = format!("journal  {}\n\n", dir.display());
    if actions.is_empty() {
        text.push_str("no repair needed\n");
    } else {
        let rows: Vec<_> = actions
            .iter()
            .map(|action| {
                let bytes = (!action.bytes.is_empty())
                    .then(|| format!("{} to {}", action.bytes.start, action.bytes.end - 1));
                let kept_in = action.kept_in.clone().unwrap_or_default();
                [action.file.clone(), bytes.unwrap_or_default(), action.done.to_owned(), kept_in]
            })
            .collect();
        text.push_str(&table(["file", "bytes", "action", "kept in"], &rows));
    }
    if remaining.is_empty() {
        text.push_str("\nevery record is readable\n");
    } else {
        let _ = write!(
            text,
            "\n{} lost permanently:\n{}",
            count(lost(&remaining), "record"),
            list(&remaining)
        );
    }
    Ok((text, remaining.is_empty()))
}
