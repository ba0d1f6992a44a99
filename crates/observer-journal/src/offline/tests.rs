use std::path::Path;

use super::{Damage, DamageKind, OfflineJournal, SegmentState};
use crate::format::{KEY_SIZE, TRAILER_SIZE};
use crate::fs::{Fault, Faulty, FileSystem, Memory, OpenMode};
use crate::testing::{fill, open, options, try_open};
use crate::{Chunk, OpenError};

fn names(fs: &Memory) -> Vec<String> {
    let mut names = fs.list(Path::new("j")).unwrap();
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    names
}

fn write(fs: &Memory, name: &str, bytes: &[u8], offset: u64) {
    fs.open(&Path::new("j").join(name), OpenMode::Write).unwrap().write_at(bytes, offset).unwrap();
}

/// A closed journal of 200 records in several segments.
fn journal() -> Memory {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()).segment_size(4096));
    fill(&journal, 1..=200);
    journal.set_position("archive", 150, "".into());
    memory
}

fn stopped(memory: &Memory) -> OfflineJournal {
    OfflineJournal::open(options(memory.clone())).unwrap()
}

#[test]
fn a_sound_journal_is_shown_as_it_is() {
    let memory = journal();
    let found = stopped(&memory).inspect().unwrap();
    assert_eq!(
        (found.oldest, found.head, found.records, &found.damage[..]),
        (1, 200, 200, &[][..])
    );
    let seen: Vec<_> = found
        .segments
        .iter()
        .map(|segment| (segment.first_seq, segment.last_seq, segment.state))
        .collect();
    assert_eq!(
        seen,
        [
            (1, 54, SegmentState::Sealed),
            (55, 108, SegmentState::Sealed),
            (109, 161, SegmentState::Sealed),
            (162, 200, SegmentState::Open)
        ]
    );
    assert_eq!(
        found.readers.iter().map(|reader| (&reader.name[..], reader.seq)).collect::<Vec<_>>(),
        [("archive", 150)]
    );
}

#[test]
fn what_is_damaged_is_told_in_words() {
    let memory = journal();
    let files = names(&memory);
    write(&memory, &files[0], b"?", 88 + 73 + 40);
    write(&memory, &files[0], b"?", 3);
    memory.remove(&Path::new("j").join(&files[1])).unwrap();
    memory.open(&Path::new("j").join(&files[2]), OpenMode::Write).unwrap().truncate(30).unwrap();
    write(&memory, &files[3], b"half a block", 88 + 39 * 75);
    memory.remove(Path::new("j/positions")).unwrap();
    let found = stopped(&memory).inspect().unwrap();
    let told: Vec<_> = found.damage.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "00000000000000000001-0.log: bytes 0 to 43: a header is corrupt; nothing is lost",
            "00000000000000000001-0.log: bytes 161 to 233: record 2 can't be read",
            "00000000000000000055-0.log: the file is missing; records 55 to 108 can't be read",
            "00000000000000000109-0.log: bytes 0 to 29: no header and no whole block; records 109 to 161 can't be read",
            "00000000000000000162-0.log: bytes 3013 to 3024: the end is no whole record: a write that was cut off, or the last records corrupt",
            "positions: the file is missing; where the sinks stand is lost",
        ]
    );
}

#[test]
fn each_damage_has_a_name_and_says_what_is_lost() {
    use DamageKind::*;
    let of = |kind, bytes, records| {
        let damage = Damage { kind, file: "f".into(), bytes, records };
        format!("{}: {}", kind.name(), damage.description())
    };
    let lines = [
        of(HeaderCopy, 0..44, None),
        of(Header, 0..100, None),
        of(Header, 0..100, Some(3..=3)),
        of(Blocks, 7..9, Some(3..=4)),
        of(Blocks, 0..0, Some(3..=4)),
        of(Footer, 7..9, None),
        of(Tail, 7..9, None),
        of(MissingSegment, 0..0, Some(3..=4)),
        of(Positions, 0..9, None),
        of(MissingPositions, 0..0, None),
        of(End, 0..0, Some(3..=3)),
    ];
    assert_eq!(
        lines,
        [
            "header_copy: a header is corrupt; nothing is lost",
            "header: no header; what it held is not known",
            "header: no header and no whole block; record 3 can't be read",
            "blocks: records 3 to 4 can't be read",
            "blocks: the file is cut short; records 3 to 4 can't be read",
            "footer: the list of keys is corrupt; nothing is lost",
            "tail: the end is no whole record: a write that was cut off, or the last records corrupt",
            "missing_segment: the file is missing; records 3 to 4 can't be read",
            "positions: corrupt; where the sinks stand is lost",
            "missing_positions: the file is missing; where the sinks stand is lost",
            "end: the journal has lost its end: a sink has had record 3 of it",
        ]
    );
}

#[test]
fn an_end_that_is_lost_is_told_of_the_file_that_it_was_in() {
    let memory = journal();
    let names = names(&memory);
    memory.remove(&Path::new("j").join(&names[3])).unwrap();
    memory.remove(&Path::new("j").join(&names[2])).unwrap();
    let told = || {
        stopped(&memory)
            .inspect()
            .unwrap()
            .damage
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(),
        [format!(
            "{}: the journal has lost its end: a sink has had records 109 to 150 of it",
            names[1]
        )]
    );
    memory.remove(&Path::new("j").join(&names[1])).unwrap();
    memory.remove(&Path::new("j").join(&names[0])).unwrap();
    assert_eq!(
        told(),
        ["positions: the journal has lost its end: a sink has had records 1 to 150 of it"]
    );
    let found = stopped(&memory).inspect().unwrap();
    assert_eq!((found.oldest, found.head, found.records), (1, 0, 0));
}

#[test]
fn files_that_were_only_begun_hold_nothing_that_could_be_named() {
    let memory = journal();
    let begun = ["00000000000000000201-0.log", "00000000000000000201-1.log"];
    for name in begun {
        memory
            .open(&Path::new("j").join(name), OpenMode::Create)
            .unwrap()
            .write_at(b"OBSJ", 0)
            .unwrap();
    }
    let told: Vec<_> =
        stopped(&memory).inspect().unwrap().damage.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        begun.map(|name| format!("{name}: bytes 0 to 3: no header; what it held is not known"))
    );
}

#[test]
fn what_the_next_segment_has_as_well_is_counted_once() {
    let memory = journal();
    // Written further than the next segment's beginning, as before a sync that failed.
    let longer = Memory::default();
    let (journal, _) = open(options(longer.clone()).segment_size(8192));
    fill(&journal, 1..=60);
    let name = &names(&longer)[0];
    let file = longer.open(&Path::new("j").join(name), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    memory.open(&Path::new("j").join(name), OpenMode::Create).unwrap().write_at(&bytes, 0).unwrap();
    let found = stopped(&memory).inspect().unwrap();
    let ends: Vec<_> =
        found.segments.iter().map(|segment| (segment.last_seq, segment.records)).collect();
    assert_eq!(ends, [(54, 54), (108, 54), (161, 53), (200, 39)]);
    assert_eq!((found.records, found.damage), (200, vec![]));
}

#[test]
fn a_broken_footer_is_written_anew_and_the_old_one_kept() {
    let memory = journal();
    let name = &names(&memory)[1];
    let size = memory.open(&Path::new("j").join(name), OpenMode::Read).unwrap().size().unwrap();
    write(&memory, name, b"????", size - 40);
    let stopped = stopped(&memory);
    assert_eq!(stopped.inspect().unwrap().damage[0].kind, DamageKind::Footer);
    let repair = stopped.repair().unwrap();
    let action = &repair.actions[0];
    assert_eq!(
        (&action.file, action.done, action.bytes.end),
        (name, "the list of keys written anew", size)
    );
    assert!(
        names(&memory).len() == 4
            && memory.list(Path::new("j")).unwrap().contains(action.kept_in.as_ref().unwrap())
    );
    let found = stopped.inspect().unwrap();
    assert_eq!((found.damage.len(), found.segments[1].state), (0, SegmentState::Sealed));
}

#[test]
fn a_list_of_keys_is_written_anew_only_where_every_record_can_be_read() {
    let memory = journal();
    let name = &names(&memory)[0];
    let size = memory.open(&Path::new("j").join(name), OpenMode::Read).unwrap().size().unwrap();
    write(&memory, name, b"?", 88 + 73 + 40);
    write(&memory, name, b"????", size - 40);
    let stopped = stopped(&memory);
    let kinds =
        || stopped.inspect().unwrap().damage.iter().map(|damage| damage.kind).collect::<Vec<_>>();
    let before = kinds();
    assert_eq!(before, [DamageKind::Blocks, DamageKind::Footer]);
    assert_eq!(stopped.repair().unwrap().actions, []);
    assert_eq!(kinds(), before);
    assert_eq!(stopped.inspect().unwrap().segments[0].last_seq, 54);
}

#[test]
fn what_stands_behind_the_last_block_is_a_list_of_keys_where_there_has_to_be_one() {
    let size = |memory: &Memory, name: &str| {
        memory.open(&Path::new("j").join(name), OpenMode::Read).unwrap().size().unwrap()
    };
    let kinds = |memory: &Memory| {
        stopped(memory).inspect().unwrap().damage.iter().map(|found| found.kind).collect::<Vec<_>>()
    };
    // All of it, with a segment after it, and half of it where it is the last one.
    for (at, bytes, is_last) in [(0, 54 * KEY_SIZE + TRAILER_SIZE, false), (2, TRAILER_SIZE, true)]
    {
        let memory = journal();
        let names = names(&memory);
        memory.remove(Path::new("j/positions")).unwrap();
        if is_last {
            memory.remove(&Path::new("j").join(&names[3])).unwrap();
        }
        write(&memory, &names[at], &vec![b'?'; bytes], size(&memory, &names[at]) - bytes as u64);
        assert_eq!(kinds(&memory), [DamageKind::Footer, DamageKind::MissingPositions], "{is_last}");
    }
    // Its first half, with something behind it.
    let memory = journal();
    let last = &names(&memory)[2];
    memory.remove(Path::new("j/positions")).unwrap();
    memory.remove(&Path::new("j").join(&names(&memory)[3])).unwrap();
    let end = size(&memory, last);
    write(&memory, last, b"????", end - (53 * KEY_SIZE + TRAILER_SIZE) as u64);
    write(&memory, last, b"????", end);
    assert_eq!(kinds(&memory), [DamageKind::Footer, DamageKind::MissingPositions]);
    // And no list at all.
    let memory = journal();
    let last = &names(&memory)[3];
    write(&memory, last, b"????", size(&memory, last));
    assert_eq!(kinds(&memory), [DamageKind::Tail]);
}

#[test]
fn a_repair_removes_nothing_that_retention_would() {
    let memory = journal();
    let long_after = options(memory.clone()).clock(std::sync::Arc::new(|| u64::MAX / 2));
    let stopped = OfflineJournal::open(long_after.clone()).unwrap();
    assert_eq!(stopped.repair().unwrap().actions, []);
    assert_eq!(stopped.inspect().unwrap().oldest, 1);
    drop(stopped);
    // Which this clock and no holder would do.
    drop(try_open(long_after).unwrap());
    assert_eq!(self::stopped(&memory).inspect().unwrap().oldest, 162);
}

#[test]
fn a_journal_that_is_open_or_not_there_is_refused() {
    let memory = journal();
    let (journal, _) = open(options(memory.clone()));
    assert!(matches!(OfflineJournal::open(options(memory.clone())), Err(OpenError::InUse { .. })));
    drop(journal);
    let looking = stopped(&memory);
    assert!(matches!(try_open(options(memory.clone())), Err(OpenError::InUse { .. })));
    drop(looking);
    assert!(matches!(
        OfflineJournal::open(options(Memory::default())),
        Err(OpenError::Missing { .. })
    ));
    let dir = tempfile::tempdir().unwrap();
    let nowhere = crate::Options::new(dir.path().join("nowhere"));
    assert!(matches!(OfflineJournal::open(nowhere), Err(OpenError::Missing { .. })));
    let empty = OfflineJournal::open(crate::Options::new(dir.path()));
    assert!(matches!(empty, Err(OpenError::Missing { .. })));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "not even a lock is left there");
}

#[test]
fn reading_goes_past_what_is_damaged() {
    let memory = journal();
    write(&memory, &names(&memory)[0], b"?", 88 + 73 + 40);
    let mut reader = stopped(&memory).reader(0).unwrap();
    let mut seen = 0;
    while let Some(chunk) = reader.read().unwrap() {
        match chunk {
            Chunk::Records { records, .. } => seen += records.len(),
            Chunk::Gap { first_seq, last_seq, .. } => assert_eq!((first_seq, last_seq), (2, 2)),
        }
    }
    assert_eq!(seen, 199);
}

/// A journal with something wrong in each of its files, as it lies on a disk.
fn damaged(seed: u64) -> Faulty {
    let memory = journal();
    let files = names(&memory);
    let size = |name: &str| {
        memory.open(&Path::new("j").join(name), OpenMode::Read).unwrap().size().unwrap()
    };
    write(&memory, &files[0], b"?", 3);
    write(&memory, &files[1], b"????", size(&files[1]) - 40);
    memory.open(&Path::new("j").join(&files[2]), OpenMode::Write).unwrap().truncate(100).unwrap();
    write(&memory, &files[3], b"half a block", size(&files[3]));
    write(&memory, "positions", b"?", 10);
    let disk = Faulty::new(seed);
    for name in memory.list(Path::new("j")).unwrap() {
        let path = Path::new("j").join(&name);
        let mut bytes = vec![0; usize::try_from(size(&name)).unwrap()];
        memory.open(&path, OpenMode::Read).unwrap().read_at(&mut bytes, 0).unwrap();
        disk.put(&path, Some(bytes));
    }
    disk
}

fn stopped_on(disk: &Faulty) -> Result<OfflineJournal, OpenError> {
    OfflineJournal::open(options(disk.clone()))
}

#[test]
fn what_was_mended_is_durable() {
    for seed in 0..12 {
        let disk = damaged(seed);
        let stopped = stopped_on(&disk).unwrap();
        let repair = stopped.repair().unwrap();
        assert!(repair.actions.len() >= 5, "{repair:?}");
        let mended = disk.files();
        disk.cut_power();
        drop(stopped);
        disk.restart();
        assert!(disk.files() == mended, "seed {seed}");
    }
}

#[test]
fn whenever_the_power_goes_during_a_repair_no_byte_is_lost() {
    for seed in 0..4 {
        let found = stopped_on(&damaged(seed)).unwrap().inspect().unwrap();
        let was = damaged(seed).files();
        for cut in 0.. {
            let disk = damaged(seed);
            disk.fail_at(cut, Fault::PowerCut);
            let repaired = stopped_on(&disk).and_then(|stopped| stopped.repair());
            disk.restart();
            let files = disk.files();
            for damage in &found.damage {
                let path = Path::new("j").join(&damage.file);
                let Some(was) = was.get(&path) else { continue };
                let bytes = damage.bytes.start as usize..damage.bytes.end as usize;
                let is_there = files
                    .get(&path)
                    .is_some_and(|is| is.get(bytes.clone()) == Some(&was[bytes.clone()]));
                let kept =
                    files.iter().filter(|(path, _)| path.to_string_lossy().contains(".corrupt"));
                let is_kept = |(_, kept): (_, &Vec<u8>)| {
                    kept.windows(bytes.len()).any(|kept| kept == &was[bytes.clone()])
                };
                assert!(
                    is_there || kept.into_iter().any(is_kept),
                    "seed {seed}, operation {cut}: {damage}"
                );
            }
            stopped_on(&disk).unwrap().repair().unwrap();
            let mended = stopped_on(&disk).unwrap().inspect().unwrap();
            assert_eq!(
                (mended.head, mended.records),
                (found.head, found.records),
                "seed {seed}, operation {cut}"
            );
            if repaired.is_ok() {
                break;
            }
        }
    }
}
