//! Restoration of the active segment after its file was removed or replaced: the blocks can still
//! be read from the open file, and are written to a file of the next generation.

use std::io;
use std::sync::Arc;

use crate::error::AppendError;
use crate::fs::{File, FileId, OpenMode};
use crate::segment::SegmentName;
use crate::writer::log::{Active, Log};

/// Number of bytes that are copied at once.
const CHUNK: u64 = 1 << 20;

/// Side of a copy that failed.
enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

impl Log {
    /// Writes the blocks of a removed segment to a new file, which is the active segment then. If
    /// they can't be read any more, the segment is given up, and there is no active segment.
    pub(super) fn restore(&mut self) -> Result<(), AppendError> {
        let Some(removed) = &self.removed else { return Ok(()) };
        let created = self.last_created.filter(|name| name.first_seq == removed.name.first_seq);
        let latest = created.map_or(removed.name, |name| name.max(removed.name));
        let name = SegmentName { generation: latest.generation + 1, ..latest };
        self.last_created = Some(name);
        match self.copy(removed, name) {
            Ok((file, id)) => self.continue_in(file, id, name),
            Err(CopyError::Write(source)) => {
                let path = name.path(&self.state.dir);
                let _ = self.state.fs.remove(&path);
                return Err(AppendError::Write { path, source: Arc::new(source) });
            }
            Err(CopyError::Read(error)) => {
                let _ = self.state.fs.remove(&name.path(&self.state.dir));
                tracing::error!(
                    segment = %removed.name,
                    %error,
                    "the removed segment can't be read any more"
                );
                self.removed = None;
            }
        }
        if let Err(error) = self.state.report_missing_segments() {
            tracing::warn!(%error, "can't list the segments of the journal");
        }
        Ok(())
    }

    /// Copies the blocks of a segment to a new, durable file.
    fn copy(
        &self,
        removed: &Active,
        name: SegmentName,
    ) -> Result<(Arc<dyn File>, FileId), CopyError> {
        let path = name.path(&self.state.dir);
        let file = self.state.fs.open(&path, OpenMode::Create).map_err(CopyError::Write)?;
        let mut at = 0;
        while at < removed.end {
            let length = usize::try_from(CHUNK.min(removed.end - at)).expect("a chunk fits");
            let mut chunk = vec![0; length];
            let count = removed.file.read_at(&mut chunk, at).map_err(CopyError::Read)?;
            if count < length {
                return Err(CopyError::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            file.write_at(&chunk, at).map_err(CopyError::Write)?;
            at += count as u64;
        }
        file.sync().map_err(CopyError::Write)?;
        self.state.fs.sync_dir(&self.state.dir).map_err(CopyError::Write)?;
        let id = file.id().map_err(CopyError::Write)?;
        Ok((file, id))
    }

    /// Continues the removed segment in a copy of its file.
    fn continue_in(&mut self, file: Arc<dyn File>, id: FileId, name: SegmentName) {
        let Some(removed) = self.removed.take() else { return };
        if let Some(segment) = self.state.segments().back_mut() {
            segment.name = name;
        }
        tracing::warn!(
            segment = %removed.name,
            restored_as = %name,
            "the last segment was removed or replaced while it was open; its records are restored"
        );
        let filled = removed.end;
        self.active = Some(Active { name, file, id, filled, unsynced: false, ..removed });
    }
}
