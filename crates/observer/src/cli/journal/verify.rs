//! `observer journal verify`: everything is read, and nothing is changed.

use std::fmt::Write;
use std::path::Path;

use bytesize::ByteSize;
use observer_journal::{Inspection, OfflineJournal, ReaderPosition, SegmentState};
use serde_json::json;

use super::shown::{count, damage_json, list, lost, table};
use crate::cli::Failed;

pub(super) const VERIFY_EXAMPLES: &str = "\
Examples:
  observer journal verify
  observer --config /etc/observer.toml journal verify --json | jq .damage

It reads every segment to its end, checks each checksum, and changes nothing. The observer has to
be stopped: its journal is locked while it runs.

Exit codes:
  0  everything can be read
  1  something is corrupt or missing
  2  wrong usage or configuration, no journal there, or an observer that runs";

/// What was found, and whether that is all that should be there.
pub(super) fn report(stopped: &OfflineJournal, as_json: bool) -> Result<(String, bool), Failed> {
    let found = stopped.inspect()?;
    let text =
        if as_json { in_json(stopped.dir(), &found) } else { in_words(stopped.dir(), &found) };
    Ok((text, found.damage.is_empty()))
}

fn in_words(dir: &Path, found: &Inspection) -> String {
    let Inspection { head, oldest, records, segments, damage, readers, .. } = found;
    let mut text = format!("journal  {}\n", dir.display());
    if segments.is_empty() {
        text.push_str("records  none\n");
    } else {
        let bytes = ByteSize(segments.iter().map(|segment| segment.bytes).sum());
        let range = if oldest > head { "none".to_owned() } else { format!("{oldest} to {head}") };
        let _ = writeln!(text, "records  {range} ({records} can be read, {bytes})\n");
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
    if damage.is_empty() {
        text.push_str("\neverything can be read\n");
        return text;
    }
    let _ = write!(
        text,
        "\n{}, {} lost:\n{}",
        count(damage.len() as u64, "problem"),
        count(lost(damage), "record"),
        list(damage)
    );
    text.push_str("`observer journal repair` mends what can be mended; what is lost stays lost\n");
    text
}

/// What the journal has for this sink; a replay has its own end, which is not known here.
fn pending(reader: &ReaderPosition, head: u64) -> Option<u64> {
    (!observer_pipeline::is_replay_reader(&reader.name)).then(|| head.saturating_sub(reader.seq))
}

fn in_json(dir: &Path, found: &Inspection) -> String {
    let Inspection { head, oldest, records, segments, damage, readers, .. } = found;
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
        .map(|reader| json!({ "name": reader.name, "position": reader.seq, "pending": pending(reader, *head) }))
        .collect();
    let found = json!({
        "journal": dir.display().to_string(),
        "oldest": oldest,
        "head": head,
        "records": records,
        "lost": lost(damage),
        "segments": segments,
        "sinks": sinks,
        "damage": damage_json(damage),
    });
    format!("{found}\n")
}
