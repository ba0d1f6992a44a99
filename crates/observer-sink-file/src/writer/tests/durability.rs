//! Durability of names, and of files before they replace other files.

use super::*;
use crate::access::Access;
use crate::disk::Identity;
use crate::ledger::{Entry, Kind};

impl Fixture {
    /// Returns the folders that were synced since the last call.
    fn synced_folders(&self) -> Vec<PathBuf> {
        let mut folders = std::mem::take(&mut self.faults.lock().unwrap().folders);
        folders.sort();
        folders.dedup();
        folders
    }
}

#[test]
fn new_names_are_durable_after_a_flush() {
    let fixture = Fixture::new("{source}/{date}.jsonl");
    let (top, base) = (fixture.folder.path().to_owned(), fixture.base());
    let mut writer = fixture.open();
    assert_eq!(
        fixture.synced_folders(),
        std::slice::from_ref(&top),
        "the name of the state folder is new"
    );
    writer.write(&batch(1..=2));
    writer.flush_now();
    assert_eq!(fixture.synced_folders(), [top, base.clone(), base.join("bot")]);
    writer.write(&batch(3..=4));
    writer.flush_now();
    assert!(fixture.synced_folders().is_empty(), "a flush without new names syncs no folder");
    writer.write(&batch(5..=6));
    drop(writer);
    fixture.open();
    assert_eq!(
        fixture.synced_folders(),
        [base.join("bot")],
        "names may not be durable after a crash"
    );
}

#[test]
fn folders_created_by_a_check_are_durable() {
    let fixture = Fixture::new("all.jsonl");
    crate::check::check_folder(
        &fixture.base().join("a/b"),
        &Access::PRIVATE,
        &FaultyDisk(Arc::clone(&fixture.faults)),
    )
    .unwrap();
    assert_eq!(
        fixture.synced_folders(),
        [fixture.folder.path().to_owned(), fixture.base(), fixture.base().join("a")]
    );
}

#[test]
fn original_is_kept_until_the_compressed_file_is_durable() {
    let fixture = Fixture::with("{date}.jsonl", |config| config.compression(Compression::Zstd));
    let writer = fixture.open();
    fs::create_dir_all(fixture.base()).unwrap();
    let path = fixture.base().join("2026-11-20.jsonl");
    let text = format!("{}\n", envelope(1, "bot", TEN).to_json());
    fs::write(&path, &text).unwrap();
    let (len, end) = (text.len() as u64, crate::checksum::checksum(text.as_bytes()));
    let entry = Entry { kind: Kind::Closed, identity: Identity::default(), len, end, newest: TEN };
    lock(&writer.ledger).put("2026-11-20.jsonl", entry);
    let compress = || {
        writer.janitor().schedule(["2026-11-20.jsonl".to_owned()], None);
        writer.janitor().wait();
    };
    for folder in [false, true] {
        fixture.faults(|faults| (faults.sync_all, faults.sync_folder) = (!folder, folder));
        compress();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "folder: {folder}");
    }
    fixture.faults(|faults| (faults.sync_all, faults.sync_folder) = (false, false));
    compress();
    assert_eq!(fixture.names(), ["2026-11-20.jsonl.zst"]);
}

#[test]
fn lines_found_in_files_are_made_durable_before_they_count() {
    let fixture = Fixture::new("all.jsonl");
    let synced = || std::mem::take(&mut fixture.faults.lock().unwrap().synced);
    let path = fixture.base().join("all.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    writer.flush_now();
    drop(writer);
    synced();
    drop(fixture.open());
    assert_eq!(synced(), 0, "all lines were durable");

    // A torn line after the durable ones.
    File::options().append(true).open(&path).unwrap().write_all(br#"{"id":"#).unwrap();
    let mut writer = fixture.open();
    assert_eq!(synced(), 1, "the removal of the torn line is durable");
    writer.write(&batch(3..=4));
    drop(writer);
    let mut writer = fixture.open();
    assert_eq!(synced(), 1, "lines after the last flush are synced");

    writer.write(&batch(5..=6));
    fs::rename(&path, fixture.base().join("elsewhere")).unwrap();
    writer.write(&batch(7..=7));
    assert_eq!(synced(), 1, "a renamed file is synced while it is still open");
}
