//! Inspection, repair and reading of a journal that is not open.

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
use crate::folder::LOCK;
use crate::fs::OpenMode;
use crate::options::Options;
use crate::positions::readers::Readers;
use crate::positions::{Found, Positions};
use crate::reader::Reader;
use crate::removed_keys::RemovedKeys;
use crate::segment::layout::Layout;
use crate::segment::scan;
use crate::state::JournalState;

/// Journal that is not open, for inspection and repair. Its lock is held until this is dropped.
///
/// Unlike opening the journal, [`inspect`](Self::inspect) and [`reader`](Self::reader) change no
/// file.
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
    /// `None` if the journal has no lock file.
    lock: Option<Box<dyn Any + Send + Sync>>,
}

/// Returns the conversion of an error of the lock.
fn lock_error(options: &Options) -> impl FnOnce(io::Error) -> OpenError {
    let dir = options.dir.clone();
    move |error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::InUse { dir },
        _ => OpenError::io("lock", dir.join(LOCK))(error),
    }
}

impl OfflineJournal {
    /// Acquires the lock of an existing journal. Nothing is created or changed, so that a read-only
    /// journal can be opened.
    ///
    /// # Errors
    /// Returns an error if there is no journal, if it is open, or if a file operation fails.
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
        let path = dir.join(LOCK);
        let lock = fs.lock_existing(&path).map_err(lock_error(&options))?;
        Ok(Self { options, lock })
    }

    /// Checks that no later version of the program wrote a file of a journal, which may be missing
    /// or open. Changes nothing.
    ///
    /// # Errors
    /// If a later version wrote a file. A file that can't be read is reported when it is needed.
    pub fn verify_versions(options: &Options) -> Result<(), OpenError> {
        let (fs, dir) = (&*options.fs, &options.dir);
        let read = [
            Layout::read(fs, dir).map(drop),
            Positions::read(fs, dir).map(drop),
            RemovedKeys::load(fs, dir).map(drop),
        ];
        let newer = read.into_iter().find(|read| matches!(read, Err(OpenError::Newer { .. })));
        newer.unwrap_or(Ok(()))
    }

    /// Makes sure that no process opens the journal until this is dropped, also if it has no lock
    /// file, which is created then.
    ///
    /// # Errors
    /// Returns an error if the lock can't be acquired.
    pub fn hold(mut self) -> Result<Self, OpenError> {
        if self.lock.is_none() {
            let path = self.options.dir.join(LOCK);
            self.lock = Some(self.options.fs.lock(&path).map_err(lock_error(&self.options))?);
        }
        Ok(self)
    }

    /// Returns the folder of the journal.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// Reads all files and reports their content and damage.
    ///
    /// # Errors
    /// Returns an error if a file operation fails. Damage is no error.
    pub fn inspect(&self) -> Result<Inspection, OpenError> {
        inspect::inspect(&self.options)
    }

    /// Repairs what opening the journal would repair, and also rewrites corrupt headers and
    /// footers. All bytes that are removed or overwritten are kept in another file.
    ///
    /// No readable record is removed, expired or not.
    ///
    /// # Errors
    /// Returns an error if a file operation fails. Repairs before the error stay.
    pub fn repair(&self) -> Result<Repair, OpenError> {
        let _lock = match &self.lock {
            Some(_) => None,
            None => {
                let path = self.options.dir.join(LOCK);
                Some(self.options.fs.lock(&path).map_err(lock_error(&self.options))?)
            }
        };
        repair::repair(&self.options)
    }

    /// Returns a reader of the records after `after`. Unreadable records are gaps.
    ///
    /// # Errors
    /// Returns an error if a file operation fails.
    pub fn reader(&self, after: u64) -> Result<Reader, OpenError> {
        let options = self.options.clone();
        let layout = Layout::read(&*options.fs, &options.dir)?;
        let head = self.head(&layout)?;
        let fs = options.fs.clone();
        let state = JournalState::new(
            options,
            fs,
            layout.segments,
            head,
            Readers::default(),
            RemovedKeys::default(),
        );
        Ok(Reader::new(Arc::new(state), after))
    }

    /// Returns the epoch that positions have once the journal is open, if no sink is ahead of the
    /// last record; `None` if the journal has neither positions nor records.
    ///
    /// # Errors
    /// Returns an error if a file operation fails.
    pub fn epoch(&self) -> Result<Option<u64>, OpenError> {
        if let Found::Valid(positions) = read_positions(&self.options)?
            && let Some((epoch, _)) = positions.epochs.last()
        {
            return Ok(Some(*epoch));
        }
        let layout = Layout::read(&*self.options.fs, &self.options.dir)?;
        Ok(layout.segments.iter().map(|segment| segment.header.epoch).max())
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
    Positions::read(&*options.fs, &options.dir)
}
