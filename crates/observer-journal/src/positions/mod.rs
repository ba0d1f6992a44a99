//! Position of each reader of the journal, in one small file.
//!
//! A second file [reserves](reserve) space for the next version of it on a full disk.
//!
//! # Format
//!
//! All integers are unsigned and little-endian.
//!
//! ```text
//! positions = magic epochs:u32 epoch{epochs} readers:u32 reader{readers} crc:u32
//! epoch     = epoch:u64 first_seq:u64                               16 bytes
//! reader    = length:u32 name epoch:u64 seq:u64 length:u32 state    24 bytes and both lengths
//! ```
//!
//! The magic is `OBSVPOS1`, 8 bytes, whose last byte is the version. `crc` is the CRC-32C of all
//! bytes before it, not salted. The file has 20 bytes without epochs and readers.
//!
//! - An epoch has a number and the first sequence number that is counted in it. Epochs are stored
//!   oldest first, at most 1,000 of them. Where the last record that was lost is known, an epoch
//!   without records follows it, before the epoch that begins further back.
//! - A reader has a name (UTF-8), and the position up to which it is done: the epoch and the
//!   sequence number. `state` is opaque to the journal. Readers are sorted by name.
//!
//! The file is never changed in place. The next version is written to `positions.new`, synced,
//! renamed to `positions`, and the folder is synced.
//!
//! Every later version begins with the bytes `OBSVPOS` and its version, by which this program
//! refuses to open the journal.

pub(crate) mod readers;
pub(crate) mod reserve;

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};

use crate::error::OpenError;
use crate::fs::{FileSystem, OpenMode, quarantine};
use crate::segment::format::newer_version;

const MAGIC: [u8; 8] = *b"OBSVPOS1";
/// Version of the format.
const VERSION: u32 = 1;
pub(crate) const FILE: &str = "positions";
const TEMPORARY: &str = "positions.new";
/// Limit for the size of the file, even if the journal is restored from old copies repeatedly.
const MAX_EPOCHS: usize = 1_000;

/// Position of a reader, with state of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPosition {
    /// Epoch to which `seq` belongs.
    pub epoch: u64,
    /// Last record that the reader is done with.
    pub seq: u64,
    /// State of the reader, which is opaque to the journal and durable together with the position.
    pub state: Bytes,
}

/// Content of the file: the history of epochs, and the position of every reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Positions {
    /// Each epoch with the first sequence number that belongs to it, oldest first.
    pub(crate) epochs: Vec<(u64, u64)>,
    pub(crate) readers: BTreeMap<String, StoredPosition>,
}

/// Result of reading the file.
#[derive(Debug)]
pub(crate) enum Found {
    Missing,
    Corrupt {
        /// Size of the file in bytes.
        size: u64,
    },
    Valid(Positions),
}

/// Result of loading the file.
#[derive(Debug)]
pub(crate) enum Loaded {
    Missing,
    /// The file was corrupt and is renamed.
    Corrupt {
        renamed_to: PathBuf,
    },
    Valid(Positions),
}

impl Positions {
    /// Returns the current epoch; 0 before the first one.
    pub(crate) fn epoch(&self) -> u64 {
        self.epochs.last().map_or(0, |(epoch, _)| *epoch)
    }

    /// Begins an epoch with the record after `head`.
    pub(crate) fn begin_epoch(&mut self, now: u64, head: u64) {
        let epoch = now.max(self.epoch() + 1);
        self.epochs.push((epoch, head + 1));
        if self.epochs.len() > MAX_EPOCHS {
            self.epochs.remove(0);
        }
    }

    /// Begins an epoch with the record after `head`, since the records from there to `last` were
    /// lost. An epoch without records keeps `last`.
    pub(crate) fn begin_epoch_after_loss(&mut self, now: u64, head: u64, last: u64) {
        self.begin_epoch(0, last);
        self.begin_epoch(now, head);
    }

    /// Returns the number of records after a position that were lost before a later epoch began, as
    /// far as their number is known.
    pub(crate) fn lost_after(&self, epoch: u64, seq: u64) -> u64 {
        let Some(at) = self.epochs.iter().position(|(known, _)| *known == epoch) else { return 0 };
        let (mut seq, mut last, mut lost) = (seq, 0_u64, 0);
        for head in self.epochs[at + 1..].iter().map(|(_, first_seq)| first_seq - 1) {
            lost += last.saturating_sub(seq.max(head));
            seq = seq.min(head);
            last = head;
        }
        lost
    }

    /// Converts a position to the current epoch: records that were lost before a later epoch began
    /// no longer count. Returns `None` for an epoch that this journal never had.
    pub(crate) fn translate(&self, epoch: u64, seq: u64) -> Option<u64> {
        let at = self.epochs.iter().position(|(known, _)| *known == epoch)?;
        let bound = self.epochs[at + 1..].iter().map(|(_, first_seq)| first_seq - 1).min();
        Some(bound.map_or(seq, |bound| seq.min(bound)))
    }

    /// Returns the ranges of records that the journal lost at its end, oldest loss first.
    pub(crate) fn lost_ends(&self) -> Vec<RangeInclusive<u64>> {
        let losses = self.epochs.windows(2).filter(|pair| pair[1].1 < pair[0].1);
        losses.map(|pair| pair[1].1..=pair[0].1 - 1).collect()
    }

    /// Reads the file without changing anything.
    ///
    /// # Errors
    /// If it can't be read, or a later version of the program wrote it.
    pub(crate) fn read(fs: &dyn FileSystem, dir: &Path) -> Result<Found, OpenError> {
        let path = dir.join(FILE);
        let Some(bytes) = read_bytes(fs, &path).map_err(OpenError::io("read", &path))? else {
            return Ok(Found::Missing);
        };
        if let Some(found) = newer_version(&bytes, MAGIC) {
            return Err(OpenError::Newer { path, found, known: VERSION });
        }
        let size = bytes.len() as u64;
        Ok(Self::decode(bytes.into()).map_or(Found::Corrupt { size }, Found::Valid))
    }

    /// Reads the file, and renames it if it is corrupt.
    pub(crate) fn load(fs: &dyn FileSystem, dir: &Path) -> Result<Loaded, OpenError> {
        Ok(match Self::read(fs, dir)? {
            Found::Valid(positions) => Loaded::Valid(positions),
            Found::Corrupt { .. } => {
                let quarantined =
                    quarantine(fs, dir, FILE).map_err(OpenError::io("rename", dir.join(FILE)))?;
                Loaded::Corrupt { renamed_to: dir.join(quarantined) }
            }
            Found::Missing => Loaded::Missing,
        })
    }

    /// Replaces the file.
    pub(crate) fn store(&self, fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
        replace(fs, dir, &self.encode())
    }

    /// Replaces the file on a full disk, in space that is released from the reserve.
    pub(crate) fn store_from_reserve(&self, fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
        let bytes = self.encode();
        loop {
            reserve::release(fs, dir, bytes.len() as u64)?;
            match replace(fs, dir, &bytes) {
                Err(error) if reserve::is_full(&error) => {}
                result => return result,
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let length = |length: usize| {
            u32::try_from(length).expect("names and states are far below 4 GiB").to_le_bytes()
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(length(self.epochs.len()));
        for (epoch, first_seq) in &self.epochs {
            bytes.extend(epoch.to_le_bytes());
            bytes.extend(first_seq.to_le_bytes());
        }
        bytes.extend(length(self.readers.len()));
        for (name, stored) in &self.readers {
            bytes.extend(length(name.len()));
            bytes.extend(name.as_bytes());
            bytes.extend(stored.epoch.to_le_bytes());
            bytes.extend(stored.seq.to_le_bytes());
            bytes.extend(length(stored.state.len()));
            bytes.extend_from_slice(&stored.state);
        }
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: Bytes) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(covered).to_le_bytes() != *crc || !covered.starts_with(&MAGIC) {
            return None;
        }
        let mut rest = bytes.slice(MAGIC.len()..covered.len());
        let mut positions = Self::default();
        for _ in 0..rest.try_get_u32_le().ok()? {
            positions.epochs.push((rest.try_get_u64_le().ok()?, rest.try_get_u64_le().ok()?));
        }
        for _ in 0..rest.try_get_u32_le().ok()? {
            let name = String::from_utf8(chunk(&mut rest)?.to_vec()).ok()?;
            let (epoch, seq) = (rest.try_get_u64_le().ok()?, rest.try_get_u64_le().ok()?);
            positions.readers.insert(name, StoredPosition { epoch, seq, state: chunk(&mut rest)? });
        }
        rest.is_empty().then_some(positions)
    }
}

/// Reads a file; `None` if there is none.
fn read_bytes(fs: &dyn FileSystem, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match fs.open(path, OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = vec![0; usize::try_from(file.size()?).map_err(io::Error::other)?];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(Some(bytes))
}

/// Takes bytes that are preceded by their length.
fn chunk(rest: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    (length <= rest.len()).then(|| rest.split_to(length))
}

fn replace(fs: &dyn FileSystem, dir: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(TEMPORARY);
    let file = fs.open(&temporary, OpenMode::Create)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    fs.rename(&temporary, &dir.join(FILE))?;
    fs.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Memory;

    fn positions() -> Positions {
        let mut positions = Positions { epochs: vec![(5, 1)], ..Positions::default() };
        let stored = StoredPosition { epoch: 5, seq: 77, state: Bytes::from_static(b"{}") };
        positions.readers.insert("archive".into(), stored);
        positions
    }

    #[test]
    fn positions_round_trip_and_a_changed_or_missing_byte_is_detected() {
        let valid = positions().encode();
        assert_eq!(Positions::decode(valid.clone().into()), Some(positions()));
        for at in 0..valid.len() {
            let mut bad = valid.clone();
            bad[at] ^= 4;
            assert_eq!(Positions::decode(bad.into()), None, "byte {at}");
            assert_eq!(Positions::decode(valid[..at].to_vec().into()), None, "cut at {at}");
        }
        let mut next_version = valid[..valid.len() - 4].to_vec();
        next_version[7] = b'2';
        next_version.extend(crc32c::crc32c(&next_version).to_le_bytes());
        assert_eq!(Positions::decode(next_version.into()), None);
    }

    #[test]
    fn corrupt_file_is_renamed() {
        let (fs, dir) = (Memory::default(), Path::new("j"));
        assert!(matches!(Positions::load(&fs, dir).unwrap(), Loaded::Missing));
        positions().store(&fs, dir).unwrap();
        let loaded = Positions::load(&fs, dir).unwrap();
        assert!(matches!(loaded, Loaded::Valid(loaded) if loaded == positions()));
        fs.open(&dir.join(FILE), OpenMode::Write).unwrap().truncate(20).unwrap();
        assert!(matches!(Positions::load(&fs, dir).unwrap(), Loaded::Corrupt { .. }));
        assert!(matches!(Positions::load(&fs, dir).unwrap(), Loaded::Missing));
    }

    #[test]
    fn position_after_the_end_of_its_epoch_moves_back_to_it() {
        let mut positions = positions();
        positions.begin_epoch(4, 50);
        assert_eq!(positions.epochs, [(5, 1), (6, 51)]);
        assert_eq!(positions.translate(5, 77), Some(50));
        assert_eq!(positions.translate(5, 20), Some(20));
        assert_eq!(positions.translate(6, 77), Some(77));
        assert_eq!(positions.translate(9, 1), None);
        positions.begin_epoch(9, 30);
        assert_eq!(positions.translate(5, 77), Some(30));
    }

    #[test]
    fn lost_records_after_a_position_are_counted_until_it_is_stored_again() {
        let mut positions = positions();
        assert_eq!(positions.lost_after(5, 20), 0);
        positions.begin_epoch_after_loss(9, 50, 77);
        assert_eq!(positions.epochs, [(5, 1), (6, 78), (9, 51)]);
        let table = [(77, 50, 0), (70, 50, 7), (50, 50, 27), (20, 20, 27), (0, 0, 27)];
        for (seq, translated, lost) in table {
            assert_eq!(positions.translate(5, seq), Some(translated), "{seq}");
            assert_eq!(positions.lost_after(5, seq), lost, "{seq}");
        }
        assert_eq!(positions.lost_after(9, 60), 0, "in the current epoch");
        assert_eq!(positions.lost_after(4, 60), 0, "of an unknown epoch");
        // The journal had 60 records when it lost 10 of them.
        positions.begin_epoch_after_loss(20, 50, 60);
        assert_eq!((positions.lost_after(5, 20), positions.lost_after(9, 55)), (37, 5));
        let decoded = Positions::decode(positions.encode().into()).unwrap();
        assert_eq!(decoded.lost_after(5, 20), 37);
        assert_eq!(decoded.lost_ends(), [51..=77, 51..=60]);
    }
}
