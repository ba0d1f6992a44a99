//! Names that have to be durable, and files that must be before they take another's place.

use super::*;

impl Bench {
    /// The folders that were synced since this was asked last.
    fn synced_folders(&self) -> Vec<PathBuf> {
        let mut folders = std::mem::take(&mut self.faults.lock().unwrap().folders);
        folders.sort();
        folders.dedup();
        folders
    }
}

#[test]
fn every_new_name_is_durable_after_a_flush() {
    let bench = Bench::new("{source}/{date}.jsonl");
    let (top, base) = (bench.folder.path().to_owned(), bench.base());
    let mut writer = bench.open();
    assert_eq!(bench.synced_folders(), std::slice::from_ref(&top), "the state folder's own name");
    writer.take(&batch(1..=2));
    writer.settle();
    assert_eq!(bench.synced_folders(), [top, base.clone(), base.join("bot")]);
    writer.take(&batch(3..=4));
    writer.settle();
    assert!(bench.synced_folders().is_empty(), "no other name is new");
    writer.take(&batch(5..=6));
    drop(writer);
    bench.open();
    assert_eq!(bench.synced_folders(), [base.join("bot")], "what a crash left may not be durable");
}

#[test]
fn a_folder_that_was_made_for_a_look_is_durable() {
    let bench = Bench::new("all.jsonl");
    crate::check::check_folder(&bench.base().join("a/b"), &FaultyDisk(Arc::clone(&bench.faults)))
        .unwrap();
    assert_eq!(
        bench.synced_folders(),
        [bench.folder.path().to_owned(), bench.base(), bench.base().join("a")]
    );
}

#[test]
fn a_file_stays_until_what_it_was_packed_into_is_durable() {
    let bench = Bench::with("{date}.jsonl", |config| config.compression(Compression::Zstd));
    let writer = bench.open();
    fs::create_dir_all(bench.base()).unwrap();
    let path = bench.base().join("2026-11-20.jsonl");
    let text = format!("{}\n", envelope(1, "bot", TEN).to_json());
    fs::write(&path, &text).unwrap();
    let pack = || {
        writer.files().janitor().pack([path.clone()]);
        writer.files().janitor().wait();
    };
    for folder in [false, true] {
        bench.faults(|faults| (faults.sync_all, faults.sync_folder) = (!folder, folder));
        pack();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "folder: {folder}");
    }
    bench.faults(|faults| (faults.sync_all, faults.sync_folder) = (false, false));
    pack();
    assert_eq!(bench.names(), ["2026-11-20.jsonl.zst"]);
}

#[test]
fn what_a_crash_or_someone_else_left_is_durable_before_it_counts() {
    let bench = Bench::new("all.jsonl");
    let synced = || std::mem::take(&mut bench.faults.lock().unwrap().synced);
    let path = bench.base().join("all.jsonl");
    let mut writer = bench.open();
    writer.take(&batch(1..=2));
    writer.settle();
    drop(writer);
    synced();
    drop(bench.open());
    assert_eq!(synced(), 0, "all of it was durable");

    let len = fs::metadata(&path).unwrap().len();
    File::options().write(true).open(&path).unwrap().set_len(len - 9).unwrap();
    let mut writer = bench.open();
    assert_eq!(synced(), 1, "the torn end is gone for good");
    writer.take(&batch(3..=4));
    drop(writer);
    let mut writer = bench.open();
    assert_eq!(synced(), 1, "lines that nobody flushed");

    writer.take(&batch(5..=6));
    fs::rename(&path, bench.base().join("elsewhere")).unwrap();
    writer.take(&batch(7..=7));
    assert_eq!(synced(), 1, "the one that was renamed is synced as long as it can be");
}
