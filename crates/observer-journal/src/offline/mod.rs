//! A journal that no one writes to: look at it, mend it, read it.

mod damage;
mod inspect;
mod repair;
mod segment_check;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use self::damage::{Damage, DamageKind};
pub use self::inspect::{Inspection, ReaderPosition, SegmentState, SegmentSummary};
pub use self::repair::{Repair, RepairAction};

use crate::error::OpenError;
use crate::fs::OpenMode;
use crate::options::Options;
use crate::positions::readers::Readers;
use crate::positions::{Found, Positions};
use crate::reader::Reader;
use crate::segment::layout::Layout;
use crate::segment::scan;
use crate::shared::Shared;

/// The files of a journal that is not open anywhere; its lock is held as long as this lives.
///
/// [`inspect`](Self::inspect) and [`reader`](Self::reader) change nothing, unlike opening a
/// journal.
///
/// ```
/// use observer_journal::{Append, Journal, Options, Record, Runner, OfflineJournal, fs};
///
/// let options = Options::new("journal").file_system(fs::Memory::default()).runner(Runner::Caller);
/// let (journal, _recovery) = Journal::open(options.clone(), |_| {})?;
/// journal.append(Append::new(vec![Record::new(1, [7; 16], "hello")], ()));
/// drop(journal);
///
/// let inspection = OfflineJournal::open(options)?.inspect()?;
/// assert_eq!((inspection.head, inspection.damage.len()), (1, 0));
/// # Ok::<(), observer_journal::OpenError>(())
/// ```
pub struct OfflineJournal {
    options: Options,
    _lock: Box<dyn Any + Send + Sync>,
}

impl OfflineJournal {
    /// Take the lock of a journal that is there.
    ///
    /// # Errors
    /// When there is none, a process has it open, or its files can't be reached.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let (fs, dir) = (options.fs.clone(), options.dir.clone());
        let missing = || OpenError::Missing { dir: dir.clone() };
        let listed = fs.list(&dir).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(),
            _ => OpenError::io("list", &dir)(error),
        })?;
        if !listed
            .iter()
            .any(|name| name.ends_with(".log") || name.starts_with(crate::positions::FILE))
        {
            return Err(missing());
        }
        let path = dir.join("lock");
        let lock = fs.lock(&path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse { dir: dir.clone() },
            _ => OpenError::io("lock", &path)(error),
        })?;
        Ok(Self { options, _lock: lock })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// Read everything, and say what is there and what is wrong with it.
    ///
    /// # Errors
    /// When the files can't be reached. What was changed or is missing is no error.
    pub fn inspect(&self) -> Result<Inspection, OpenError> {
        inspect::inspect(&self.options)
    }

    /// Do what opening would do, and what it leaves alone: write what can be known from the rest,
    /// and keep each byte that is cut or written over.
    ///
    /// No record that can be read is removed, expired or not.
    ///
    /// # Errors
    /// When the files can't be reached. What was mended until then is.
    pub fn repair(&self) -> Result<Repair, OpenError> {
        repair::repair(&self.options)
    }

    /// Read the records after `after` as they are now; what can't be read is a gap.
    ///
    /// # Errors
    /// When the files can't be reached.
    pub fn reader(&self, after: u64) -> Result<Reader, OpenError> {
        let options = self.options.clone();
        let layout = Layout::read(&*options.fs, &options.dir)?;
        let head = self.head(&layout)?;
        let fs = options.fs.clone();
        let shared = Shared::new(options, fs, layout.segments, head, Readers::default());
        Ok(Reader::new(Arc::new(shared), after))
    }

    fn head(&self, layout: &Layout) -> Result<u64, OpenError> {
        let Some(last) = layout.segments.back() else { return Ok(0) };
        let path = last.name.path(&self.options.dir);
        let file =
            self.options.fs.open(&path, OpenMode::Read).map_err(OpenError::io("open", &path))?;
        if let Some(head) = last.sealed_last(&*file).map_err(OpenError::io("read", &path))? {
            return Ok(head);
        }
        let mut head = last.name.first_seq - 1;
        scan(last, file, |block| head = block.last_seq).map_err(OpenError::io("read", &path))?;
        Ok(head)
    }
}

impl std::fmt::Debug for OfflineJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfflineJournal").field("dir", &self.options.dir).finish_non_exhaustive()
    }
}

fn read_positions(options: &Options) -> Result<Found, OpenError> {
    let dir = &options.dir;
    Positions::read(&*options.fs, dir).map_err(OpenError::io("read the positions in", dir))
}
