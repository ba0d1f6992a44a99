//! What is found when a journal is opened is durable before it is served.

use std::io::ErrorKind;
use std::path::Path;

use crate::fs::{Fault, Faulty};
use crate::testing::{append, open, options, read, record};
use crate::{Durability, Options, Record};

fn small(disk: &Faulty, durability: Durability) -> Options {
    options(disk.clone()).segment_size(4096).durability(durability)
}

fn check_after(fault: Fault, durability: Durability) {
    let mut times = 0;
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
                assert!(times > 100, "{times}");
                return;
            }
            times += 1;
            if disk.is_off() {
                disk.restart();
            }
            let (journal, _) = open(small(&disk, durability));
            let served = read(&journal, 0);
            disk.cut_power();
            drop(journal);
            disk.restart();
            let (journal, _) = open(small(&disk, durability));
            assert_eq!(read(&journal, 0), served, "{fault:?} at {at}, seed {seed}");
        }
    }
}

#[test]
fn what_is_served_after_a_kill_survives_a_power_cut() {
    check_after(Fault::Kill, Durability::Fsync);
}

#[test]
fn what_was_only_written_does_so_too() {
    check_after(Fault::Kill, Durability::Write);
}

/// The page cache shows it, and no sync writes it.
#[test]
fn what_a_failed_sync_has_left_does_so_too() {
    check_after(Fault::Error(ErrorKind::Other), Durability::Fsync);
}

#[test]
fn the_header_does_so_too() {
    for seed in 0..20 {
        let disk = Faulty::new(seed);
        let (journal, _) = open(small(&disk, Durability::Fsync));
        // The first segment is made, and its header is written; it is not made durable, and can't
        // be removed.
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
            segment.starts_with(b"OBSVLOG1") && segment[44..].starts_with(b"OBSVLOG1"),
            "seed {seed}"
        );
    }
}
