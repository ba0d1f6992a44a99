//! `observer journal repair`: what can be known from the rest is written anew, and what is in the
//! way is set aside.

use std::fmt::Write;

use observer_journal::OfflineJournal;
use serde_json::json;

use super::shown::{bytes_json, count, damage_json, list, lost, table};
use crate::cli::Failed;

pub(super) const REPAIR_EXAMPLES: &str = "\
Examples:
  observer journal repair
  cp -a observer-data/journal /backup/ && observer journal repair

It cuts off a last write that is torn, writes headers and lists of keys anew, and sets aside files
that can't be read. No record that can be read is removed, and each byte that is cut or replaced is
kept in a file ending in `.corrupt` beside the others; those can be removed by hand. The observer
does what it needs of that by itself when it starts, but keeps no torn write.

Exit codes:
  0  everything can be read now
  1  something is lost, and stays lost; the observer runs without it
  2  wrong usage or configuration, no journal there, or an observer that runs";

/// What was done and what is left, and whether nothing is.
pub(super) fn report(stopped: &OfflineJournal, as_json: bool) -> Result<(String, bool), Failed> {
    let actions = stopped.repair()?.actions;
    let left = stopped.inspect()?.damage;
    let dir = stopped.dir();
    if as_json {
        let actions: Vec<_> = actions
            .iter()
            .map(|action| {
                let kept_in = action.kept_in.as_ref().map(|name| dir.join(name).display().to_string());
                json!({ "file": action.file, "bytes": bytes_json(&action.bytes), "done": action.done, "kept_in": kept_in })
            })
            .collect();
        let report = json!({
            "journal": dir.display().to_string(),
            "actions": actions,
            "lost": lost(&left),
            "damage": damage_json(&left),
        });
        return Ok((format!("{report}\n"), left.is_empty()));
    }
    let mut text = format!("journal  {}\n\n", dir.display());
    if actions.is_empty() {
        text.push_str("there was nothing to mend\n");
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
        text.push_str(&table(["file", "bytes", "what was done", "kept in"], &rows));
    }
    if left.is_empty() {
        text.push_str("\neverything can be read\n");
    } else {
        let _ = write!(text, "\n{} lost for good:\n{}", count(lost(&left), "record"), list(&left));
    }
    Ok((text, left.is_empty()))
}
