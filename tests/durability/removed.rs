//! The folder of the journal, a file in it, or the state of sinks is removed while the observer
//! runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use observer_testing::http::{HttpReceiver, Reply};

use crate::support::{DEFAULTS, Observer, Response, event_of, read_lines, wait_until};

fn event(number: usize) -> String {
    format!(r#"{{"source":"job","event_kind":"ok","ok":true,"extra":{{"n":{number}}}}}"#)
}

/// Returns the number in an event of this module.
fn number(event: &str) -> usize {
    serde_json::from_str::<serde_json::Value>(event).unwrap()["extra"]["n"]
        .as_u64()
        .unwrap()
        .try_into()
        .unwrap()
}

/// Posts events until one is accepted, and returns the numbers of the accepted ones.
async fn post(observer: &Observer, numbers: std::ops::Range<usize>) -> Vec<usize> {
    let mut accepted = Vec::new();
    for number in numbers {
        let Response { status, text, .. } = observer.post(event(number)).await;
        match status {
            200 => {
                assert!(text.contains(r#""durability":"fsync""#), "{text}");
                accepted.push(number);
            }
            _ => assert_eq!(status, 503, "{text}"),
        }
    }
    accepted
}

fn journal(dir: &Path) -> std::path::PathBuf {
    dir.join("observer-data/journal")
}

/// Returns the numbers in an export of the journal of a stopped observer.
fn exported(dir: &Path) -> Vec<usize> {
    let output = std::process::Command::new(crate::support::OBSERVER)
        .args(["journal", "export"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", crate::support::text_of(&output));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| number(event_of(line))).collect()
}

#[tokio::test]
async fn accepted_events_survive_the_removal_of_the_journal_and_a_kill() {
    type Removal = fn(&Path);
    let removals: [(&str, Removal); 3] = [
        ("folder", |path| fs::remove_dir_all(path).unwrap()),
        ("data", |path| fs::remove_dir_all(path.parent().unwrap()).unwrap()),
        ("segment", |path| {
            fs::remove_file(path.join("00000000000000000001-0.log")).unwrap();
        }),
    ];
    for (name, remove) in removals {
        let dir = tempfile::tempdir().unwrap();
        let mut observer = Observer::start(dir.path(), DEFAULTS);
        let mut accepted = post(&observer, 0..20).await;
        assert_eq!(accepted.len(), 20);
        remove(&journal(dir.path()));
        // The next commit or the maintenance finds it, whichever is first.
        accepted.extend(post(&observer, 20..40).await);
        assert!(accepted.len() >= 38, "{name}: {accepted:?}");
        let entry = observer.wait_for_log(
            "the journal accepts no records; producers have to retry, readers continue",
        );
        assert!(entry["reason"].as_str().unwrap().contains("was removed or replaced"), "{entry}");
        assert_eq!(observer.get("/readyz").await.status, 200, "{name}");
        observer.kill();
        assert_eq!(exported(dir.path()), accepted, "{name}");

        let again = Observer::start(dir.path(), DEFAULTS);
        assert_eq!(post(&again, 40..41).await, [40]);
        again.wait_until_caught_up().await;
        let sinks = again.get("/v1/sinks").await.json();
        let head = sinks["head"].as_str().unwrap().rsplit('-').next().unwrap();
        assert_eq!(head, (accepted.len() + 1).to_string(), "{name}: {sinks}");
    }
}

#[tokio::test]
async fn events_are_refused_while_the_folder_of_another_journal_is_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let mut accepted = post(&observer, 0..20).await;
    observer.wait_until_caught_up().await;
    let (path, away) = (journal(dir.path()), dir.path().join("away"));
    let other = tempfile::tempdir().unwrap();
    let stranger = Observer::start(other.path(), DEFAULTS);
    assert_eq!(post(&stranger, 100..110).await.len(), 10);
    assert!(stranger.terminate().0.success());
    fs::rename(&path, &away).unwrap();
    fs::rename(journal(other.path()), &path).unwrap();

    assert!(post(&observer, 20..25).await.is_empty());
    let status = async || observer.get("/readyz").await.status;
    wait_until("it is not ready", async || status().await == 503).await;
    let response = observer.post(event(25)).await;
    assert!(response.text.contains("was replaced by another journal"), "{}", response.text);

    fs::rename(&path, journal(other.path())).unwrap();
    fs::rename(&away, &path).unwrap();
    wait_until("it is ready again", async || status().await == 200).await;
    accepted.extend(post(&observer, 30..40).await);
    assert_eq!(accepted.len(), 30);
    observer.wait_until_caught_up().await;
    let archive: Vec<_> = read_lines(&dir.path().join("observer-data/events"))
        .iter()
        .map(|line| number(event_of(line)))
        .collect();
    assert_eq!(archive, accepted);
    observer.kill();
    assert_eq!(exported(dir.path()), accepted);
    assert_eq!(exported(other.path()), (100..110).collect::<Vec<_>>());
}

#[tokio::test]
async fn sinks_receive_events_that_were_pending_when_the_journal_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    // A file where the folder of the sink should be.
    fs::write(dir.path().join("late"), "").unwrap();
    let config = format!(
        "{DEFAULTS}[sinks.late]\ntype = \"file\"\npath = \"late/all.jsonl\"\n\
         start = \"earliest\"\nretry = {{ initial = \"50ms\", max = \"100ms\" }}\n"
    );
    let observer = Observer::start(dir.path(), &config);
    let mut accepted = post(&observer, 0..20).await;
    fs::remove_dir_all(journal(dir.path())).unwrap();
    accepted.extend(post(&observer, 20..30).await);
    observer.kill();
    fs::remove_file(dir.path().join("late")).unwrap();
    let again = Observer::start(dir.path(), &config);
    again.wait_until_caught_up().await;
    let archive: Vec<_> =
        read_lines(&dir.path().join("late")).iter().map(|line| number(event_of(line))).collect();
    assert_eq!(archive, accepted);
}

#[tokio::test]
async fn dead_letters_after_the_removal_of_their_folder_survive_a_kill() {
    type Removal = fn(&Path);
    let removals: [(&str, Removal); 3] = [
        ("journal", |path| fs::remove_dir_all(path).unwrap()),
        ("folder", |path| fs::remove_dir_all(path.join("dead-letters")).unwrap()),
        ("file", |path| {
            fs::remove_file(path.join("dead-letters/web/00000001.ndjson")).unwrap();
        }),
    ];
    for (name, remove) in removals {
        let receiver = HttpReceiver::start();
        receiver.set_default_reply(Reply::reject_items_containing(r#""ok":false"#, "not ok"));
        let config = format!(
            "{DEFAULTS}[sinks.web]\ntype = \"http\"\nurl = \"{}\"\n",
            receiver.url("/events")
        );
        let dir = tempfile::tempdir().unwrap();
        let observer = Observer::start(dir.path(), &config);
        let bad = async |number: usize| {
            let bad = event(number).replace(r#""ok":true"#, r#""ok":false"#);
            // The destination accepts the other one, which is evidence.
            for event in [bad, event(number)] {
                let accepts = async || observer.post(event.clone()).await.status == 200;
                wait_until("it is accepted", accepts).await;
            }
            observer.wait_until_caught_up().await;
        };
        bad(1).await;
        let path = dir.path().join("observer-data/journal");
        remove(&path);
        bad(2).await;
        bad(3).await;
        observer.kill();
        let letters = read_lines(&path.join("dead-letters/web"));
        let numbers: BTreeSet<_> =
            letters.iter().map(|line| number(event_of(line.strip_suffix('}').unwrap()))).collect();
        // The first one may have been written again.
        assert!(numbers.is_superset(&[2, 3].into()), "{name}: {letters:?}");
    }
}

#[tokio::test]
async fn sinks_write_their_state_again_after_its_removal() {
    type Removal = fn(&Path);
    let removals: [(&str, Removal); 3] = [
        ("all", |sinks| fs::remove_dir_all(sinks).unwrap()),
        ("archive", |sinks| fs::remove_dir_all(sinks.join("archive")).unwrap()),
        ("contents", |sinks| {
            for sink in fs::read_dir(sinks).unwrap() {
                for file in fs::read_dir(sink.unwrap().path()).unwrap() {
                    fs::remove_file(file.unwrap().path()).unwrap();
                }
            }
        }),
    ];
    for (name, remove) in removals {
        let dir = tempfile::tempdir().unwrap();
        let observer = Observer::start(dir.path(), DEFAULTS);
        let mut accepted = post(&observer, 0..10).await;
        observer.wait_until_caught_up().await;
        let sinks = dir.path().join("observer-data/sinks");
        remove(&sinks);
        for number in 10..20 {
            accepted.extend(post(&observer, number..number + 1).await);
            observer.wait_until_caught_up().await;
        }
        let status = observer.get("/v1/sinks").await.json();
        for sink in status["sinks"].as_array().unwrap() {
            assert_eq!(sink["state"], "running", "{name}: {sink}");
        }
        let log = observer.kill();
        let parked = log.iter().filter(|line| line.contains("parked")).count();
        assert_eq!(parked, 0, "{name}: {log:#?}");
        for file in ["files", "position", "lock"] {
            assert!(sinks.join("archive").join(file).exists(), "{name}: {file}");
        }
        // The next start recognises the files by the new state.
        let again = Observer::start(dir.path(), DEFAULTS);
        accepted.extend(post(&again, 20..25).await);
        again.wait_until_caught_up().await;
        let archive: Vec<_> = again.archive().iter().map(|line| number(event_of(line))).collect();
        assert_eq!(archive, accepted, "{name}");
        let files = fs::read_dir(dir.path().join("observer-data/events")).unwrap().count();
        assert_eq!(files, 1, "{name}");
    }
}
