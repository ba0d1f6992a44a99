//! Decision whether a file on disk is the one that the ledger records.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::checksum::checksum;
use crate::disk::Identity;
use crate::ledger::{Entry, Kind};
use crate::writer::tail::{Line, is_own_text, last_line};

/// Length of the end of a compressed file that its checksum covers, in bytes.
pub(crate) const PACKED_END: u64 = 4096;

/// State of a path on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// True for a regular file.
    pub(crate) is_file: bool,
    pub(crate) identity: Identity,
    pub(crate) len: u64,
    /// Checksum of the end of the first `len` bytes of the entry; `None` if the file is shorter.
    pub(crate) end: Option<u32>,
    pub(crate) text: Text,
}

/// Text at the end of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    Empty,
    /// An envelope, or the first bytes of one.
    Envelope,
    /// Envelopes only, all of them past the position of the sink.
    NewEnvelopes,
    Other,
}

/// Relation of a file to the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ownership {
    /// The sink wrote it.
    Own,
    /// There is no such file.
    Missing,
    /// It is not a regular file, so the sink doesn't touch it.
    NotAFile,
    /// The ledger doesn't record the path.
    Unrecorded,
    /// The ledger records the path, but another file has taken it, or its contents were changed.
    Changed,
}

/// Decides whether a file is the one that an entry of the ledger records.
///
/// A closed or compressed file is recognised by its length and its end, wherever it was copied. An
/// open file may have grown since: it is recognised by the end of its first `len` bytes. A recorded
/// length is durable, so a shorter file is another one, unless the same inode was emptied in place.
pub(crate) fn ownership(entry: Option<&Entry>, seen: Option<&Seen>) -> Ownership {
    let Some(seen) = seen else { return Ownership::Missing };
    let Some(entry) = entry.filter(|entry| entry.kind != Kind::Gone) else {
        return Ownership::Unrecorded;
    };
    if !seen.is_file {
        return Ownership::NotAFile;
    }
    let same_inode = seen.identity == entry.identity;
    let same_end = seen.end == Some(entry.end);
    let is_own = match entry.kind {
        Kind::Closed | Kind::Packed => seen.len == entry.len && same_end,
        Kind::Temporary => same_inode,
        Kind::Open if entry.len > 0 && seen.len >= entry.len => same_end,
        Kind::Open if same_inode && entry.len > 0 => seen.text == Text::Empty,
        Kind::Open if same_inode => seen.text != Text::Other,
        Kind::Open => entry.len == 0 && seen.text == Text::NewEnvelopes,
        Kind::Gone => false,
    };
    if is_own { Ownership::Own } else { Ownership::Changed }
}

/// Reads the state of a path, for comparison with an entry. `after` is the sequence number of the
/// sink's position. Returns `None` if there is no file.
///
/// # Errors
/// If the file can't be read.
pub(crate) fn look(
    path: &Path,
    entry: Option<&Entry>,
    after: Option<u64>,
) -> io::Result<Option<Seen>> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if is_missing(&error) => return Ok(None),
        metadata => metadata?,
    };
    let mut seen = Seen {
        is_file: metadata.is_file(),
        identity: Identity::of(&metadata),
        len: metadata.len(),
        end: None,
        text: Text::Other,
    };
    let Some(entry) = entry.filter(|_| seen.is_file) else { return Ok(Some(seen)) };
    if seen.len < entry.len && entry.kind != Kind::Open {
        return Ok(Some(seen));
    }
    let file = match File::open(path) {
        Err(error) if is_missing(&error) => return Ok(None),
        file => file?,
    };
    seen.end = end_of(&file, entry.kind, entry.len, seen.len)?;
    if entry.kind == Kind::Open {
        seen.text = text_of(&file, seen.len, after.filter(|_| entry.len == 0))?;
    }
    Ok(Some(seen))
}

/// Returns whether the path leads nowhere.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns the checksum of the end of the first `len` bytes.
pub(crate) fn end_of(file: &File, kind: Kind, len: u64, actual: u64) -> io::Result<Option<u32>> {
    if actual < len {
        return Ok(None);
    }
    let end = if kind == Kind::Packed {
        let (mut reader, mut end) = (file, Vec::new());
        reader.seek(SeekFrom::Start(len.saturating_sub(PACKED_END)))?;
        reader.take(len.min(PACKED_END)).read_to_end(&mut end)?;
        end
    } else {
        last_line(file, len)?
    };
    Ok(Some(if end.is_empty() { 0 } else { checksum(&end) }))
}

fn text_of(file: &File, len: u64, after: Option<u64>) -> io::Result<Text> {
    if len == 0 {
        return Ok(Text::Empty);
    }
    let end = last_line(file, len)?;
    if Line::parse(&end).is_none() && (end.ends_with(b"\n") || !is_own_text(&end)) {
        return Ok(Text::Other);
    }
    let Some(after) = after else { return Ok(Text::Envelope) };
    let mut is_new = true;
    let from = crate::writer::tail::ScanFrom::Line(0);
    let complete = crate::writer::tail::scan(file, from, |line| is_new &= line.seq > after)?;
    // The last line may be torn.
    let allowed = u64::from(!end.ends_with(b"\n"));
    Ok(if is_new && complete <= allowed { Text::NewEnvelopes } else { Text::Envelope })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INODE: Identity = Identity { dev: 1, ino: 2 };
    const OTHER: Identity = Identity { dev: 1, ino: 3 };

    fn entry(kind: Kind, len: u64) -> Option<Entry> {
        Some(Entry { kind, identity: INODE, len, end: 7, newest: 0 })
    }

    fn seen(identity: Identity, len: u64, end: Option<u32>, text: Text) -> Option<Seen> {
        Some(Seen { is_file: true, identity, len, end, text })
    }

    #[test]
    fn file_is_the_sinks_only_if_it_is_recorded_and_recognised() {
        use Kind::{Closed, Gone, Open, Packed, Temporary};
        use Ownership::{Changed, Missing, NotAFile, Own, Unrecorded};
        use Text::{Empty, Envelope, NewEnvelopes, Other};
        let link =
            Some(Seen { is_file: false, identity: INODE, len: 9, end: Some(7), text: Envelope });
        let (same, other) = (Some(7), Some(8));
        #[rustfmt::skip]
        let table = [
            // No file, no entry, no regular file.
            (entry(Open, 9),      None,                                    Missing),
            (entry(Closed, 9),    None,                                    Missing),
            (None,                None,                                    Missing),
            (None,                seen(INODE, 9, same, Envelope),          Unrecorded),
            (entry(Gone, 9),      seen(INODE, 9, same, Envelope),          Unrecorded),
            (entry(Open, 9),      link,                                    NotAFile),
            (entry(Packed, 9),    link,                                    NotAFile),
            // Closed and compressed files: length and end, wherever they are.
            (entry(Closed, 9),    seen(INODE, 9, same, Other),             Own),
            (entry(Closed, 9),    seen(OTHER, 9, same, Other),             Own),
            (entry(Closed, 9),    seen(INODE, 10, same, Other),            Changed),
            (entry(Closed, 9),    seen(INODE, 8, None, Other),             Changed),
            (entry(Closed, 9),    seen(INODE, 9, other, Other),            Changed),
            (entry(Packed, 9),    seen(OTHER, 9, same, Other),             Own),
            (entry(Packed, 9),    seen(INODE, 10, same, Other),            Changed),
            (entry(Packed, 9),    seen(INODE, 9, other, Other),            Changed),
            // Unfinished compressions: the inode.
            (entry(Temporary, 0), seen(INODE, 5, None, Other),             Own),
            (entry(Temporary, 0), seen(OTHER, 5, None, Other),             Changed),
            // Open files that are as long as recorded, or longer: the end of the recorded part.
            (entry(Open, 9),      seen(INODE, 9, same, Envelope),          Own),
            (entry(Open, 9),      seen(INODE, 20, same, Other),            Own),
            (entry(Open, 9),      seen(OTHER, 20, same, Envelope),         Own),
            (entry(Open, 9),      seen(INODE, 20, other, Envelope),        Changed),
            (entry(Open, 9),      seen(OTHER, 9, other, NewEnvelopes),     Changed),
            // Open files that are shorter: only what was emptied in place.
            (entry(Open, 9),      seen(INODE, 0, None, Empty),             Own),
            (entry(Open, 9),      seen(INODE, 5, None, Envelope),          Changed),
            (entry(Open, 9),      seen(INODE, 5, None, Other),             Changed),
            (entry(Open, 9),      seen(OTHER, 0, None, Empty),             Changed),
            (entry(Open, 9),      seen(OTHER, 5, None, Envelope),          Changed),
            // Open files without a flush yet.
            (entry(Open, 0),      seen(INODE, 0, other, Empty),            Own),
            (entry(Open, 0),      seen(INODE, 5, other, Envelope),         Own),
            (entry(Open, 0),      seen(INODE, 5, other, NewEnvelopes),     Own),
            (entry(Open, 0),      seen(INODE, 5, other, Other),            Changed),
            (entry(Open, 0),      seen(OTHER, 5, other, NewEnvelopes),     Own),
            (entry(Open, 0),      seen(OTHER, 5, other, Envelope),         Changed),
            (entry(Open, 0),      seen(OTHER, 0, other, Empty),            Changed),
            (entry(Open, 0),      seen(OTHER, 5, other, Other),            Changed),
        ];
        for (entry, seen, expected) in table {
            assert_eq!(ownership(entry.as_ref(), seen.as_ref()), expected, "{entry:?} {seen:?}");
        }
    }
}
