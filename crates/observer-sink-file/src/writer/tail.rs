//! Reading of existing lines, and repair of a torn line that a crash left at the end of a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use observer_core::{Timestamp, Uuid};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::checksum::checksum;

/// Fields of an envelope that identify its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) id: Uuid,
    pub(crate) seq: u64,
    pub(crate) received_at: Timestamp,
}

impl Line {
    /// Parses a line; `None` if it is not a complete envelope.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Written<'a> {
            id: &'a str,
            seq: u64,
            received_at: &'a str,
            #[serde(borrow)]
            event: &'a RawValue,
        }
        let written: Written<'_> = serde_json::from_slice(line).ok()?;
        let is_object = written.event.get().starts_with('{');
        Some(Self {
            id: Uuid::parse_str(written.id).ok().filter(|_| is_object)?,
            seq: written.seq,
            received_at: written.received_at.parse().ok()?,
        })
    }
}

/// First bytes of every envelope.
const OPENING: &[u8] = br#"{"id":""#;

/// Returns whether a text may be the first part of an envelope, with zeros that a power cut left.
pub(crate) fn is_own_text(text: &[u8]) -> bool {
    let text = &text[..text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)];
    text.starts_with(OPENING) || OPENING.starts_with(text)
}

/// Repair of the end of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum TailRepair {
    /// The last line was complete.
    #[default]
    None,
    /// This many bytes were removed: a part of a line, or zeros that a power cut left.
    Truncated(u64),
    /// The last line lacked only its line feed, which was added.
    Terminated,
}

/// End of a file after the repair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) len: u64,
    pub(crate) last: Option<Line>,
    /// Checksum of the last line with its line feed; 0 for an empty file.
    pub(crate) end: u32,
    pub(crate) repair: TailRepair,
}

/// Makes the file end in a line feed, so that the next append starts a new line.
///
/// Only a part of a line that this sink wrote is removed; any other text is kept and gets a line
/// feed. `file` must be open for reading and appending.
pub(crate) fn repair(file: &File, path: &Path) -> io::Result<Tail> {
    let len = file.metadata()?.len();
    let piece = last_line(file, len)?;
    if piece.is_empty() || piece.ends_with(b"\n") {
        let end = end_of_line(&piece);
        return Ok(Tail { len, last: Line::parse(&piece), end, repair: TailRepair::None });
    }
    let start = len - piece.len() as u64;
    let text = &piece[..piece.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)];
    let is_whole =
        serde_json::from_slice::<&RawValue>(text).is_ok_and(|json| json.get().starts_with('{'));
    if is_whole || !is_own_text(text) {
        let end = start + text.len() as u64;
        if end < len {
            file.set_len(end)?;
        }
        (&mut &*file).write_all(b"\n")?;
        tracing::warn!(file = %path.display(), "added the missing line feed of the last line");
        let line = [text, b"\n"].concat();
        return Ok(Tail {
            len: end + 1,
            last: Line::parse(text),
            end: end_of_line(&line),
            repair: TailRepair::Terminated,
        });
    }
    file.set_len(start)?;
    let bytes = piece.len() as u64;
    tracing::warn!(file = %path.display(), bytes, "removed a torn line at the end of a file");
    let line = last_line(file, start)?;
    let (last, end) = (Line::parse(&line), end_of_line(&line));
    Ok(Tail { len: start, last, end, repair: TailRepair::Truncated(bytes) })
}

/// Returns the checksum of a line; 0 if there is none.
pub(crate) fn end_of_line(line: &[u8]) -> u32 {
    if line.is_empty() { 0 } else { checksum(line) }
}

/// Returns the last line of the first `len` bytes, with its line feed if it has one.
pub(crate) fn last_line(mut file: &File, len: u64) -> io::Result<Vec<u8>> {
    let mut reach = 64 << 10;
    loop {
        let start = len.saturating_sub(reach);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(len - start).read_to_end(&mut bytes)?;
        let before_end = bytes.len().saturating_sub(1);
        if let Some(feed) = bytes[..before_end].iter().rposition(|byte| *byte == b'\n') {
            return Ok(bytes.split_off(feed + 1));
        }
        if start == 0 {
            return Ok(bytes);
        }
        reach *= 4;
    }
}

/// Start of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanFrom {
    /// At this offset, which is the start of a line.
    Line(u64),
    /// This many bytes before the end of the file; a partial first line is skipped.
    LastBytes(u64),
}

/// Calls `each` for the envelopes in a file. Returns the number of lines that are not envelopes.
pub(crate) fn scan(mut file: &File, from: ScanFrom, mut each: impl FnMut(Line)) -> io::Result<u64> {
    let (start, is_mid_line) = match from {
        ScanFrom::Line(start) => (start, false),
        ScanFrom::LastBytes(bytes) => {
            let start = file.metadata()?.len().saturating_sub(bytes);
            (start, start > 0)
        }
    };
    file.seek(SeekFrom::Start(start))?;
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let (mut bytes, mut foreign) = (Vec::new(), 0);
    if is_mid_line {
        reader.skip_until(b'\n')?;
    }
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        match Line::parse(&bytes) {
            Some(line) => each(line),
            None => foreign += 1,
        }
        bytes.clear();
    }
    Ok(foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{"id":"00000000-0000-0000-0000-000000000007","seq":7,"received_at":"2026-01-01T00:00:00.000001Z","event":{"a":1}}"#;

    #[track_caller]
    fn check(content: &str, kept: &str, repaired: TailRepair, last: Option<u64>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let handle = File::options().read(true).append(true).open(file.path()).unwrap();
        let tail = repair(&handle, file.path()).unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), kept);
        assert_eq!((tail.len, tail.repair), (kept.len() as u64, repaired));
        assert_eq!(tail.last.map(|line| line.seq), last);
    }

    #[test]
    fn torn_line_is_removed_and_a_complete_one_is_terminated() {
        let line = format!("{WHOLE}\n");
        check("", "", TailRepair::None, None);
        check(&line, &line, TailRepair::None, Some(7));
        check(WHOLE, &line, TailRepair::Terminated, Some(7));
        for cut in [1, 7, 20, WHOLE.len() - 1] {
            check(
                &format!("{line}{}", &WHOLE[..cut]),
                &line,
                TailRepair::Truncated(cut as u64),
                Some(7),
            );
            check(&WHOLE[..cut], "", TailRepair::Truncated(cut as u64), None);
        }
        check(&format!("{line}\0\0\0"), &line, TailRepair::Truncated(3), Some(7));
        check(&format!("{WHOLE}\0\0"), &line, TailRepair::Terminated, Some(7));
    }

    #[test]
    fn text_of_other_programs_is_never_removed() {
        check("a note", "a note\n", TailRepair::Terminated, None);
        check(r#"{"note":1}"#, "{\"note\":1}\n", TailRepair::Terminated, None);
        check(r#"{"note":"#, "{\"note\":\n", TailRepair::Terminated, None);
    }

    #[test]
    fn long_last_line_is_found() {
        let long = format!(r#"{{"long":"{}"}}"#, "x".repeat(300_000));
        check(
            &format!("{WHOLE}\n{long}"),
            &format!("{WHOLE}\n{long}\n"),
            TailRepair::Terminated,
            None,
        );
    }

    #[test]
    fn scan_counts_foreign_lines_and_skips_a_partial_first_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{WHOLE}\nnote\n{WHOLE}\n")).unwrap();
        let handle = File::open(file.path()).unwrap();
        let read = |from| {
            let mut seqs = Vec::new();
            let foreign = scan(&handle, from, |line| seqs.push(line.seq)).unwrap();
            (seqs.len(), foreign)
        };
        assert_eq!(read(ScanFrom::Line(0)), (2, 1));
        assert_eq!(read(ScanFrom::Line(WHOLE.len() as u64 + 1)), (1, 1));
        assert_eq!(read(ScanFrom::LastBytes(WHOLE.len() as u64 + 3)), (1, 0));
    }
}
