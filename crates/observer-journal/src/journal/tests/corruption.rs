//! Every file of a journal, damaged in every way at every place; one damage at a time.
//!
//! Every 29th case is tried, beginning with another one for each kind of damage; with
//! `OBSERVER_TEST_CORRUPTION=all`, all of them are.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fs::{File, FileSystem, Memory, OpenMode};
use crate::testing::{append, open, read, record};
use crate::{Damage, DamageKind, OfflineJournal, Options, Record};

/// The last record of the journal that is damaged.
const HEAD: u64 = 70;
const SECTOR: usize = 512;
/// More reads than any journal of that size takes.
const MANY: u64 = 1_000;

/// Memory that counts reads, and panics when there are too many.
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

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.0.lock(path)
    }
}

impl File for CountedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        assert!(self.1.fetch_add(1, Ordering::Relaxed) < MANY, "it reads and reads");
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
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

fn placed(files: &Files) -> Counted {
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

/// A record of some length.
fn long(number: u64) -> Record {
    let text = format!("payload {number} ").repeat(4 + (number % 11) as usize);
    Record::new(number, u128::from(number).to_le_bytes(), text)
}

/// Where the records stand: the file, the bytes of the block, and its records.
type Blocks = Vec<(String, Range<usize>, RangeInclusive<u64>)>;

/// A journal of three segments in blocks of one to four records, whose sink has had all. Closed, or
/// as `kill -9` leaves it.
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

/// What was done to one file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Flip {
        at: usize,
        mask: u8,
    },
    Truncate(usize),
    /// A sector that comes back as zeros.
    Zero(usize),
    Append(usize),
    Remove,
}

impl Harm {
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

    fn do_to(self, files: &Files, name: &str) -> Files {
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

/// Every case in turn, or every 29th.
fn for_each_harm(files: &Files, mut check: impl FnMut(&str, Harm)) {
    let step = if std::env::var("OBSERVER_TEST_CORRUPTION").is_ok_and(|which| which == "all") {
        1
    } else {
        29
    };
    let mut tried = 0;
    for (nth, (name, bytes)) in
        files.iter().filter(|(name, _)| *name != "positions.reserve").enumerate()
    {
        for (kind, harms) in Harm::all(bytes.len()).into_iter().enumerate() {
            let step = if harms.len() > 20 { step } else { 1 };
            for harm in harms.into_iter().skip((nth * 11 + kind * 5) % step).step_by(step) {
                check(name, harm);
                tried += 1;
            }
        }
    }
    println!("{tried} cases");
    assert!(tried > 500);
}

fn surviving(blocks: &Blocks, name: &str, harm: Harm) -> BTreeSet<u64> {
    let good = blocks.iter().filter(|(file, bytes, _)| file != name || !harm.hits(bytes));
    good.flat_map(|(.., records)| records.clone()).collect()
}

/// The records, which are those that were appended, and the gaps; together they are everything up
/// to the head.
fn served(fs: &Counted, head: u64, mut reader: crate::Reader) -> BTreeSet<u64> {
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
fn whatever_is_damaged_all_else_is_served_and_what_is_lost_is_told() {
    for closed in [true, false] {
        let (files, blocks) = journal(closed);
        for_each_harm(&files, |name, harm| {
            let wanted = surviving(&blocks, name, harm);
            let fs = placed(&harm.do_to(&files, name));
            let told = format!("{harm:?} of {name}, closed: {closed}");
            let (journal, recovery) = open(options(&fs));
            let head = journal.head();
            let found = served(&fs, head, journal.reader(0));
            assert_eq!(found, wanted, "{told}");
            assert_eq!(recovery.head, head);
            assert_eq!(recovery.new_epoch, head < HEAD, "{told}");
            assert_eq!(recovery.positions_lost, name == "positions", "{told}");
            assert!(head == HEAD || head == wanted.last().copied().unwrap_or(0), "{told}");
            let in_last = super::segments(&fs).pop().map_or(1, |name| name[..20].parse().unwrap());
            let told_at_once: Vec<_> = recovery.lost.iter().cloned().flatten().collect();
            assert_eq!(
                told_at_once,
                (in_last..=head).filter(|seq| !found.contains(seq)).collect::<Vec<u64>>(),
                "{told}"
            );

            journal.recent_keys(1000, 0).unwrap().for_each(drop);
            assert_eq!(append(&journal, vec![record(1000)]).unwrap().first_seq, head + 1, "{told}");
            drop(journal);
            let (journal, recovery) = open(options(&fs));
            assert_eq!(
                (recovery.torn_bytes, recovery.new_epoch, recovery.head),
                (0, false, head + 1),
                "{told}"
            );
            let again = served(&fs, head + 1, journal.reader(0));
            assert_eq!(
                again.into_iter().filter(|seq| *seq != head + 1).collect::<BTreeSet<_>>(),
                found,
                "{told}"
            );
            drop(journal);
            // What is written to must not hang on one header.
            let inspection = OfflineJournal::open(options(&fs)).unwrap().inspect().unwrap();
            let last = &inspection.segments.last().unwrap().file;
            let one_header =
                |damage: &Damage| damage.kind == DamageKind::HeaderCopy && damage.file == *last;
            assert!(!inspection.damage.iter().any(one_header), "{told}: {inspection:#?}");
        });
    }
}

fn lost(damage: &[Damage]) -> BTreeSet<u64> {
    damage.iter().filter_map(|damage| damage.records.clone()).flatten().collect()
}

#[test]
fn whatever_is_damaged_an_inspection_tells_it_exactly_and_changes_nothing() {
    for closed in [true, false] {
        let (files, blocks) = journal(closed);
        for_each_harm(&files, |name, harm| {
            let wanted = surviving(&blocks, name, harm);
            let damaged = harm.do_to(&files, name);
            let fs = placed(&damaged);
            let told = format!("{harm:?} of {name}, closed: {closed}");
            let stopped = OfflineJournal::open(options(&fs)).unwrap();
            let found = stopped.inspect().unwrap();
            assert_eq!(served(&fs, found.head, stopped.reader(0).unwrap()), wanted, "{told}");
            assert_eq!(found.records, wanted.len() as u64, "{told}: {found:#?}");

            let mut missing = lost(&found.damage);
            assert!(
                missing.iter().all(|seq| (found.oldest..=HEAD).contains(seq)),
                "{told}: {found:#?}"
            );
            missing.extend(1..found.oldest);
            assert_eq!(
                missing,
                (1..=HEAD).filter(|seq| !wanted.contains(seq)).collect(),
                "{told}: {found:#?}"
            );
            for damage in &found.damage {
                let size = damaged.get(&damage.file).map_or(0, Vec::len) as u64;
                assert!(
                    damage.bytes.start <= damage.bytes.end && damage.bytes.end <= size,
                    "{told}: {damage:?}"
                );
            }
            if let Harm::Flip { at, .. } = harm {
                let hit =
                    |damage: &Damage| damage.file == name && damage.bytes.contains(&(at as u64));
                assert_eq!(found.damage.iter().any(hit), name != "lock", "{told}: {found:#?}");
            }
            drop(stopped);
            assert_eq!(all_files(&fs), damaged, "{told}");
        });
    }
}

#[test]
fn whatever_is_damaged_a_repair_loses_no_record_and_keeps_what_it_replaces() {
    for closed in [true, false] {
        let (files, blocks) = journal(closed);
        for_each_harm(&files, |name, harm| {
            let wanted = surviving(&blocks, name, harm);
            let damaged = harm.do_to(&files, name);
            let fs = placed(&damaged);
            let told = format!("{harm:?} of {name}, closed: {closed}");
            let stopped = OfflineJournal::open(options(&fs)).unwrap();
            let was = stopped.inspect().unwrap();
            let repair = stopped.repair().unwrap();
            let after = all_files(&fs);
            for action in &repair.actions {
                let Some(kept) = &action.kept_in else { continue };
                let bytes = action.bytes.start as usize..action.bytes.end as usize;
                assert_eq!(after[kept], damaged[&action.file][bytes], "{told}: {action:?}");
            }
            fs.1.store(0, Ordering::Relaxed);
            let is = stopped.inspect().unwrap();
            assert_eq!(is.head, was.head, "{told}");
            // What is lost stays lost, and is told as long as the journal should have it.
            let stays = |damage: &Damage| match damage.kind {
                DamageKind::Blocks | DamageKind::MissingSegment => true,
                // The keys of lost records are lost, too.
                DamageKind::Footer => !lost(&is.damage).is_empty(),
                _ => false,
            };
            assert!(is.damage.iter().all(stays), "{told}: {is:#?}");
            assert!(!repair.actions.is_empty() || was.damage == is.damage, "{told}: {was:#?}");
            assert_eq!(
                stopped.repair().unwrap().actions,
                [],
                "{told}: a second repair finds nothing to do"
            );
            assert_eq!(served(&fs, is.head, stopped.reader(0).unwrap()), wanted, "{told}");
            drop(stopped);

            let (journal, recovery) = open(options(&fs));
            assert_eq!((recovery.torn_bytes, recovery.positions_lost), (0, false), "{told}");
            assert_eq!(
                append(&journal, vec![record(1000)]).unwrap().first_seq,
                is.head + 1,
                "{told}"
            );
            let again = served(&fs, is.head + 1, journal.reader(0));
            assert_eq!(
                again.into_iter().filter(|seq| *seq <= is.head).collect::<BTreeSet<_>>(),
                wanted,
                "{told}"
            );
        });
    }
}

#[test]
fn what_was_set_aside_before_is_not_replaced() {
    let (files, _) = journal(true);
    let fs = placed(&files);
    for number in 1..=3 {
        fs.open(Path::new("j/positions"), OpenMode::Write).unwrap().truncate(number).unwrap();
        drop(open(options(&fs)));
    }
    let aside = ["positions.corrupt", "positions.corrupt.2", "positions.corrupt.3"];
    let sizes = all_files(&fs);
    assert_eq!(aside.map(|name| sizes[name].len()), [1, 2, 3]);
    assert_eq!(read(&open(options(&fs)).0, 0).0.len() as u64, HEAD);
}
