//! Files of the template that the ledger doesn't record: those of an earlier version, which are
//! adopted at the first start, and those of strangers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;
use observer_core::{BuildError, Position, SinkContext};

use crate::compression::Compression;
use crate::config::FileConfig;
use crate::disk::Identity;
use crate::error::FileError;
use crate::ledger::ownership::{end_of, look};
use crate::ledger::{Entry, Kind, Ledger};
use crate::names::listing::{ListedFile, Listing};
use crate::siblings::{FileSinks, Peer};
use crate::writer::sidecar::{self, Loaded, Mark, Recorded};
use crate::writer::tail::{Line, last_line};

/// Longest line that is read to recognise an envelope, in bytes.
const MAX_LINE: u64 = 16 << 20;

/// Files of the template that the ledger doesn't record.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Files that can be adopted, with their entries.
    pub(crate) adoptable: Vec<(String, Entry)>,
    /// All other ones.
    pub(crate) unowned: Vec<PathBuf>,
}

/// Condition under which a file can be adopted, besides that it holds envelopes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule<'a> {
    /// First start after an earlier version: the sidecar names the open files, other files lie at
    /// or below its position, and match no other sink's template.
    Earlier(&'a Recorded),
    /// Word of an operator: the file is closed, and no other sink wrote it.
    Operator,
    /// None is.
    Never,
}

impl FileConfig {
    /// Returns the files that match `path` and that the sink did not write, and will not adopt at
    /// its first start. Changes nothing.
    ///
    /// # Errors
    /// If the configuration is invalid, or the state or a folder can't be read.
    pub fn unowned_files(
        &self,
        context: &SinkContext,
        sinks: &FileSinks,
    ) -> Result<Vec<PathBuf>, BuildError> {
        let template = self.check()?.template;
        let unreadable = |error: FileError| BuildError::new("path", observer_core::report(&error));
        let listing = Listing::read(&template)
            .map_err(FileError::io("list the files in", template.base()))
            .map_err(unreadable)?;
        let (state_dir, peers) = (&context.state_dir, sinks.peers_of(&context.name));
        let loaded = Ledger::load(state_dir, template.base(), template.extension());
        let loaded = loaded.map_err(unreadable)?;
        let sidecar = sidecar::load(state_dir).map_err(unreadable)?;
        let rule = match &sidecar {
            Loaded::Intact(recorded, _) if loaded.is_new => Rule::Earlier(recorded),
            _ => Rule::Never,
        };
        Ok(find(&listing, &loaded.ledger, &peers, rule).unowned)
    }
}

/// Sorts the files of a template that the ledger doesn't record.
///
/// A file counts as one of envelopes if its first line is one, and, unless it is compressed, its
/// last line too.
pub(crate) fn find(listing: &Listing, ledger: &Ledger, peers: &[Peer], rule: Rule<'_>) -> Found {
    let mut found = Found::default();
    let owned: Vec<_> = peers.iter().filter_map(Peer::ledger).collect();
    if let Rule::Earlier(recorded) = rule {
        found.adoptable.extend(marked(recorded, ledger));
    }
    let marks: BTreeMap<_, _> = found.adoptable.iter().cloned().collect();
    for file in &listing.files {
        let key = ledger.key(&file.path);
        let is_owned = ledger.get(&key).is_some() || marks.contains_key(&key);
        if is_owned || owned.iter().any(|peer| peer.get(&peer.key(&file.path)).is_some()) {
            continue;
        }
        let may_adopt = match rule {
            Rule::Earlier(_) => !peers.iter().any(|peer| peer.matches(&file.path)),
            Rule::Operator => true,
            Rule::Never => false,
        };
        let entry = if may_adopt { entry_of(file, rule) } else { Ok(None) };
        match entry {
            Ok(Some(entry)) => found.adoptable.push((key, entry)),
            _ => found.unowned.push(file.path.clone()),
        }
    }
    found
}

/// Returns the entries of the files that an earlier version had open.
fn marked(recorded: &Recorded, ledger: &Ledger) -> Vec<(String, Entry)> {
    let entry = |mark: &Mark| {
        let key = mark.file.clone().unwrap_or_else(|| ledger.key(&mark.path));
        // An entry of a renamed file needs the end of that file.
        let siblings = std::fs::read_dir(crate::disk::parent(&mark.path)).ok()?;
        let siblings = siblings.filter_map(|entry| Some(entry.ok()?.path()));
        let path = std::iter::once(mark.path.clone()).chain(siblings).find(|path| {
            std::fs::metadata(path).is_ok_and(|metadata| {
                metadata.is_file() && Identity::of(&metadata) == mark.identity
            })
        })?;
        let file = File::open(&path).ok()?;
        let actual = file.metadata().ok()?.len();
        let len = if actual < mark.size { 0 } else { mark.size };
        let end = end_of(&file, Kind::Open, len, actual).ok()??;
        let last = last_line(&file, len).ok().and_then(|line| Line::parse(&line));
        let newest = last.map_or(0, |line| line.received_at.as_second());
        Some((key, Entry { kind: Kind::Open, identity: mark.identity, len, end, newest }))
    };
    recorded.files.iter().filter_map(entry).collect()
}

/// Returns the entry of a file that can be adopted.
fn entry_of(found: &ListedFile, rule: Rule<'_>) -> io::Result<Option<Entry>> {
    let Some(seen) = look(&found.path, None, None)? else { return Ok(None) };
    let file = File::open(&found.path)?;
    let Some(first) = first_line(&file, found.compression)? else { return Ok(None) };
    let is_packed = found.compression != Compression::None;
    let last = if is_packed {
        first.clone()
    } else {
        match Line::parse(&last_line(&file, seen.len)?) {
            Some(last) => last,
            None => return Ok(None),
        }
    };
    let kind = match rule {
        _ if is_packed => Kind::Packed,
        Rule::Earlier(_) if found.index.is_none() => Kind::Open,
        _ => Kind::Closed,
    };
    if let Rule::Earlier(recorded) = rule {
        let Position { seq, .. } = recorded.position;
        if last.seq > seq || first.seq > seq {
            return Ok(None);
        }
    }
    let end = end_of(&file, kind, seen.len, seen.len)?.unwrap_or_default();
    let modified = found.modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let newest = if is_packed {
        i64::try_from(modified.as_secs()).unwrap_or(i64::MAX)
    } else {
        last.received_at.as_second()
    };
    Ok(Some(Entry { kind, identity: seen.identity, len: seen.len, end, newest }))
}

/// Returns the first line of a file if it is an envelope.
fn first_line(file: &File, compression: Compression) -> io::Result<Option<Line>> {
    let mut file = file;
    io::Seek::seek(&mut file, io::SeekFrom::Start(0))?;
    let reader: Box<dyn Read + '_> = match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(file)?),
    };
    let mut line = Vec::new();
    BufReader::new(reader).take(MAX_LINE).read_until(b'\n', &mut line)?;
    Ok(Line::parse(&line))
}
