//! Folder of an open journal: its lock, and what happens when the folder is removed or replaced
//! while the journal is open.
//!
//! A folder that is missing is created again, and an empty one is used. A folder with segments of
//! another journal is left alone: the journal rejects appends until its own folder is back.

use std::any::Any;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use crate::error::AppendError;
use crate::fs::FileId;
use crate::positions::Positions;
use crate::segment::{Found, Segment, SegmentName};
use crate::state::JournalState;

/// Name of the lock file.
pub(crate) const LOCK: &str = "lock";

/// Folder that the journal uses.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    /// Identity at the time when the journal began to use it.
    pub(crate) id: Option<FileId>,
    /// Lock of the folder; `None` if the caller holds it.
    pub(crate) lock: Option<Box<dyn Any + Send + Sync>>,
}

impl JournalState {
    /// Returns whether the path of the folder still leads to the folder that the journal uses.
    pub(crate) fn is_folder_in_place(&self) -> io::Result<bool> {
        Ok(self.fs.id(&self.dir)? == self.folder().id)
    }

    /// Returns an error if the folder is not in place, so that nothing is changed in another one.
    pub(crate) fn require_folder(&self) -> io::Result<()> {
        if self.is_folder_in_place()? {
            return Ok(());
        }
        let message = format!("the folder {} was removed or replaced", self.dir.display());
        Err(io::Error::new(io::ErrorKind::NotFound, message))
    }

    /// Makes sure that the journal has its folder: begins to use the one at the path if that is
    /// another one now, and creates it if there is none.
    pub(crate) fn ensure_folder(&self) -> Result<(), AppendError> {
        let failed =
            |source| AppendError::Write { path: self.dir.clone(), source: Arc::new(source) };
        if self.is_folder_in_place().map_err(failed)? {
            return Ok(());
        }
        self.fs.create_dir_all(&self.dir).map_err(failed)?;
        let lock = self.fs.lock(&self.dir.join(LOCK)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => AppendError::Replaced { dir: self.dir.clone() },
            _ => failed(error),
        })?;
        if self.has_foreign_segments().map_err(failed)? {
            return Err(AppendError::Replaced { dir: self.dir.clone() });
        }
        let id = self.fs.id(&self.dir).map_err(failed)?;
        *self.folder() = Folder { id, lock: Some(lock) };
        // The next version of the positions is stored in this folder, whatever has changed.
        let mut readers = self.readers();
        readers.durable = Positions::default();
        readers.is_file_unknown = true;
        drop(readers);
        tracing::error!(
            dir = %self.dir.display(),
            "the folder of the journal was removed or replaced while it was open; the journal \
             continues in the folder that is there now"
        );
        Ok(())
    }

    /// Returns whether the folder at the path has a segment that is not this journal's. Salts are
    /// random, so the segments of another journal have others.
    fn has_foreign_segments(&self) -> io::Result<bool> {
        let own: BTreeSet<_> = self.segments().iter().map(|segment| segment.header.salt).collect();
        for name in self.fs.list(&self.dir)?.iter().filter_map(|name| SegmentName::parse(name)) {
            match Segment::read(&*self.fs, &self.dir, name)? {
                Found::Segment(segment) if own.contains(&segment.header.salt) => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Logs which segments have no file any more.
    pub(crate) fn report_missing_segments(&self) -> io::Result<()> {
        let listed: BTreeSet<_> = self.fs.list(&self.dir)?.into_iter().collect();
        let head = self.head();
        let segments = self.segments();
        for (at, segment) in segments.iter().enumerate() {
            let last = segments.get(at + 1).map_or(head, |next| next.name.first_seq - 1);
            let name = segment.name.to_string();
            if !listed.contains(&name) && last >= segment.name.first_seq {
                tracing::error!(
                    segment = name,
                    first = segment.name.first_seq,
                    last,
                    "a segment of the journal was removed; sinks that have not received its \
                     records lose them"
                );
            }
        }
        Ok(())
    }
}
