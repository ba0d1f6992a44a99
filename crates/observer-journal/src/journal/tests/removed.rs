//! Files and folders that are removed or replaced while the journal is open.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::*;
use crate::Recovery;

/// Journal on disk in small segments.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("j")
    }

    fn options(&self) -> Options {
        Options::new(self.path()).segment_size(4096).seed(1)
    }

    fn open(&self) -> (crate::testing::Journal, Recovery) {
        open(self.options())
    }

    /// Returns the paths of the segments, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
        paths.sort();
        paths
    }
}

fn replace(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::write(path, "notes of another program").unwrap();
}

#[test]
fn records_of_a_removed_segment_are_restored_before_the_next_commit() {
    type Removal = fn(&World);
    let removals: [(&str, Removal); 4] = [
        ("segment", |world| fs::remove_file(&world.segments()[0]).unwrap()),
        ("replaced segment", |world| replace(&world.segments()[0])),
        ("folder", |world| fs::remove_dir_all(world.path()).unwrap()),
        ("renamed folder", |world| {
            fs::rename(world.path(), world.dir.path().join("elsewhere")).unwrap();
        }),
    ];
    for durability in [Durability::Fsync, Durability::Write] {
        for (name, remove) in removals {
            let world = World::new();
            let (journal, _) = open(world.options().durability(durability));
            fill(&journal, 1..=10);
            journal.set_position("reader", 4, Bytes::new());
            journal.maintain().unwrap();
            remove(&world);
            let error = append(&journal, vec![record(99)]).unwrap_err();
            assert!(matches!(error, AppendError::Removed { .. }), "{name}: {error}");
            assert_eq!(append(&journal, vec![record(11)]).unwrap().first_seq, 11, "{name}");
            assert_eq!(numbers(&journal), (1..=11).collect::<Vec<_>>(), "{name}");
            journal.maintain().unwrap();
            // As after a crash: dropping the journal could store what was not durable before.
            let copy = World::new();
            fs::create_dir(copy.path()).unwrap();
            for entry in fs::read_dir(world.path()).unwrap() {
                let path = entry.unwrap().path();
                fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
            }
            let (reopened, recovery) = copy.open();
            assert_eq!((recovery.head, recovery.positions_lost), (11, false), "{name}");
            assert_eq!(numbers(&reopened), (1..=11).collect::<Vec<_>>(), "{name}");
            assert_eq!(reopened.position("reader").unwrap().seq, 4, "{name}");
            assert!(matches!(try_open(world.options()), Err(OpenError::InUse { .. })), "{name}");
        }
    }
}

#[test]
fn maintenance_restores_a_removed_segment_of_an_idle_journal() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 1..=10);
    fs::remove_dir_all(world.path()).unwrap();
    journal.maintain().unwrap();
    assert!(journal.status().failure.is_none());
    assert_eq!(numbers(&journal), (1..=10).collect::<Vec<_>>());
    drop(journal);
    let (journal, recovery) = world.open();
    assert_eq!(recovery, Recovery { head: 10, ..Recovery::default() });
    assert_eq!(numbers(&journal), (1..=10).collect::<Vec<_>>());
}

#[test]
fn removed_sealed_segments_are_gaps_and_no_sequence_number_is_used_again() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 1..=200);
    let kept = journal.state.segments().back().unwrap().name.first_seq;
    assert!(kept > 100);
    fs::remove_dir_all(world.path()).unwrap();
    append(&journal, vec![record(999)]).unwrap_err();
    fill(&journal, 201..=203);
    let (records, gaps) = read(&journal, 0);
    let found: Vec<_> = records.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(found, (kept..=203).collect::<Vec<_>>());
    assert!(
        gaps.iter().all(|gap| matches!(gap, Chunk::Gap { reason: GapReason::Corrupt, .. })),
        "{gaps:?}"
    );
    drop(journal);
    let (journal, recovery) = world.open();
    assert_eq!((recovery.head, recovery.new_epoch), (203, false));
    assert_eq!(append(&journal, vec![record(204)]).unwrap().first_seq, 204);
}

#[test]
fn folder_of_another_journal_is_left_alone_until_the_former_one_is_back() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 1..=100);
    let away = world.dir.path().join("away");
    fs::rename(world.path(), &away).unwrap();
    let (other, _) = open(world.options().seed(2));
    fill(&other, 1..=100);
    drop(other);
    let contents = || {
        let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
        let mut files: Vec<_> =
            fs::read_dir(world.path()).unwrap().map(|entry| read(entry.unwrap().path())).collect();
        files.sort();
        files
    };
    let before = contents();
    for is_in_use in [false, true] {
        let _other = is_in_use.then(|| open(world.options().seed(2)));
        let error = append(&journal, vec![record(101)]).unwrap_err();
        assert!(matches!(error, AppendError::Removed { .. } | AppendError::Replaced { .. }));
        journal.set_position("reader", 4, Bytes::new());
        journal.maintain().unwrap();
        let failure = journal.status().failure;
        assert!(matches!(failure, Some(AppendError::Replaced { .. })), "{failure:?}");
        assert!(journal.reader(0).read().is_err(), "no record counts as lost");
    }
    assert_eq!(contents(), before);
    fs::remove_dir_all(world.path()).unwrap();
    fs::rename(&away, world.path()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(120));
    fill(&journal, 101..=110);
    assert_eq!(numbers(&journal), (1..=110).collect::<Vec<_>>());
}
