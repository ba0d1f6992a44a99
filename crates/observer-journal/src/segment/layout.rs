//! The files of a journal, by their names and headers.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use crate::error::OpenError;
use crate::format::BLOCKS;
use crate::fs::{FileSystem, OpenMode};
use crate::segment::{Segment, SegmentName};

/// What segments there are. Nothing is changed by looking.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// Those with a header, oldest first.
    pub(crate) segments: VecDeque<Segment>,
    /// Those without one, oldest first.
    pub(crate) unreadable: Vec<Unreadable>,
    /// A later generation took the place of these, oldest first.
    pub(crate) given_up: Vec<SegmentName>,
}

/// A file that is a segment by its name alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unreadable {
    pub(crate) name: SegmentName,
    /// In bytes.
    pub(crate) size: u64,
}

impl Unreadable {
    /// Cut off before its header was durable: nothing was ever acknowledged in it, and it took no
    /// other's place.
    pub(crate) fn was_only_begun(&self) -> bool {
        self.size <= BLOCKS
    }
}

impl Layout {
    pub(crate) fn read(fs: &dyn FileSystem, dir: &Path) -> Result<Self, OpenError> {
        let listed = fs.list(dir).map_err(OpenError::io("list", dir))?;
        let mut names: Vec<_> = listed.iter().filter_map(|name| SegmentName::parse(name)).collect();
        names.sort_unstable();
        let mut layout = Self::default();
        let mut taken = None;
        for name in names.into_iter().rev() {
            if taken == Some(name.first_seq) {
                layout.given_up.push(name);
                continue;
            }
            let path = name.path(dir);
            match Segment::read(fs, dir, name).map_err(OpenError::io("read", &path))? {
                Some(segment) => layout.segments.push_front(segment),
                None => {
                    let size = fs.open(&path, OpenMode::Read).and_then(|file| file.size());
                    let unreadable =
                        Unreadable { name, size: size.map_err(OpenError::io("read", &path))? };
                    layout.unreadable.push(unreadable);
                    if unreadable.was_only_begun() {
                        continue;
                    }
                }
            }
            taken = Some(name.first_seq);
        }
        layout.unreadable.reverse();
        layout.given_up.reverse();
        Ok(layout)
    }

    /// The first record of the segment after `segments[at]`, with a header or without.
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

/// Give a file a name that says what it is, and that no other file has. Gives the name.
pub(crate) fn set_aside(fs: &dyn FileSystem, dir: &Path, name: &str) -> io::Result<String> {
    let aside = free_name(fs, dir, &format!("{name}.corrupt"))?;
    fs.rename(&dir.join(name), &dir.join(&aside))?;
    Ok(aside)
}

/// `name`, or where that is taken the first free one of `name.2`, `name.3`, …
pub(crate) fn free_name(fs: &dyn FileSystem, dir: &Path, name: &str) -> io::Result<String> {
    let listed = fs.list(dir)?;
    let numbered = (2..).map(|number: u32| format!("{name}.{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    Ok(names.find(|name| !listed.contains(name)).expect("there are more numbers than files"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Memory;
    use crate::testing::{fill, open, options};

    #[test]
    fn a_segment_ends_where_the_next_one_begins_with_a_header_or_without() {
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
        // One that was only begun in the place of another.
        let begun = SegmentName { first_seq: first[0], generation: 1 }.path(Path::new("j"));
        memory.open(&begun, OpenMode::Create).unwrap();
        let layout = layout();
        assert_eq!((layout.segments.len(), layout.unreadable.len()), (3, 2));
        let next: Vec<_> = (0..3).map(|at| layout.next_after(at)).collect();
        assert_eq!(next, [Some(first[1]), Some(first[2]), None]);
    }
}
