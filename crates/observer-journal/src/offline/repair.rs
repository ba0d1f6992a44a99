//! Repair of a journal. All bytes that are removed or overwritten are first copied to another file.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::segment_check::SegmentCheck;
use super::{DamageKind, read_positions};
use crate::error::OpenError;
use crate::fs::{File, FileSystem, OpenMode, free_name, quarantine};
use crate::journal::recovery::{self, Recovery};
use crate::options::Options;
use crate::positions::{self, Found};
use crate::segment::Segment;
use crate::segment::format::BLOCKS_OFFSET;
use crate::segment::layout::Layout;

/// Number of bytes that are copied at once.
const CHUNK: u64 = 1 << 20;

/// Report of a repair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// Actions, in order.
    pub actions: Vec<RepairAction>,
    /// Report of opening the journal after these actions.
    pub recovery: Recovery,
}

/// Change to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairAction {
    /// Name of the file in the folder of the journal.
    pub file: String,
    /// Bytes of the file that were removed or overwritten; all of them if it was renamed.
    pub bytes: Range<u64>,
    /// Description of the change, as a participle: `footer rewritten`.
    pub done: &'static str,
    /// Name of the file in the folder of the journal that contains these bytes now.
    pub kept_in: Option<String>,
}

pub(super) fn repair(options: &Options) -> Result<Repair, OpenError> {
    let (fs, dir) = (&*options.fs, &options.dir);
    let mut layout = Layout::read(fs, dir)?;
    // A file of a later version is found before anything is changed.
    read_positions(options)?;
    let mut actions = Vec::new();
    let superseded = std::mem::take(&mut layout.superseded);
    let unreadable = layout.unreadable.iter().map(|file| (file.name, "renamed: it has no header"));
    let superseded = superseded.into_iter().map(|name| (name, "renamed: a later file replaces it"));
    for (name, done) in superseded.chain(unreadable) {
        let file = name.to_string();
        actions.push(
            set_aside(fs, dir, &file, done).map_err(OpenError::io("rename", name.path(dir)))?,
        );
    }
    for (at, segment) in layout.segments.iter().enumerate() {
        let path = segment.name.path(dir);
        let repaired = repair_segment(fs, dir, segment, layout.next_after(at), &mut actions);
        repaired.map_err(OpenError::io("repair", &path))?;
    }
    if let Found::Corrupt { .. } = read_positions(options)? {
        let done = "renamed: it is corrupt; sinks receive all events in the journal again";
        let path = dir.join(positions::FILE);
        actions.push(
            set_aside(fs, dir, positions::FILE, done).map_err(OpenError::io("rename", &path))?,
        );
    }

    // This syncs the folder, too.
    let (_, _, recovery) = recovery::open(options.clone())?;
    let mut created = |done| {
        actions.push(RepairAction {
            file: positions::FILE.to_owned(),
            bytes: 0..0,
            done,
            kept_in: None,
        });
    };
    if recovery.positions_lost {
        created("created again");
    }
    if recovery.new_epoch {
        created("a new epoch began: the position of a sink was after the end of the journal");
    }
    Ok(Repair { actions, recovery })
}

fn repair_segment(
    fs: &dyn FileSystem,
    dir: &Path,
    segment: &Segment,
    next: Option<u64>,
    actions: &mut Vec<RepairAction>,
) -> io::Result<()> {
    let name = segment.name.to_string();
    let file = fs.open(&segment.name.path(dir), OpenMode::Write)?;
    let check = SegmentCheck::run(segment, next, file.clone())?;
    for (at, block) in &check.corrections {
        let at = *at;
        let bytes = at..at + block.len() as u64;
        let kept_in = Some(copy_bytes(fs, dir, &*file, &name, bytes.clone())?);
        file.write_at(block, at)?;
        file.sync()?;
        actions.push(RepairAction {
            file: name.clone(),
            bytes,
            done: "a flipped bit corrected",
            kept_in,
        });
    }
    if check.has(DamageKind::HeaderCopy) {
        let bytes = 0..BLOCKS_OFFSET.min(file.size()?);
        let kept_in = Some(copy_bytes(fs, dir, &*file, &name, bytes.clone())?);
        file.write_at(&segment.header.encode(), 0)?;
        file.sync()?;
        actions.push(RepairAction {
            file: name.clone(),
            bytes,
            done: "both headers rewritten",
            kept_in,
        });
    }
    let Some((bytes, footer)) = check.replaced_end() else { return Ok(()) };
    let kept_in = Some(copy_bytes(fs, dir, &*file, &name, bytes.clone())?);
    // An interruption after this leaves no footer, which is no damage; half a footer would be.
    file.truncate(check.end)?;
    let done = match footer {
        Some(footer) => {
            file.write_at(footer, check.end)?;
            "footer rewritten"
        }
        None => "truncated after the last complete record",
    };
    file.sync()?;
    actions.push(RepairAction { file: name, bytes, done, kept_in });
    Ok(())
}

/// Renames a file that the journal no longer reads.
fn set_aside(
    fs: &dyn FileSystem,
    dir: &Path,
    name: &str,
    done: &'static str,
) -> io::Result<RepairAction> {
    let size = fs.open(&dir.join(name), OpenMode::Read)?.size()?;
    let kept_in = Some(quarantine(fs, dir, name)?);
    Ok(RepairAction { file: name.to_owned(), bytes: 0..size, done, kept_in })
}

/// Copies bytes of a file to a new, durable file beside it. Returns its name.
fn copy_bytes(
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
