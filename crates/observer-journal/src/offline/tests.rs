use std::path::Path;

use super::{Damage, DamageKind, OfflineJournal, SegmentState};
use crate::fs::{Fault, Faulty, FileSystem, Memory, OpenMode};
use crate::segment::format::{KEY_SIZE, TRAILER_SIZE};
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

fn offline(memory: &Memory) -> OfflineJournal {
    OfflineJournal::open(options(memory.clone())).unwrap()
}

#[test]
fn inspection_of_an_undamaged_journal_reports_its_segments_and_readers() {
    let memory = journal();
    let found = offline(&memory).inspect().unwrap();
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
fn inspection_describes_damage_in_words() {
    let memory = journal();
    let files = names(&memory);
    write(&memory, &files[0], b"?", 88 + 73 + 40);
    write(&memory, &files[0], b"?", 3);
    memory.remove(&Path::new("j").join(&files[1])).unwrap();
    memory.open(&Path::new("j").join(&files[2]), OpenMode::Write).unwrap().truncate(30).unwrap();
    write(&memory, &files[3], b"half a block", 88 + 39 * 75);
    memory.remove(Path::new("j/positions")).unwrap();
    let found = offline(&memory).inspect().unwrap();
    assert!(found.is_repairable);
    let descriptions: Vec<_> = found.damage.iter().map(ToString::to_string).collect();
    assert_eq!(
        descriptions,
        [
            "00000000000000000001-0.log: bytes 0 to 43: a header is corrupt; nothing is lost",
            "00000000000000000001-0.log: bytes 161 to 233: record 2 can't be read",
            "00000000000000000055-0.log: the file is missing; records 55 to 108 can't be read",
            "00000000000000000109-0.log: bytes 0 to 29: no header and no valid block; records 109 \
             to 161 can't be read",
            "00000000000000000162-0.log: bytes 3013 to 3024: incomplete bytes at the end: an \
             interrupted write, or corrupt last records",
            "positions: the file is missing; the positions of the sinks are lost",
        ]
    );
}

#[test]
fn each_kind_of_damage_has_a_name_and_describes_the_loss() {
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
            "header: no header; its records are unknown",
            "header: no header and no valid block; record 3 can't be read",
            "blocks: records 3 to 4 can't be read",
            "blocks: the file is truncated; records 3 to 4 can't be read",
            "footer: the footer is corrupt; nothing is lost",
            "tail: incomplete bytes at the end: an interrupted write, or corrupt last records",
            "missing_segment: the file is missing; records 3 to 4 can't be read",
            "positions: corrupt; the positions of the sinks are lost",
            "missing_positions: the file is missing; the positions of the sinks are lost",
            "end: the end of the journal is lost: a sink has already received record 3",
        ]
    );
}

#[test]
fn lost_end_is_reported_with_the_file_that_contained_it() {
    let memory = journal();
    let names = names(&memory);
    memory.remove(&Path::new("j").join(&names[3])).unwrap();
    memory.remove(&Path::new("j").join(&names[2])).unwrap();
    let descriptions = || {
        offline(&memory)
            .inspect()
            .unwrap()
            .damage
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        descriptions(),
        [format!(
            "{}: the end of the journal is lost: a sink has already received records 109 to 150",
            names[1]
        )]
    );
    memory.remove(&Path::new("j").join(&names[1])).unwrap();
    memory.remove(&Path::new("j").join(&names[0])).unwrap();
    assert_eq!(
        descriptions(),
        ["positions: the end of the journal is lost: a sink has already received records 1 to 150"]
    );
    let found = offline(&memory).inspect().unwrap();
    assert_eq!((found.oldest, found.head, found.records), (1, 0, 0));
}

#[test]
fn unfinished_files_are_reported_without_records() {
    let memory = journal();
    let unfinished = ["00000000000000000201-0.log", "00000000000000000201-1.log"];
    for name in unfinished {
        memory
            .open(&Path::new("j").join(name), OpenMode::Create)
            .unwrap()
            .write_at(b"OBSJ", 0)
            .unwrap();
    }
    let descriptions: Vec<_> =
        offline(&memory).inspect().unwrap().damage.iter().map(ToString::to_string).collect();
    assert_eq!(
        descriptions,
        unfinished.map(|name| format!("{name}: bytes 0 to 3: no header; its records are unknown"))
    );
}

#[test]
fn records_that_two_segments_contain_are_counted_once() {
    let memory = journal();
    // The first segment continues after the beginning of the next one, as after a failed sync.
    let longer = Memory::default();
    let (journal, _) = open(options(longer.clone()).segment_size(8192));
    fill(&journal, 1..=60);
    let name = &names(&longer)[0];
    let file = longer.open(&Path::new("j").join(name), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    memory.open(&Path::new("j").join(name), OpenMode::Create).unwrap().write_at(&bytes, 0).unwrap();
    let found = offline(&memory).inspect().unwrap();
    let ends: Vec<_> =
        found.segments.iter().map(|segment| (segment.last_seq, segment.records)).collect();
    assert_eq!(ends, [(54, 54), (108, 54), (161, 53), (200, 39)]);
    assert_eq!((found.records, found.damage), (200, vec![]));
}

#[test]
fn repair_rewrites_a_corrupt_footer_and_keeps_the_old_bytes() {
    let memory = journal();
    let name = &names(&memory)[1];
    let size = memory.open(&Path::new("j").join(name), OpenMode::Read).unwrap().size().unwrap();
    write(&memory, name, b"????", size - 40);
    let offline = offline(&memory);
    assert_eq!(offline.inspect().unwrap().damage[0].kind, DamageKind::Footer);
    let repair = offline.repair().unwrap();
    let action = &repair.actions[0];
    assert_eq!((&action.file, action.done, action.bytes.end), (name, "footer rewritten", size));
    assert!(
        names(&memory).len() == 4
            && memory.list(Path::new("j")).unwrap().contains(action.kept_in.as_ref().unwrap())
    );
    let found = offline.inspect().unwrap();
    assert_eq!((found.damage.len(), found.segments[1].state), (0, SegmentState::Sealed));
}

#[test]
fn repair_rewrites_a_footer_only_if_every_record_is_readable() {
    let memory = journal();
    let name = &names(&memory)[0];
    let size = memory.open(&Path::new("j").join(name), OpenMode::Read).unwrap().size().unwrap();
    write(&memory, name, b"?", 88 + 73 + 40);
    write(&memory, name, b"????", size - 40);
    let offline = offline(&memory);
    let kinds =
        || offline.inspect().unwrap().damage.iter().map(|damage| damage.kind).collect::<Vec<_>>();
    let before = kinds();
    assert_eq!(before, [DamageKind::Blocks, DamageKind::Footer]);
    assert!(!offline.inspect().unwrap().is_repairable);
    assert_eq!(offline.repair().unwrap().actions, []);
    assert_eq!(kinds(), before);
    assert_eq!(offline.inspect().unwrap().segments[0].last_seq, 54);
}

#[test]
fn repair_removes_a_footer_that_is_unreadable_and_cannot_be_rewritten() {
    let memory = journal();
    let name = &names(&memory)[0];
    let size = memory.open(&Path::new("j").join(name), OpenMode::Read).unwrap().size().unwrap();
    write(&memory, name, b"?", 88 + 73 + 40);
    write(&memory, name, &[b'?'; TRAILER_SIZE], size - TRAILER_SIZE as u64);
    let offline = offline(&memory);
    let kinds =
        || offline.inspect().unwrap().damage.iter().map(|damage| damage.kind).collect::<Vec<_>>();
    assert_eq!(kinds(), [DamageKind::Blocks, DamageKind::Footer]);
    let repair = offline.repair().unwrap();
    assert_eq!(repair.actions.len(), 1);
    assert_eq!(repair.actions[0].bytes.end, size);
    assert!(repair.actions[0].kept_in.is_some());
    assert_eq!(kinds(), [DamageKind::Blocks]);
    assert!(!offline.inspect().unwrap().is_repairable);
    assert_eq!(offline.repair().unwrap().actions, []);
}

#[test]
fn bytes_after_the_last_block_are_a_footer_if_one_is_expected_there() {
    let size = |memory: &Memory, name: &str| {
        memory.open(&Path::new("j").join(name), OpenMode::Read).unwrap().size().unwrap()
    };
    let kinds = |memory: &Memory| {
        offline(memory).inspect().unwrap().damage.iter().map(|found| found.kind).collect::<Vec<_>>()
    };
    // The whole footer, before another segment; and half of it, in the last segment.
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
    // The first half of a footer, with other bytes after it.
    let memory = journal();
    let last = &names(&memory)[2];
    memory.remove(Path::new("j/positions")).unwrap();
    memory.remove(&Path::new("j").join(&names(&memory)[3])).unwrap();
    let end = size(&memory, last);
    write(&memory, last, b"????", end - (53 * KEY_SIZE + TRAILER_SIZE) as u64);
    write(&memory, last, b"????", end);
    assert_eq!(kinds(&memory), [DamageKind::Footer, DamageKind::MissingPositions]);
    // No footer at all.
    let memory = journal();
    let last = &names(&memory)[3];
    write(&memory, last, b"????", size(&memory, last));
    assert_eq!(kinds(&memory), [DamageKind::Tail]);
}

#[test]
fn repair_removes_no_expired_segment() {
    let memory = journal();
    let long_after = options(memory.clone()).clock(std::sync::Arc::new(|| u64::MAX / 2));
    let offline = OfflineJournal::open(long_after.clone()).unwrap();
    assert_eq!(offline.repair().unwrap().actions, []);
    assert_eq!(offline.inspect().unwrap().oldest, 1);
    drop(offline);
    // Opening the journal with this clock and no hold does.
    drop(try_open(long_after).unwrap());
    assert_eq!(self::offline(&memory).inspect().unwrap().oldest, 162);
}

#[test]
fn open_or_missing_journal_is_rejected() {
    let memory = journal();
    let (journal, _) = open(options(memory.clone()));
    assert!(matches!(OfflineJournal::open(options(memory.clone())), Err(OpenError::InUse { .. })));
    drop(journal);
    let offline = offline(&memory);
    assert!(matches!(try_open(options(memory.clone())), Err(OpenError::InUse { .. })));
    drop(offline);
    assert!(matches!(
        OfflineJournal::open(options(Memory::default())),
        Err(OpenError::Missing { .. })
    ));
    let dir = tempfile::tempdir().unwrap();
    let missing = crate::Options::new(dir.path().join("missing"));
    assert!(matches!(OfflineJournal::open(missing), Err(OpenError::Missing { .. })));
    let empty = OfflineJournal::open(crate::Options::new(dir.path()));
    assert!(matches!(empty, Err(OpenError::Missing { .. })));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no lock file is left behind");
}

#[test]
fn reader_skips_damaged_records() {
    let memory = journal();
    write(&memory, &names(&memory)[0], b"?", 88 + 73 + 40);
    let mut reader = offline(&memory).reader(0).unwrap();
    let mut seen = 0;
    while let Some(chunk) = reader.read().unwrap() {
        match chunk {
            Chunk::Records { records, .. } => seen += records.len(),
            Chunk::Gap { first_seq, last_seq, .. } => assert_eq!((first_seq, last_seq), (2, 2)),
        }
    }
    assert_eq!(seen, 199);
}

/// A journal with damage in each of its files, on a faulty disk.
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

fn offline_on(disk: &Faulty) -> Result<OfflineJournal, OpenError> {
    OfflineJournal::open(options(disk.clone()))
}

#[test]
fn repairs_are_durable() {
    for seed in 0..12 {
        let disk = damaged(seed);
        let offline = offline_on(&disk).unwrap();
        let repair = offline.repair().unwrap();
        assert!(repair.actions.len() >= 5, "{repair:?}");
        let repaired = disk.files();
        disk.cut_power();
        drop(offline);
        disk.restart();
        assert!(disk.files() == repaired, "seed {seed}");
    }
}

#[test]
fn power_cut_during_a_repair_loses_no_byte() {
    for seed in 0..4 {
        let found = offline_on(&damaged(seed)).unwrap().inspect().unwrap();
        let before = damaged(seed).files();
        for cut in 0.. {
            let disk = damaged(seed);
            disk.fail_at(cut, Fault::PowerCut);
            let repaired = offline_on(&disk).and_then(|offline| offline.repair());
            disk.restart();
            let files = disk.files();
            for damage in &found.damage {
                let path = Path::new("j").join(&damage.file);
                let Some(before) = before.get(&path) else { continue };
                let bytes = damage.bytes.start as usize..damage.bytes.end as usize;
                let is_there = files
                    .get(&path)
                    .is_some_and(|is| is.get(bytes.clone()) == Some(&before[bytes.clone()]));
                let kept =
                    files.iter().filter(|(path, _)| path.to_string_lossy().contains(".corrupt"));
                let is_kept = |(_, kept): (_, &Vec<u8>)| {
                    kept.windows(bytes.len()).any(|kept| kept == &before[bytes.clone()])
                };
                assert!(
                    is_there || kept.into_iter().any(is_kept),
                    "seed {seed}, operation {cut}: {damage}"
                );
            }
            offline_on(&disk).unwrap().repair().unwrap();
            let inspection = offline_on(&disk).unwrap().inspect().unwrap();
            assert_eq!(
                (inspection.head, inspection.records),
                (found.head, found.records),
                "seed {seed}, operation {cut}"
            );
            if repaired.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn epoch_is_that_of_the_positions_or_else_of_the_segments() {
    let memory = journal();
    let open_epoch = {
        let (journal, _) = open(options(memory.clone()));
        journal.epoch()
    };
    assert_eq!(offline(&memory).epoch().unwrap(), Some(open_epoch));
    memory.remove(&Path::new("j").join("positions")).unwrap();
    assert_eq!(offline(&memory).epoch().unwrap(), Some(open_epoch));
}
