//! Segments of version 1, which are read and never continued.

use std::path::Path;

use super::{segments, small};
use crate::fs::{FileSystem, Memory, OpenMode};
use crate::segment::format::{BLOCKS_OFFSET, HEADER_SIZE, Version};
use crate::testing::{append, open, read, recent_keys, record};
use crate::{Journal, OfflineJournal, Record};

fn read_file(memory: &Memory, name: &str) -> Vec<u8> {
    let file = memory.open(&Path::new("j").join(name), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn write_file(memory: &Memory, name: &str, bytes: &[u8]) {
    let file = memory.open(&Path::new("j").join(name), OpenMode::Create).unwrap();
    file.write_at(bytes, 0).unwrap();
}

fn untagged(number: u64) -> Record {
    record(number).with_tag(0)
}

/// Journal of untagged records with the bytes of version 1, as its program left it.
fn version_1() -> Memory {
    let memory = Memory::default();
    let (journal, _) = open(small(memory.clone()));
    for number in 1..=120 {
        append(&journal, vec![untagged(number)]).unwrap();
    }
    drop(journal);
    for name in segments(&memory) {
        let mut bytes = read_file(&memory, &name);
        for at in [0, HEADER_SIZE] {
            let header = &mut bytes[at..at + HEADER_SIZE];
            header[..8].copy_from_slice(b"OBSVLOG1");
            let crc = crc32c::crc32c(&header[..HEADER_SIZE - 4]);
            header[HEADER_SIZE - 4..].copy_from_slice(&crc.to_le_bytes());
        }
        // The checksum of a block does not cover its magic.
        for at in BLOCKS_OFFSET as usize..bytes.len() - 4 {
            if Version::of_block(&bytes[at..]) == Some(Version::V2) {
                bytes[at] = 0x5E;
            }
        }
        write_file(&memory, &name, &bytes);
    }
    memory
}

#[test]
fn journal_of_version_1_continues_in_a_new_segment() {
    let memory = version_1();
    let old = segments(&memory);
    let before: Vec<_> = old.iter().map(|name| read_file(&memory, name)).collect();
    assert!(old.len() > 2, "{old:?}");
    let (journal, recovery) = open(small(memory.clone()));
    assert_eq!((recovery.head, recovery.torn_bytes, &recovery.lost[..]), (120, 0, &[][..]));
    for number in 121..=200 {
        append(&journal, vec![record(number)]).unwrap();
    }
    let all: Vec<_> = (1..=120).map(untagged).chain((121..=200).map(record)).collect();
    let check = |journal: &Journal<_>| {
        let (records, gaps) = read(journal, 0);
        assert_eq!((records.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), gaps), {
            (all.clone(), vec![])
        });
        let keys = recent_keys(journal, usize::MAX, 0);
        assert!(keys.iter().map(|(_, key)| *key).eq(all.iter().map(Record::key)));
    };
    check(&journal);
    drop(journal);
    let (journal, recovery) = open(small(memory.clone()));
    assert_eq!((recovery.head, &recovery.lost[..]), (200, &[][..]));
    check(&journal);
    drop(journal);
    for (name, before) in old.iter().zip(before) {
        assert_eq!(read_file(&memory, name), before, "{name}");
    }
    let new: Vec<_> = segments(&memory).into_iter().filter(|name| !old.contains(name)).collect();
    assert!(new.iter().all(|name| read_file(&memory, name).starts_with(b"OBSVLOG2")), "{new:?}");
    let found = OfflineJournal::open(small(memory)).unwrap().inspect().unwrap();
    assert_eq!((found.records, found.damage), (200, vec![]));
}

#[test]
fn empty_segment_of_version_1_is_replaced() {
    let memory = version_1();
    let names = segments(&memory);
    let last = names.last().unwrap();
    write_file(&memory, last, &read_file(&memory, last)[..BLOCKS_OFFSET as usize]);
    let (journal, recovery) = open(small(memory.clone()));
    let next = recovery.head + 1;
    append(&journal, vec![record(next)]).unwrap();
    drop(journal);
    let (journal, _) = open(small(memory.clone()));
    assert_eq!(read(&journal, next - 1).0, [(next, record(next))]);
    assert_eq!(segments(&memory).len(), names.len());
}

#[test]
fn rebuilt_header_has_the_version_of_its_blocks() {
    let (memory, tagged) = (version_1(), Memory::default());
    let (journal, _) = open(small(tagged.clone()));
    for number in 1..=120 {
        append(&journal, vec![record(number)]).unwrap();
    }
    drop(journal);
    let cases =
        [(memory, b"OBSVLOG1", untagged as fn(u64) -> Record), (tagged, b"OBSVLOG2", record)];
    for (memory, magic, record) in cases {
        for name in segments(&memory) {
            let file = memory.open(&Path::new("j").join(name), OpenMode::Write).unwrap();
            file.write_at(&[0; BLOCKS_OFFSET as usize], 0).unwrap();
        }
        OfflineJournal::open(small(memory.clone())).unwrap().repair().unwrap();
        for name in segments(&memory) {
            let header = &read_file(&memory, &name)[..BLOCKS_OFFSET as usize];
            assert!(
                header.starts_with(magic) && header[HEADER_SIZE..].starts_with(magic),
                "{name}"
            );
        }
        let (journal, _) = open(small(memory));
        let (records, gaps) = read(&journal, 0);
        assert!(records.len() == 120 && gaps.is_empty(), "{} {gaps:?}", records.len());
        assert!(records.iter().all(|(seq, found)| *found == record(*seq)));
    }
}

#[test]
fn file_of_a_later_version_is_refused_by_name_and_nothing_is_changed() {
    let original = |memory: &Memory| {
        let (journal, _) = open(small(memory.clone()));
        (1..=120).for_each(|number| drop(append(&journal, vec![record(number)]).unwrap()));
    };
    let all = |memory: &Memory| -> Vec<_> {
        let names = memory.list(Path::new("j")).unwrap();
        names.iter().map(|name| (name.clone(), read_file(memory, name))).collect()
    };
    for (of_segment, valid_checksum) in
        [(Some(0), true), (Some(1), true), (Some(1), false), (None, true), (None, false)]
    {
        let memory = Memory::default();
        original(&memory);
        let name =
            of_segment.map_or("positions".to_owned(), |at: usize| segments(&memory)[at].clone());
        let mut bytes = read_file(&memory, &name);
        let starts = if of_segment.is_some() { &[0, HEADER_SIZE][..] } else { &[0] };
        for at in starts {
            let end = if of_segment.is_some() { at + HEADER_SIZE } else { bytes.len() };
            bytes[at + 7] += 1;
            if valid_checksum {
                let crc = crc32c::crc32c(&bytes[*at..end - 4]);
                bytes[end - 4..end].copy_from_slice(&crc.to_le_bytes());
            }
        }
        write_file(&memory, &name, &bytes);
        // What opening would remove or rename otherwise.
        write_file(&memory, "00000000000000000500-0.log", b"unfinished");
        let before = all(&memory);
        let (found, known) = if of_segment.is_some() { (3, 2) } else { (2, 1) };
        let expected = format!(
            "j/{name} has version {found} of its format, and this program reads and writes \
             versions up to {known}; start the version of the program that wrote it"
        );
        let open = || Journal::<()>::open(small(memory.clone()), |_| {}).map(drop);
        let offline = || OfflineJournal::open(small(memory.clone())).unwrap();
        for run in [
            &open as &dyn Fn() -> Result<(), crate::OpenError>,
            &|| offline().inspect().map(drop),
            &|| offline().repair().map(drop),
        ] {
            assert_eq!(run().unwrap_err().to_string(), expected);
        }
        assert_eq!(all(&memory), before);
    }
}

#[test]
fn one_corrupt_header_copy_is_no_later_version() {
    let memory = Memory::default();
    let (journal, _) = open(small(memory.clone()));
    append(&journal, vec![record(1)]).unwrap();
    drop(journal);
    let name = segments(&memory)[0].clone();
    let mut bytes = read_file(&memory, &name);
    bytes[7] += 1;
    // The second copy is corrupt, too, and still of a known version.
    bytes[HEADER_SIZE + 20] ^= 1;
    write_file(&memory, &name, &bytes);
    let (journal, recovery) = open(small(memory));
    assert_eq!((recovery.head, read(&journal, 0).1), (1, Vec::new()));
}
