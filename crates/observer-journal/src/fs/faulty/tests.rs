use super::*;

const FILE: &str = "d/file";

fn on(seed: u64) -> (Faulty, Arc<dyn File>) {
    let disk = Faulty::new(seed);
    let file = disk.open(Path::new(FILE), OpenMode::Create).unwrap();
    disk.sync_dir(Path::new("d")).unwrap();
    (disk, file)
}

fn content(disk: &Faulty) -> Vec<u8> {
    disk.files().remove(Path::new(FILE)).unwrap()
}

#[test]
fn what_was_synced_is_there_after_a_power_cut_and_the_rest_whole_or_torn_by_sectors_or_not() {
    let (mut lost, mut whole, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let (disk, file) = on(seed);
        file.write_at(&[1; 100], 0).unwrap();
        file.sync().unwrap();
        file.write_at(&[2; 2000], 100).unwrap();
        assert_eq!(content(&disk).len(), 2100, "without a power cut all of it can be read");
        disk.cut_power();
        disk.restart();
        let kept = content(&disk);
        assert_eq!(kept[..100], [1; 100]);
        assert!(kept[100..].iter().all(|byte| matches!(byte, 0 | 2)), "{kept:?}");
        match kept[100..].iter().filter(|byte| **byte == 2).count() {
            0 => lost += 1,
            2000 => whole += 1,
            count => {
                // The first sector of the write begins at 100, and its last one ends at 2100.
                assert!([0, 52, 412, 464].contains(&(count % 512)), "{count}");
                torn += 1;
            }
        }
    }
    assert!(lost > 20 && whole > 20 && torn > 20, "{lost} {whole} {torn}");
}

#[test]
fn names_are_durable_after_their_folder_was_synced_and_before_that_in_order() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let (disk, _) = on(seed);
        disk.open(Path::new("d/new"), OpenMode::Create).unwrap();
        disk.rename(Path::new("d/new"), Path::new(FILE)).unwrap();
        disk.remove(Path::new(FILE)).unwrap();
        disk.cut_power();
        disk.restart();
        seen.insert(disk.list(Path::new("d")).unwrap());
        assert!(
            disk.open(Path::new("d/file"), OpenMode::Read).is_ok()
                || disk.list(Path::new("d")).unwrap().is_empty()
        );
    }
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        [names(&[]), names(&["file"]), names(&["file", "new"])]
    );

    let (disk, _) = on(1);
    disk.remove(Path::new(FILE)).unwrap();
    disk.sync_dir(Path::new("d")).unwrap();
    disk.cut_power();
    disk.restart();
    assert!(disk.files().is_empty());
}

#[test]
fn a_sync_that_fails_loses_some_for_good_whatever_a_later_one_says() {
    let mut lost = 0;
    for seed in 0..20 {
        let (disk, file) = on(seed);
        file.write_at(b"gone?", 0).unwrap();
        disk.fail_at(disk.operations(), Fault::Error(io::ErrorKind::Other));
        assert!(file.sync().is_err());
        assert_eq!(content(&disk), b"gone?", "the page cache has it");
        file.sync().unwrap();
        disk.cut_power();
        disk.restart();
        lost += usize::from(content(&disk) != b"gone?");
    }
    assert!((1..20).contains(&lost), "{lost}");
}

#[test]
fn locks_go_with_the_power_and_so_do_files_that_were_open() {
    let (disk, file) = on(1);
    let path = Path::new("d/lock");
    let lock = disk.lock(path).unwrap();
    assert_eq!(disk.lock(path).err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    disk.cut_power();
    assert!(disk.is_off() && disk.list(Path::new("d")).is_err());
    disk.restart();
    let again = disk.lock(path).unwrap();
    drop(lock);
    assert!(disk.lock(path).is_err(), "a guard of an earlier run lets nobody in");
    drop(again);
    assert!(disk.lock(path).is_ok());
    disk.fail_at(disk.operations(), Fault::PowerCut);
    assert!(disk.lock(path).is_err() && disk.is_off());
    disk.restart();
    assert!(file.size().is_err() && file.write_at(b"late", 0).is_err() && file.sync().is_err());
    assert_eq!(content(&disk), b"");
}

#[test]
fn an_operation_that_fails_does_nothing_or_a_first_part() {
    let (disk, file) = on(3);
    disk.fail_at(disk.operations(), Fault::Error(io::ErrorKind::StorageFull));
    let error = file.write_at(&[7; 100], 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let written = content(&disk);
    assert!(written.len() <= 100 && written.iter().all(|byte| *byte == 7));
    file.write_at(b"works again", 0).unwrap();

    disk.fail_at(disk.operations(), Fault::Error(io::ErrorKind::Other));
    assert!(disk.remove(Path::new(FILE)).is_err());
    assert!(content(&disk).starts_with(b"works again"));

    disk.set_full(true);
    let kind = |result: io::Result<()>| result.err().map(|error| error.kind());
    assert_eq!(kind(file.write_at(&[7; 100], 90)), Some(io::ErrorKind::StorageFull));
    assert_eq!(kind(file.write_at(b"in place", 0)), None);
}

#[test]
fn a_kill_leaves_everything_and_makes_nothing_durable() {
    let after_power_cut = |seed| {
        let (disk, file) = on(seed);
        let lock = disk.lock(Path::new("d/lock")).unwrap();
        disk.fail_at(disk.operations(), Fault::Kill);
        disk.fail_at(disk.operations() + 3, Fault::PowerCut);
        assert!(file.write_at(&[7; 2000], 0).is_err() && disk.is_off());
        disk.restart();
        drop(lock);
        assert!(file.size().is_err(), "it was opened by a process that is gone");
        assert!(content(&disk) == [7; 2000]);
        assert!(disk.lock(Path::new("d/lock")).is_ok());
        assert!(disk.open(Path::new(FILE), OpenMode::Write).is_ok());
        assert!(disk.sync_dir(Path::new("d")).is_err() && disk.is_off(), "faults still come");
        disk.restart();
        content(&disk)
    };
    assert!((0..20).any(|seed| after_power_cut(seed) != [7; 2000]));
}

#[test]
fn the_same_seed_has_the_same_outcome() {
    let run = |seed| {
        let (disk, file) = on(seed);
        for at in 0..20 {
            file.write_at(&[at; 700], usize::from(at) as u64 * 600).unwrap();
        }
        disk.fail_at(disk.operations(), Fault::PowerCut);
        assert!(file.sync().is_err());
        disk.restart();
        (disk.operations(), disk.files())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn faults_can_be_called_off() {
    let (disk, file) = on(1);
    disk.fail_at(disk.operations(), Fault::PowerCut);
    disk.clear_faults();
    assert!(file.sync().is_ok());
}
