use super::*;

const FILE: &str = "d/file";

/// A synced, empty file on a disk with this seed.
fn disk_with_file(seed: u64) -> (Faulty, Arc<dyn File>) {
    let disk = Faulty::new(seed);
    let file = disk.open(Path::new(FILE), OpenMode::Create).unwrap();
    disk.sync_dir(Path::new("d")).unwrap();
    (disk, file)
}

fn content(disk: &Faulty) -> Vec<u8> {
    disk.files().remove(Path::new(FILE)).unwrap()
}

#[test]
fn power_cut_keeps_synced_bytes_and_loses_or_tears_unsynced_writes_by_sectors() {
    let (mut lost, mut whole, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let (disk, file) = disk_with_file(seed);
        file.write_at(&[1; 100], 0).unwrap();
        file.sync().unwrap();
        file.write_at(&[2; 2000], 100).unwrap();
        assert_eq!(content(&disk).len(), 2100, "unsynced bytes can be read until the power is cut");
        disk.cut_power();
        disk.restart();
        let kept = content(&disk);
        assert_eq!(kept[..100], [1; 100]);
        assert!(kept[100..].iter().all(|byte| matches!(byte, 0 | 2)), "{kept:?}");
        match kept[100..].iter().filter(|byte| **byte == 2).count() {
            0 => lost += 1,
            2000 => whole += 1,
            count => {
                // The write covers bytes 100 to 2099, so its first and last sectors are incomplete.
                assert!([0, 52, 412, 464].contains(&(count % 512)), "{count}");
                torn += 1;
            }
        }
    }
    assert!(lost > 20 && whole > 20 && torn > 20, "{lost} {whole} {torn}");
}

#[test]
fn names_are_durable_once_their_folder_is_synced_and_survive_in_order_before() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let (disk, _) = disk_with_file(seed);
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

    let (disk, _) = disk_with_file(1);
    disk.remove(Path::new(FILE)).unwrap();
    disk.sync_dir(Path::new("d")).unwrap();
    disk.cut_power();
    disk.restart();
    assert!(disk.files().is_empty());
}

#[test]
fn failed_sync_loses_writes_permanently_even_if_a_later_sync_succeeds() {
    let mut lost = 0;
    for seed in 0..20 {
        let (disk, file) = disk_with_file(seed);
        file.write_at(b"gone?", 0).unwrap();
        disk.fail_at(disk.operations(), Fault::Error(io::ErrorKind::Other));
        assert!(file.sync().is_err());
        assert_eq!(content(&disk), b"gone?", "the page cache still has the bytes");
        file.sync().unwrap();
        disk.cut_power();
        disk.restart();
        lost += usize::from(content(&disk) != b"gone?");
    }
    assert!((1..20).contains(&lost), "{lost}");
}

#[test]
fn power_cut_invalidates_locks_and_open_files() {
    let (disk, file) = disk_with_file(1);
    let path = Path::new("d/lock");
    let lock = disk.lock(path).unwrap();
    assert_eq!(disk.lock(path).err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    disk.cut_power();
    assert!(disk.is_off() && disk.list(Path::new("d")).is_err());
    disk.restart();
    let again = disk.lock(path).unwrap();
    drop(lock);
    assert!(
        disk.lock(path).is_err(),
        "dropping the guard of an earlier run does not release the lock"
    );
    drop(again);
    assert!(disk.lock(path).is_ok());
    disk.fail_at(disk.operations(), Fault::PowerCut);
    assert!(disk.lock(path).is_err() && disk.is_off());
    disk.restart();
    assert!(file.size().is_err() && file.write_at(b"late", 0).is_err() && file.sync().is_err());
    assert_eq!(content(&disk), b"");
}

#[test]
fn failed_operation_does_nothing_or_writes_a_prefix() {
    let (disk, file) = disk_with_file(3);
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
fn kill_keeps_all_writes_and_makes_none_durable() {
    let after_power_cut = |seed| {
        let (disk, file) = disk_with_file(seed);
        let lock = disk.lock(Path::new("d/lock")).unwrap();
        disk.fail_at(disk.operations(), Fault::Kill);
        disk.fail_at(disk.operations() + 3, Fault::PowerCut);
        assert!(file.write_at(&[7; 2000], 0).is_err() && disk.is_off());
        disk.restart();
        drop(lock);
        assert!(file.size().is_err(), "a killed process opened this handle");
        assert!(content(&disk) == [7; 2000]);
        assert!(disk.lock(Path::new("d/lock")).is_ok());
        assert!(disk.open(Path::new(FILE), OpenMode::Write).is_ok());
        assert!(
            disk.sync_dir(Path::new("d")).is_err() && disk.is_off(),
            "pending faults stay after a kill"
        );
        disk.restart();
        content(&disk)
    };
    assert!((0..20).any(|seed| after_power_cut(seed) != [7; 2000]));
}

#[test]
fn same_seed_has_the_same_result() {
    let run = |seed| {
        let (disk, file) = disk_with_file(seed);
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
fn cleared_faults_do_not_occur() {
    let (disk, file) = disk_with_file(1);
    disk.fail_at(disk.operations(), Fault::PowerCut);
    disk.clear_faults();
    assert!(file.sync().is_ok());
}
