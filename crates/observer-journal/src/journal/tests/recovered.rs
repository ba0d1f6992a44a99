//! Recovered records are durable before they can be read.

use std::io::ErrorKind;
use std::path::Path;

use crate::fs::{Fault, Faulty};
use crate::testing::{append, open, options, read, record};
use crate::{Durability, Options, Record};

fn small(disk: &Faulty, durability: Durability) -> Options {
    options(disk.clone()).segment_size(4096).durability(durability)
}

fn check_after(fault: Fault, durability: Durability) {
    let mut cases = 0;
    for at in 0_u64.. {
        for seed in 0..8 {
            let disk = Faulty::new(seed);
            let (journal, _) = open(small(&disk, durability));
            disk.fail_at(disk.operations() + at, fault);
            let record = |number| Record::new(number, [0; 16], vec![7; 700]);
            let _ =
                (1..=12).try_for_each(|number| append(&journal, vec![record(number)]).map(drop));
            drop(journal);
            if disk.fault_count() == 0 {
                assert!(cases > 100, "{cases}");
                return;
            }
            cases += 1;
            if disk.is_off() {
                disk.restart();
            }
            let (journal, _) = open(small(&disk, durability));
            let records = read(&journal, 0);
            disk.cut_power();
            drop(journal);
            disk.restart();
            let (journal, _) = open(small(&disk, durability));
            assert_eq!(read(&journal, 0), records, "{fault:?} at {at}, seed {seed}");
        }
    }
}

#[test]
fn records_read_after_a_kill_survive_a_power_cut() {
    check_after(Fault::Kill, Durability::Fsync);
}

#[test]
fn unsynced_records_read_after_a_kill_survive_a_power_cut() {
    check_after(Fault::Kill, Durability::Write);
}

/// The bytes are in the page cache, but a later sync does not write them.
#[test]
fn records_read_after_a_failed_sync_survive_a_power_cut() {
    check_after(Fault::Error(ErrorKind::Other), Durability::Fsync);
}

#[test]
fn header_of_a_reopened_segment_survives_a_power_cut() {
    for seed in 0..20 {
        let disk = Faulty::new(seed);
        let (journal, _) = open(small(&disk, Durability::Fsync));
        // The sync of the first segment fails after its header is written, and so does its removal.
        for operation in [2, 3] {
            disk.fail_at(disk.operations() + operation, Fault::Error(ErrorKind::Other));
        }
        append(&journal, vec![record(1)]).unwrap_err();
        drop(journal);
        let (journal, _) = open(small(&disk, Durability::Fsync));
        append(&journal, vec![record(2)]).unwrap();
        disk.cut_power();
        drop(journal);
        let segment = disk.files().remove(Path::new("j/00000000000000000001-0.log")).unwrap();
        assert!(
            segment.starts_with(b"OBSVLOG2") && segment[44..].starts_with(b"OBSVLOG2"),
            "seed {seed}"
        );
    }
}
