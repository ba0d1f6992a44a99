//! `observer journal verify`: reads the whole journal without changing it.

use std::fmt::Write;
use std::path::Path;

use bytesize::ByteSize;
use observer_journal::{Inspection, OfflineJournal, ReaderPosition, SegmentState};
use serde_json::json;

use super::damage::{damage_json, list, lost, named, number_of, records_json};
use crate::cli::failure::Failure;
use crate::cli::output::{count, table};

pub(super) const VERIFY_EXAMPLES: &str = "\
Examples:
  observer journal verify
  observer --config /etc/observer.toml journal verify --json | jq .damage

The command reads every segment to its end, verifies every checksum and changes nothing. The
observer must be stopped, since it locks its journal while it runs.

Exit codes:
  0  every record is readable
  1  some data is corrupt or missing
  2  invalid usage or configuration, a missing journal, or a running observer";

/// Inspects the journal. Returns the report, and whether there is no damage.
pub(super) fn report(stopped: &OfflineJournal, as_json: bool) -> Result<(String, bool), Failure> {
    let inspection = stopped.inspect()?;
    let dir = stopped.dir();
    let text = if as_json { to_json(dir, &inspection) } else { to_text(dir, &inspection) };
    Ok((text, inspection.damage.is_empty()))
}

fn to_text(dir: &Path, inspection: &Inspection) -> String {
    let Inspection { head, oldest, records, segments, damage, readers, lost_ends, .. } = inspection;
    let mut text = format!("journal  {}\n", dir.display());
    if segments.is_empty() {
        text.push_str("records  none\n");
    } else {
        let bytes = ByteSize(segments.iter().map(|segment| segment.bytes).sum());
        let range = if oldest > head { "none".to_owned() } else { format!("{oldest} to {head}") };
        let _ = writeln!(text, "records  {range} ({records} readable, {bytes})\n");
        let rows: Vec<_> = segments
            .iter()
            .map(|segment| {
                let state = match segment.state {
                    SegmentState::Sealed => "sealed",
                    SegmentState::Open => "open",
                };
                let (first, last) = (segment.first_seq, segment.last_seq);
                let range =
                    if last < first { "none".to_owned() } else { format!("{first} to {last}") };
                let size = segment.bytes.to_string();
                [segment.file.clone(), range, segment.records.to_string(), size, state.to_owned()]
            })
            .collect();
        text.push_str(&table(["segment", "records", "readable", "bytes", "state"], &rows));
    }
    if !readers.is_empty() {
        let row = |reader: &ReaderPosition| {
            let pending = pending(reader, *head).map(|pending| pending.to_string());
            [reader.name.clone(), reader.seq.to_string(), pending.unwrap_or_default()]
        };
        let rows: Vec<_> = readers.iter().map(row).collect();
        let _ = write!(text, "\n{}", table(["sink", "position", "pending"], &rows));
    }
    if !lost_ends.is_empty() {
        let _ = write!(
            text,
            "\n{} lost earlier at the end of the journal:\n{}",
            count(lost_ends.iter().map(number_of).sum(), "record"),
            lost_ends.iter().map(|range| format!("  {}\n", named(range))).collect::<String>()
        );
    }
    if damage.is_empty() {
        text.push_str("\nevery record is readable\n");
        return text;
    }
    let _ = write!(
        text,
        "\n{}, {} lost:\n{}",
        count(damage.len() as u64, "problem"),
        count(lost(damage), "record"),
        list(damage)
    );
    text.push_str(if inspection.is_repairable {
        "run `observer journal repair` to repair the journal; lost records stay lost\n"
    } else {
        "a repair would change nothing; lost records stay lost\n"
    });
    text
}

/// Returns the number of records after the position of a sink. A replay has an end of its own,
/// which is unknown here.
fn pending(reader: &ReaderPosition, head: u64) -> Option<u64> {
    (!observer_pipeline::is_replay_reader(&reader.name)).then(|| head.saturating_sub(reader.seq))
}

fn to_json(dir: &Path, inspection: &Inspection) -> String {
    let Inspection { head, oldest, records, segments, damage, readers, lost_ends, .. } = inspection;
    let segments: Vec<_> = segments
        .iter()
        .map(|segment| {
            json!({
                "file": segment.file,
                "first_seq": segment.first_seq,
                "last_seq": segment.last_seq,
                "records": segment.records,
                "bytes": segment.bytes,
                "sealed": segment.state == SegmentState::Sealed,
            })
        })
        .collect();
    let sinks: Vec<_> = readers
        .iter()
        .map(|reader| {
            let pending = pending(reader, *head);
            json!({ "name": reader.name, "position": reader.seq, "pending": pending })
        })
        .collect();
    let report = json!({
        "journal": dir.display().to_string(),
        "oldest": oldest,
        "head": head,
        "records": records,
        "lost": lost(damage),
        "lost_earlier": lost_ends.iter().map(records_json).collect::<Vec<_>>(),
        "repairable": inspection.is_repairable,
        "segments": segments,
        "sinks": sinks,
        "damage": damage_json(damage),
    });
    format!("{report}\n")
}
