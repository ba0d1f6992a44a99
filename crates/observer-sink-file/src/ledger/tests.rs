use super::*;
use crate::disk::Identity;

const ENTRY: Entry =
    Entry { kind: Kind::Open, identity: Identity { dev: 1, ino: 2 }, len: 3, end: 4, newest: 5 };

fn load(folder: &Path) -> Ledger {
    Ledger::load(folder, &folder.join("base"), ".jsonl").unwrap().ledger
}

#[test]
fn ledger_is_read_back_and_every_damaged_line_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = load(folder.path());
    ledger.write_header().unwrap();
    ledger.put("a.jsonl", ENTRY);
    ledger.put("b.000003.jsonl", Entry { kind: Kind::Closed, ..ENTRY });
    ledger.set_clock(TrustedClock::new(7));
    ledger.write().unwrap();
    let read = load(folder.path());
    assert_eq!(read.files, ledger.files);
    assert_eq!((read.highest("b.jsonl"), read.clock()), (3, Some(TrustedClock::new(7))));

    let path = folder.path().join(FILE);
    let intact = fs::read(&path).unwrap();
    for at in 0..intact.len() {
        let mut bytes = intact.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let read = load(folder.path());
        assert!(read.files.iter().all(|(key, entry)| ledger.files.get(key) == Some(entry)));
        fs::write(&path, &intact[..at]).unwrap();
        let mut torn = load(folder.path());
        torn.put("c.jsonl", ENTRY);
        torn.write().unwrap();
        assert_eq!(load(folder.path()).get("c.jsonl"), Some(&ENTRY), "cut at {at}");
    }
}

#[test]
fn outdated_lines_are_dropped_and_numbers_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = load(folder.path());
    ledger.write_header().unwrap();
    for number in 1..1000 {
        let key = format!("a.{number:06}.jsonl");
        ledger.put(&key, ENTRY);
        ledger.remove(&key);
    }
    ledger.put("a.jsonl", ENTRY);
    ledger.write().unwrap();
    let before = fs::metadata(folder.path().join(FILE)).unwrap().len();
    let mut ledger = load(folder.path());
    ledger.open().unwrap();
    assert!(fs::metadata(folder.path().join(FILE)).unwrap().len() * 100 < before);
    let ledger = load(folder.path());
    assert_eq!((ledger.highest("a.jsonl"), ledger.get("a.jsonl")), (999, Some(&ENTRY)));
}

#[test]
fn paths_outside_the_base_have_absolute_keys() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = load(folder.path());
    for (path, key) in [
        (folder.path().join("base/a/b.jsonl"), "a/b.jsonl".to_owned()),
        (folder.path().join("x.jsonl"), folder.path().join("x.jsonl").display().to_string()),
    ] {
        assert_eq!(ledger.key(&path), key);
        assert_eq!(ledger.path(&key), path);
    }
}

#[test]
fn open_files_of_a_series_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = load(folder.path());
    for (key, kind) in [
        ("a.jsonl", Kind::Open),
        ("a.000001.jsonl", Kind::Closed),
        ("a.000002.jsonl", Kind::Open),
        ("a.b.jsonl", Kind::Open),
        ("a.b.000001.jsonl", Kind::Open),
        ("ab.jsonl", Kind::Open),
    ] {
        ledger.put(key, Entry { kind, ..ENTRY });
    }
    assert_eq!(ledger.open_in_series("a.jsonl"), ["a.jsonl", "a.000002.jsonl"]);
    assert_eq!(ledger.open_in_series("b.jsonl"), [""; 0]);
}
