//! List of the segment files in the folder of a journal, by their names and headers.

use std::collections::VecDeque;
use std::path::Path;

use crate::error::OpenError;
use crate::fs::{FileSystem, OpenMode};
use crate::segment::format::{BLOCKS_OFFSET, Version};
use crate::segment::{Found, Segment, SegmentName};

/// Segment files in the folder of a journal. Reading it changes no file.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// Segments whose header is valid or was rebuilt, oldest first.
    pub(crate) segments: VecDeque<Segment>,
    /// Files without a usable header, oldest first.
    pub(crate) unreadable: Vec<Unreadable>,
    /// Files that a later generation replaces, oldest first.
    pub(crate) superseded: Vec<SegmentName>,
}

/// File that has the name of a segment, but no usable header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unreadable {
    pub(crate) name: SegmentName,
    /// Size in bytes.
    pub(crate) size: u64,
}

impl Unreadable {
    /// Returns whether the creation of the file was interrupted before its header was durable. Such
    /// a file has no acknowledged record and replaces no other file.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.size <= BLOCKS_OFFSET
    }
}

impl Layout {
    pub(crate) fn read(fs: &dyn FileSystem, dir: &Path) -> Result<Self, OpenError> {
        let listed = fs.list(dir).map_err(OpenError::io("list", dir))?;
        let mut names: Vec<_> = listed.iter().filter_map(|name| SegmentName::parse(name)).collect();
        names.sort_unstable();
        let mut layout = Self::default();
        let mut newest_first_seq = None;
        for name in names.into_iter().rev() {
            if newest_first_seq == Some(name.first_seq) {
                layout.superseded.push(name);
                continue;
            }
            let path = name.path(dir);
            match Segment::read(fs, dir, name).map_err(OpenError::io("read", &path))? {
                Found::Segment(segment) => layout.segments.push_front(segment),
                Found::Newer(found) => {
                    let known = Version::CURRENT.number();
                    return Err(OpenError::Newer { path, found, known });
                }
                Found::Unreadable => {
                    let size = fs.open(&path, OpenMode::Read).and_then(|file| file.size());
                    let unreadable =
                        Unreadable { name, size: size.map_err(OpenError::io("read", &path))? };
                    layout.unreadable.push(unreadable);
                    if unreadable.is_unfinished() {
                        continue;
                    }
                }
            }
            newest_first_seq = Some(name.first_seq);
        }
        layout.unreadable.reverse();
        layout.superseded.reverse();
        Ok(layout)
    }

    /// Returns the first sequence number of the segment after `segments[at]`, readable or not.
    pub(crate) fn next_after(&self, at: usize) -> Option<u64> {
        let name = self.segments[at].name;
        let readable = self.segments.get(at + 1).map(|next| next.name);
        let unreadable = self
            .unreadable
            .iter()
            .map(|file| file.name)
            .find(|other| other.first_seq > name.first_seq);
        readable.into_iter().chain(unreadable).min().map(|next| next.first_seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Memory;
    use crate::testing::{fill, open, options};

    #[test]
    fn segment_ends_where_the_next_file_begins_readable_or_not() {
        let memory = Memory::default();
        let (journal, _) = open(options(memory.clone()).segment_size(4096));
        fill(&journal, 1..=200);
        drop(journal);
        let layout = || Layout::read(&memory, Path::new("j")).unwrap();
        let first: Vec<_> =
            layout().segments.iter().map(|segment| segment.name.first_seq).collect();
        assert_eq!(first.len(), 4);
        let path = layout().segments[2].name.path(Path::new("j"));
        let file = memory.open(&path, OpenMode::Write).unwrap();
        file.write_at(&vec![0; usize::try_from(file.size().unwrap()).unwrap()], 0).unwrap();
        // A later generation of the first segment, whose creation was interrupted.
        let unfinished = SegmentName { first_seq: first[0], generation: 1 }.path(Path::new("j"));
        memory.open(&unfinished, OpenMode::Create).unwrap();
        let layout = layout();
        assert_eq!((layout.segments.len(), layout.unreadable.len()), (3, 2));
        let next: Vec<_> = (0..3).map(|at| layout.next_after(at)).collect();
        assert_eq!(next, [Some(first[1]), Some(first[2]), None]);
    }
}
