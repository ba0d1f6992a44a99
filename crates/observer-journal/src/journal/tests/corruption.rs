//! Corruption tests: each file of a journal with one damage of each kind at each offset.
//!
//! By default, every 29th case runs, with a different start for each kind of damage. With
//! `OBSERVER_TEST_CORRUPTION=all`, all cases run.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fs::{File, FileId, FileSystem, Memory, OpenMode};
use crate::testing::{append, open, read, record};
use crate::{Damage, DamageKind, OfflineJournal, Options, Record};

/// Last record of the journal before the damage.
const HEAD: u64 = 70;
const SECTOR: usize = 512;
/// Limit for the number of reads, which no journal of this size needs.
const MAX_READS: u64 = 1_000;

/// File system in memory that counts reads, and panics after too many.
#[derive(Debug, Clone, Default)]
struct Counted(Memory, Arc<AtomicU64>);

#[derive(Debug)]
struct CountedFile(Arc<dyn File>, Arc<AtomicU64>);

impl FileSystem for Counted {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(CountedFile(self.0.open(path, mode)?, self.1.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn id(&self, path: &Path) -> io::Result<Option<FileId>> {
        self.0.id(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.0.lock(path)
    }
}

impl File for CountedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        assert!(self.1.fetch_add(1, Ordering::Relaxed) < MAX_READS, "too many reads");
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn id(&self) -> io::Result<FileId> {
        self.0.id()
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.0.truncate(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

type Files = BTreeMap<String, Vec<u8>>;

fn all_files(fs: &impl FileSystem) -> Files {
    let content = |name: &String| {
        let file = fs.open(&Path::new("j").join(name), OpenMode::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        bytes
    };
    fs.list(Path::new("j"))
        .unwrap()
        .into_iter()
        .map(|name| (name.clone(), content(&name)))
        .collect()
}

/// Creates a file system with these files.
fn file_system(files: &Files) -> Counted {
    let fs = Counted::default();
    for (name, bytes) in files {
        fs.0.open(&Path::new("j").join(name), OpenMode::Create)
            .unwrap()
            .write_at(bytes, 0)
            .unwrap();
    }
    fs
}

fn options(fs: &Counted) -> Options {
    crate::testing::options(fs.clone()).segment_size(4096)
}

/// Returns a record of 11 possible lengths.
fn long(number: u64) -> Record {
    let text = format!("payload {number} ").repeat(4 + (number % 11) as usize);
    Record::new(number, u128::from(number).to_le_bytes(), text)
}

/// Location of each block: the file, its bytes, and its records.
type Blocks = Vec<(String, Range<usize>, RangeInclusive<u64>)>;

/// Returns a journal of three segments in blocks of one to four records, whose sink is done with
/// all of them. The journal is closed, or as `kill -9` leaves it.
fn journal(closed: bool) -> (Files, Blocks) {
    let fs = Counted::default();
    let (journal, _) = open(options(&fs));
    let (mut blocks, mut at) = (Blocks::new(), 1);
    while at <= HEAD {
        let last = (at + at % 4).min(HEAD);
        let group: Vec<_> = (at..=last).map(long).collect();
        let length = 32 + group.iter().map(|record| 32 + record.payload.len()).sum::<usize>();
        append(&journal, group).unwrap();
        let name = super::segments(&fs).pop().unwrap();
        let begin =
            blocks.last().filter(|(file, ..)| *file == name).map_or(88, |(_, bytes, _)| bytes.end);
        blocks.push((name, begin..begin + length, at..=last));
        at = last + 1;
    }
    journal.set_position("sink", HEAD, "state".into());
    journal.maintain().unwrap();
    let killed = all_files(&fs);
    drop(journal);
    let files = if closed { all_files(&fs) } else { killed };
    assert_eq!(super::segments(&fs).len(), 3, "{:?}", files.keys());
    (files, blocks)
}

/// Damage to inject into one file.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Flip {
        at: usize,
        mask: u8,
    },
    Truncate(usize),
    /// Fills a sector with zeros.
    Zero(usize),
    Append(usize),
    Remove,
}

impl Fault {
    fn all(size: usize) -> Vec<Vec<Self>> {
        let flips = |mask| (0..size).map(|at| Self::Flip { at, mask }).collect();
        vec![
            flips(0x01),
            flips(0x80),
            flips(0xFF),
            (0..size).map(Self::Truncate).collect(),
            (0..size).step_by(SECTOR).map(Self::Zero).collect(),
            [1, 7, 32, 100, 1000].map(Self::Append).to_vec(),
            vec![Self::Remove],
        ]
    }

    fn apply(self, files: &Files, name: &str) -> Files {
        let mut files = files.clone();
        let bytes = files.get_mut(name).unwrap();
        match self {
            Self::Flip { at, mask } => bytes[at] ^= mask,
            Self::Truncate(size) => bytes.truncate(size),
            Self::Zero(at) => {
                let end = bytes.len().min(at + SECTOR);
                bytes[at..end].fill(0);
            }
            Self::Append(count) => bytes.extend((0..count).map(|at| (at * 37 + 11) as u8)),
            Self::Remove => drop(files.remove(name)),
        }
        files
    }

    /// Returns whether the damage affects these bytes.
    fn hits(self, bytes: &Range<usize>) -> bool {
        match self {
            Self::Flip { at, .. } => bytes.contains(&at),
            Self::Truncate(size) => size < bytes.end,
            Self::Zero(at) => at < bytes.end && bytes.start < at + SECTOR,
            Self::Append(_) => false,
            Self::Remove => true,
        }
    }
}

/// Runs a check for all cases, or for every 29th.
fn for_each_fault(files: &Files, mut check: impl FnMut(&str, Fault)) {
    let step = if std::env::var("OBSERVER_TEST_CORRUPTION").is_ok_and(|which| which == "all") {
        1
    } else {
        29
    };
    let mut count = 0;
    for (nth, (name, bytes)) in
        files.iter().filter(|(name, _)| *name != "positions.reserve").enumerate()
    {
        for (kind, faults) in Fault::all(bytes.len()).into_iter().enumerate() {
            let step = if faults.len() > 20 { step } else { 1 };
            for fault in faults.into_iter().skip((nth * 11 + kind * 5) % step).step_by(step) {
                check(name, fault);
                count += 1;
            }
        }
    }
    println!("{count} cases");
    assert!(count > 500);
}

/// Returns the records that the damage does not affect.
fn surviving(blocks: &Blocks, name: &str, fault: Fault) -> BTreeSet<u64> {
    let intact = blocks.iter().filter(|(file, bytes, _)| file != name || !fault.hits(bytes));
    intact.flat_map(|(.., records)| records.clone()).collect()
}

/// Asserts that the records which the damage does not affect were found, and those of a block in
/// which one bit is flipped.
fn assert_complete(
    found: &BTreeSet<u64>,
    blocks: &Blocks,
    (name, fault): (&str, Fault),
    case: &str,
) {
    assert!(found.is_superset(&surviving(blocks, name, fault)), "{case}: {found:?}");
    if let Fault::Flip { mask: 0x01 | 0x80, .. } = fault {
        assert_eq!(found.len() as u64, HEAD, "{case}: a flipped bit is corrected");
    }
}

/// Reads all records and returns their sequence numbers. Checks their content, and that records and
/// gaps together cover everything up to the head.
fn read_all(fs: &Counted, head: u64, mut reader: crate::Reader) -> BTreeSet<u64> {
    let (mut found, mut next) = (BTreeSet::new(), 1);
    while let Some(chunk) = reader.read().unwrap() {
        match chunk {
            crate::Chunk::Records { first_seq, records } => {
                assert_eq!(first_seq, next);
                next += records.len() as u64;
                for (seq, found_record) in (first_seq..).zip(records) {
                    let wanted = if found_record.payload.starts_with(b"payload 1000") {
                        record(1000)
                    } else {
                        long(seq)
                    };
                    assert_eq!(found_record, wanted);
                    found.insert(seq);
                }
            }
            crate::Chunk::Gap { first_seq, last_seq, .. } => {
                assert!(first_seq == next && last_seq >= first_seq);
                next = last_seq + 1;
            }
        }
    }
    assert_eq!(next, head + 1);
    fs.1.store(0, Ordering::Relaxed);
    found
}

#[test]
fn opening_serves_all_intact_records_and_reports_the_loss() {
    for closed in [true, false] {
        let (files, blocks) = journal(closed);
        for_each_fault(&files, |name, fault| {
            let fs = file_system(&fault.apply(&files, name));
            let case = format!("{fault:?} of {name}, closed: {closed}");
            let (journal, recovery) = open(options(&fs));
            let head = journal.head();
            let found = read_all(&fs, head, journal.reader(0));
            assert_complete(&found, &blocks, (name, fault), &case);
            assert_eq!(recovery.head, head);
            assert_eq!(recovery.new_epoch, head < HEAD, "{case}");
            assert_eq!(recovery.positions_lost, name == "positions", "{case}");
            assert!(head == HEAD || head == found.last().copied().unwrap_or(0), "{case}");
            let in_last = super::segments(&fs).pop().map_or(1, |name| name[..20].parse().unwrap());
            let reported: Vec<_> = recovery.lost.iter().cloned().flatten().collect();
            assert_eq!(
                reported,
                (in_last..=head).filter(|seq| !found.contains(seq)).collect::<Vec<u64>>(),
                "{case}"
            );

            journal.visit_recent_keys(1000, 0, |_, _| ()).unwrap();
            assert_eq!(append(&journal, vec![record(1000)]).unwrap().first_seq, head + 1, "{case}");
            drop(journal);
            let (journal, recovery) = open(options(&fs));
            assert_eq!(
                (recovery.torn_bytes, recovery.new_epoch, recovery.head),
                (0, false, head + 1),
                "{case}"
            );
            let again = read_all(&fs, head + 1, journal.reader(0));
            assert_eq!(
                again.into_iter().filter(|seq| *seq != head + 1).collect::<BTreeSet<_>>(),
                found,
                "{case}"
            );
            drop(journal);
            // A segment that is written to must have two valid headers.
            let inspection = OfflineJournal::open(options(&fs)).unwrap().inspect().unwrap();
            let last = &inspection.segments.last().unwrap().file;
            let one_header =
                |damage: &Damage| damage.kind == DamageKind::HeaderCopy && damage.file == *last;
            assert!(!inspection.damage.iter().any(one_header), "{case}: {inspection:#?}");
        });
    }
}

fn lost(damage: &[Damage]) -> BTreeSet<u64> {
    damage.iter().filter_map(|damage| damage.records.clone()).flatten().collect()
}

#[test]
fn inspection_reports_damage_exactly_and_changes_nothing() {
    for closed in [true, false] {
        let (files, blocks) = journal(closed);
        for_each_fault(&files, |name, fault| {
            let damaged = fault.apply(&files, name);
            let fs = file_system(&damaged);
            let case = format!("{fault:?} of {name}, closed: {closed}");
            let offline = OfflineJournal::open(options(&fs)).unwrap();
            let found = offline.inspect().unwrap();
            let wanted = read_all(&fs, found.head, offline.reader(0).unwrap());
            assert_complete(&wanted, &blocks, (name, fault), &case);
            assert_eq!(found.records, wanted.len() as u64, "{case}: {found:#?}");

            let mut missing = lost(&found.damage);
            assert!(
                missing.iter().all(|seq| (found.oldest..=HEAD).contains(seq)),
                "{case}: {found:#?}"
            );
            missing.extend(1..found.oldest);
            assert_eq!(
                missing,
                (1..=HEAD).filter(|seq| !wanted.contains(seq)).collect(),
                "{case}: {found:#?}"
            );
            for damage in &found.damage {
                let size = damaged.get(&damage.file).map_or(0, Vec::len) as u64;
                assert!(
                    damage.bytes.start <= damage.bytes.end && damage.bytes.end <= size,
                    "{case}: {damage:?}"
                );
            }
            if let Fault::Flip { at, .. } = fault {
                let hit =
                    |damage: &Damage| damage.file == name && damage.bytes.contains(&(at as u64));
                assert_eq!(found.damage.iter().any(hit), name != "lock", "{case}: {found:#?}");
            }
            drop(offline);
            assert_eq!(all_files(&fs), damaged, "{case}");
        });
    }
}

#[test]
fn repair_loses_no_record_and_keeps_replaced_bytes() {
    for closed in [true, false] {
        let (files, blocks) = journal(closed);
        for_each_fault(&files, |name, fault| {
            let damaged = fault.apply(&files, name);
            let fs = file_system(&damaged);
            let case = format!("{fault:?} of {name}, closed: {closed}");
            let offline = OfflineJournal::open(options(&fs)).unwrap();
            let before = offline.inspect().unwrap();
            let wanted = read_all(&fs, before.head, offline.reader(0).unwrap());
            assert_complete(&wanted, &blocks, (name, fault), &case);
            let repair = offline.repair().unwrap();
            let after = all_files(&fs);
            for action in &repair.actions {
                let Some(kept) = &action.kept_in else { continue };
                let bytes = action.bytes.start as usize..action.bytes.end as usize;
                assert_eq!(after[kept], damaged[&action.file][bytes], "{case}: {action:?}");
            }
            fs.1.store(0, Ordering::Relaxed);
            let after_repair = offline.inspect().unwrap();
            assert_eq!(after_repair.head, before.head, "{case}");
            // Lost records stay lost, and are reported as long as the journal should contain them.
            let is_permanent = |damage: &Damage| match damage.kind {
                DamageKind::Blocks | DamageKind::MissingSegment => true,
                // Without the keys of lost records, the footer can't be rewritten.
                DamageKind::Footer => !lost(&after_repair.damage).is_empty(),
                _ => false,
            };
            assert!(after_repair.damage.iter().all(is_permanent), "{case}: {after_repair:#?}");
            assert!(
                !repair.actions.is_empty() || before.damage == after_repair.damage,
                "{case}: {before:#?}"
            );
            assert_eq!(
                offline.repair().unwrap().actions,
                [],
                "{case}: a second repair has actions"
            );
            assert_eq!(
                read_all(&fs, after_repair.head, offline.reader(0).unwrap()),
                wanted,
                "{case}"
            );
            drop(offline);

            let (journal, recovery) = open(options(&fs));
            assert_eq!((recovery.torn_bytes, recovery.positions_lost), (0, false), "{case}");
            assert_eq!(
                append(&journal, vec![record(1000)]).unwrap().first_seq,
                after_repair.head + 1,
                "{case}"
            );
            let again = read_all(&fs, after_repair.head + 1, journal.reader(0));
            assert_eq!(
                again.into_iter().filter(|seq| *seq <= after_repair.head).collect::<BTreeSet<_>>(),
                wanted,
                "{case}"
            );
        });
    }
}

#[test]
fn quarantined_file_is_not_replaced_by_a_later_one() {
    let (files, _) = journal(true);
    let fs = file_system(&files);
    for number in 1..=3 {
        fs.open(Path::new("j/positions"), OpenMode::Write).unwrap().truncate(number).unwrap();
        drop(open(options(&fs)));
    }
    let names = ["positions.corrupt", "positions.corrupt.2", "positions.corrupt.3"];
    let sizes = all_files(&fs);
    assert_eq!(names.map(|name| sizes[name].len()), [1, 2, 3]);
    assert_eq!(read(&open(options(&fs)).0, 0).0.len() as u64, HEAD);
}
