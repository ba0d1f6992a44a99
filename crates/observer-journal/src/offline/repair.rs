//! Mends what can be mended. Every byte that is cut or written over is kept in a file of its own
//! first.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::segment_check::Look;
use super::{DamageKind, read_positions};
use crate::error::OpenError;
use crate::format::BLOCKS_OFFSET;
use crate::fs::{File, FileSystem, OpenMode, free_name, quarantine};
use crate::options::Options;
use crate::positions::{self, Found};
use crate::recovery::{self, Recovery};
use crate::segment::Segment;
use crate::segment::layout::Layout;

/// How much is copied at once.
const CHUNK: u64 = 1 << 20;

/// What was done to mend a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// What was done to which file, in order.
    pub actions: Vec<RepairAction>,
    /// What opening found after that.
    pub recovery: Recovery,
}

/// What was done to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairAction {
    /// The name of the file in the journal's folder.
    pub file: String,
    /// Which bytes of it were cut or written over; all of them where it was set aside.
    pub bytes: Range<u64>,
    /// What was done.
    pub done: &'static str,
    /// The name of the file in the journal's folder that has those bytes now.
    pub kept_in: Option<String>,
}

pub(super) fn repair(options: &Options) -> Result<Repair, OpenError> {
    let (fs, dir) = (&*options.fs, &options.dir);
    let mut layout = Layout::read(fs, dir)?;
    let mut actions = Vec::new();
    let given_up = std::mem::take(&mut layout.superseded);
    let unreadable =
        layout.unreadable.iter().map(|file| (file.name, "set aside: it has no header"));
    let given_up =
        given_up.into_iter().map(|name| (name, "set aside: a later file took its place"));
    for (name, done) in given_up.chain(unreadable) {
        let file = name.to_string();
        actions.push(aside(fs, dir, &file, done).map_err(OpenError::io("rename", name.path(dir)))?);
    }
    for (at, segment) in layout.segments.iter().enumerate() {
        let path = segment.name.path(dir);
        let mended = mend(fs, dir, segment, layout.next_after(at), &mut actions);
        mended.map_err(OpenError::io("mend", &path))?;
    }
    if let Found::Corrupt { .. } = read_positions(options)? {
        let done = "set aside: it is corrupt; sinks get again what the journal still has";
        let path = dir.join(positions::FILE);
        actions
            .push(aside(fs, dir, positions::FILE, done).map_err(OpenError::io("rename", &path))?);
    }

    // It syncs the folder, too.
    let (_, _, recovery) = recovery::open(options.clone())?;
    let mut begun = |done| {
        actions.push(RepairAction {
            file: positions::FILE.to_owned(),
            bytes: 0..0,
            done,
            kept_in: None,
        });
    };
    if recovery.positions_lost {
        begun("begun anew");
    }
    if recovery.new_epoch {
        begun("a new epoch was begun: a sink had more than the journal has");
    }
    Ok(Repair { actions, recovery })
}

fn mend(
    fs: &dyn FileSystem,
    dir: &Path,
    segment: &Segment,
    next: Option<u64>,
    actions: &mut Vec<RepairAction>,
) -> io::Result<()> {
    let name = segment.name.to_string();
    let file = fs.open(&segment.name.path(dir), OpenMode::Write)?;
    let Look { damage, end, has_trailer, footer, .. } = Look::at(segment, next, file.clone())?;
    if damage.iter().any(|damage| damage.kind == DamageKind::HeaderCopy) {
        let bytes = 0..BLOCKS_OFFSET.min(file.size()?);
        let kept_in = Some(keep(fs, dir, &*file, &name, bytes.clone())?);
        file.write_at(&segment.header.encode(), 0)?;
        file.sync()?;
        actions.push(RepairAction {
            file: name.clone(),
            bytes,
            done: "both headers written anew",
            kept_in,
        });
    }
    let broken =
        |kind| damage.iter().find(|damage| damage.kind == kind).map(|damage| damage.bytes.clone());
    let rewritten = broken(DamageKind::Footer).zip(footer);
    // Opening would cut that, too, and keep nothing. Where there is a trailer, it is what tells the
    // last record.
    let tail = broken(DamageKind::Tail)
        .or_else(|| broken(DamageKind::Footer).filter(|_| next.is_none() && !has_trailer));
    let (bytes, footer) = match (rewritten, tail) {
        (Some((bytes, footer)), _) => (bytes, Some(footer)),
        (None, Some(bytes)) => (bytes, None),
        (None, None) => return Ok(()),
    };
    let kept_in = Some(keep(fs, dir, &*file, &name, bytes.clone())?);
    // Half of a footer would be damage again, and nothing behind the blocks is none.
    file.truncate(end)?;
    let done = match footer {
        Some(footer) => {
            file.write_at(&footer, end)?;
            "the list of keys written anew"
        }
        None => "cut off behind the last whole record",
    };
    file.sync()?;
    actions.push(RepairAction { file: name, bytes, done, kept_in });
    Ok(())
}

fn aside(
    fs: &dyn FileSystem,
    dir: &Path,
    name: &str,
    done: &'static str,
) -> io::Result<RepairAction> {
    let size = fs.open(&dir.join(name), OpenMode::Read)?.size()?;
    let kept_in = Some(quarantine(fs, dir, name)?);
    Ok(RepairAction { file: name.to_owned(), bytes: 0..size, done, kept_in })
}

/// A durable copy of some bytes of a file, beside it. Gives its name.
fn keep(
    fs: &dyn FileSystem,
    dir: &Path,
    file: &dyn File,
    name: &str,
    bytes: Range<u64>,
) -> io::Result<String> {
    let kept_in = free_name(fs, dir, &format!("{name}.from-{}.corrupt", bytes.start))?;
    let copy = fs.open(&dir.join(&kept_in), OpenMode::Create)?;
    let mut at = bytes.start;
    while at < bytes.end {
        let mut chunk =
            vec![0; usize::try_from(CHUNK.min(bytes.end - at)).map_err(io::Error::other)?];
        let count = file.read_at(&mut chunk, at)?;
        if count == 0 {
            break;
        }
        copy.write_at(&chunk[..count], at - bytes.start)?;
        at += count as u64;
    }
    copy.sync()?;
    fs.sync_dir(dir)?;
    Ok(kept_in)
}
