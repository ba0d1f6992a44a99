//! The knowledge base that is written anew from the journal, archives and exports.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::queries::{JSON, check_failure, run, stdout};
use crate::support::{DEFAULTS, OBSERVER, Observer, agent_runs, wait_until};

/// Events beside the runs: a phase, and an outcome with its correction.
const OTHERS: [&str; 3] = [
    r#"{"source":"job","event_kind":"started","sig_hash":"s","cycle_id":"c"}"#,
    r#"{"source":"job","id":"7","event_kind":"failed","ok":false,"sig_hash":"s","cost_usd":1}"#,
    r#"{"source":"job","replaces":"7","event_kind":"ok","ok":true,"labels":{"branch":"main"}}"#,
];

/// Sends the runs and other events in two batches, and waits until all figures include them.
async fn with_events(dir: &Path) -> Observer {
    let observer = Observer::start(dir, DEFAULTS);
    let runs = agent_runs();
    for body in [runs.join("\n"), OTHERS.join("\n")] {
        let request = observer.client().post(format!("{}/v1/events", observer.url)).body(body);
        let request = request.header("content-type", "application/x-ndjson");
        assert_eq!(observer.send(request).await.status, 200);
    }
    wait_for_attempts(&observer, runs.len() + 1).await;
    observer.wait_until_caught_up().await;
    observer
}

async fn wait_for_attempts(observer: &Observer, count: usize) {
    wait_until("the figures include every outcome", async || {
        observer.get("/v1/usage").await.json()["total"]["attempts"] == count
    })
    .await;
}

/// Returns the responses to queries of all kinds, for each problem and each event as well.
async fn answers(observer: &Observer) -> BTreeMap<String, String> {
    let mut answers = BTreeMap::new();
    let mut paths: Vec<String> = JSON.iter().map(|(_, path)| (*path).to_owned()).collect();
    paths.push("/v1/usage?by=label&label=branch".to_owned());
    paths.push("/v1/hints".to_owned());
    let list = |text: &str, key: &str, id: &str| -> Vec<String> {
        let page: Value = serde_json::from_str(text).unwrap();
        let rows = page[key].as_array().unwrap();
        rows.iter().map(|row| row[id].as_str().unwrap().to_owned()).collect()
    };
    for (path, key, id, below) in [
        ("/v1/signatures?limit=1000", "problems", "sig_hash", "/v1/signatures"),
        ("/v1/events?limit=1000", "events", "id", "/v1/events"),
    ] {
        let text = observer.get(path).await.text;
        paths.extend(list(&text, key, id).iter().map(|id| match id {
            id if below == "/v1/signatures" => format!("{below}/{id}?history=20&transitions=20"),
            id => format!("{below}/{id}"),
        }));
        answers.insert(path.to_owned(), text);
    }
    for path in paths {
        let response = observer.get(&path).await;
        assert_eq!(response.status, 200, "{path}: {}", response.text);
        answers.insert(path, response.text);
    }
    assert!(answers.len() > 2 * 100, "{} answers", answers.len());
    answers
}

/// Returns the answers of the file of a stopped observer.
fn answers_of_file(dir: &Path) -> Vec<String> {
    let all = "query --limit 1000 --ndjson";
    let lines = JSON.iter().map(|(line, _)| *line).chain([all]);
    // Some match nothing, and fail.
    lines.map(|line| String::from_utf8(run(dir, line).stdout).unwrap()).collect()
}

#[track_caller]
fn rebuild(dir: &Path, arguments: &str) -> Value {
    let output = run(dir, &format!("kb rebuild --json{arguments}"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn data(dir: &Path, name: &str) -> PathBuf {
    dir.join("observer-data").join(name)
}

fn set_aside(dir: &Path, name: &str) {
    fs::rename(data(dir, name), dir.join(name)).unwrap();
}

fn put_back(dir: &Path, name: &str) {
    let _ = fs::remove_dir_all(data(dir, name));
    fs::rename(dir.join(name), data(dir, name)).unwrap();
}

#[tokio::test]
async fn rebuilt_file_gives_the_answers_of_the_original() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let observer = with_events(dir).await;
    let original = answers(&observer).await;
    let events = agent_runs().len() + OTHERS.len();
    observer.terminate();

    // From the archive and the journal, which have the same events.
    let report = rebuild(dir, "");
    assert_eq!((&report["stored"], &report["known"]), (&events.into(), &events.into()));
    assert_eq!((&report["old_events"], &report["replaced"]), (&events.into(), &true.into()));
    assert!(report["position"].as_str().unwrap().ends_with(&format!("-{events}")), "{report}");
    let observer = Observer::start(dir, DEFAULTS);
    observer.wait_until_caught_up().await;
    assert_eq!(answers(&observer).await, original);

    // The sink continues where the rebuild ended.
    assert_eq!(observer.post(OTHERS[1].replace('7', "8")).await.status, 200);
    wait_for_attempts(&observer, agent_runs().len() + 2).await;
    observer.wait_until_caught_up().await;
    let original = answers(&observer).await;
    observer.terminate();

    // From the journal alone.
    set_aside(dir, "events");
    fs::remove_dir_all(data(dir, "kb")).unwrap();
    let report = rebuild(dir, "");
    assert_eq!((&report["stored"], &report["known"]), ((&(events + 1).into()), &0.into()));
    put_back(dir, "events");
    let observer = Observer::start(dir, DEFAULTS);
    observer.wait_until_caught_up().await;
    assert_eq!(answers(&observer).await, original);
    observer.terminate();
}

#[tokio::test]
async fn archives_and_exports_give_the_answers_of_the_original() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let observer = with_events(dir).await;
    let page = observer.client().get(format!("{}/v1/events?limit=1000", observer.url));
    let page = observer.send(page.header("accept", "application/x-ndjson")).await;
    observer.terminate();
    let events = agent_runs().len() + OTHERS.len();
    let original = answers_of_file(dir);
    let exported = stdout(dir, "journal export --output export.ndjson");
    assert_eq!(exported, "");
    set_aside(dir, "journal");

    for arguments in
        ["", " observer-data/events", " observer-data/events/*.jsonl", " export.ndjson"]
    {
        let report = rebuild(dir, arguments);
        assert_eq!((&report["stored"], &report["position"]), (&events.into(), &Value::Null));
        assert_eq!(answers_of_file(dir), original, "{arguments}");
    }

    // Compressed, in two files, and each event twice.
    let text = fs::read_to_string(dir.join("export.ndjson")).unwrap();
    let (first, second) = text.split_at(text[..text.len() / 2].rfind('\n').unwrap() + 1);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(second.as_bytes()).unwrap();
    fs::write(dir.join("a.jsonl.gz"), gzip.finish().unwrap()).unwrap();
    fs::write(dir.join("b.jsonl.zst"), zstd::encode_all(first.as_bytes(), 1).unwrap()).unwrap();
    let report = rebuild(dir, " a.jsonl.gz b.jsonl.zst export.ndjson");
    assert_eq!((&report["stored"], &report["known"]), (&events.into(), &events.into()));
    assert_eq!(answers_of_file(dir), original);
    if events < 1_000 {
        // In two files as well, of which one holds two exports.
        let lines: Vec<_> = page.text.lines().collect();
        let (newest, oldest) = lines.split_at(40);
        let two_exports = [&oldest[20..], &newest[..10], &oldest[..20]].concat();
        for (name, lines) in [("page", lines.clone()), ("a", newest.to_vec()), ("b", two_exports)] {
            fs::write(dir.join(format!("{name}.ndjson")), lines.join("\n") + "\n").unwrap();
        }
        for arguments in [" page.ndjson", " a.ndjson b.ndjson"] {
            assert_eq!(rebuild(dir, arguments)["stored"], events);
            assert_eq!(answers_of_file(dir), original, "{arguments}");
        }
    }

    // An observer with another journal recognises the events.
    let observer = Observer::start(dir, DEFAULTS);
    let again = observer.send(
        observer
            .client()
            .post(format!("{}/v1/events", observer.url))
            .body(first.lines().take(20).collect::<Vec<_>>().join("\n")),
    );
    assert_eq!(again.await.status, 200);
    observer.wait_until_caught_up().await;
    observer.terminate();
    assert_eq!(answers_of_file(dir), original);
}

#[tokio::test]
async fn running_observer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    check_failure(dir.path(), "kb rebuild", 2, "stop the observer first");
    observer.terminate();
    check_failure(dir.path(), "kb rebuild missing.jsonl", 2, "missing.jsonl can't be read");
    fs::write(dir.path().join("observer.toml"), "[sinks.a]\ntype = \"file\"\npath = \"a.jsonl\"\n")
        .unwrap();
    check_failure(dir.path(), "kb rebuild", 2, "add `[sinks.kb]`");
    let empty = tempfile::tempdir().unwrap();
    check_failure(empty.path(), "kb rebuild", 2, "there is nothing to read");
    assert!(!empty.path().join("observer-data").exists(), "nothing is created");
}

#[tokio::test]
async fn killed_rebuild_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    with_events(dir).await.terminate();
    let original = answers_of_file(dir);
    let lines = stdout(dir, "journal export");
    set_aside(dir, "journal");
    let left = data(dir, "kb").join("rebuild");
    // Each time after a larger part, more than one transaction at last.
    for copies in [0, 1, 90] {
        let mut rebuild = Command::new(OBSERVER)
            .args(["kb", "rebuild", "-"])
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = rebuild.stdin.take().unwrap();
        for _ in 0..copies {
            input.write_all(lines.as_bytes()).unwrap();
        }
        wait_until("the new file exists", async || left.join("kb.sqlite").exists()).await;
        rebuild.kill().unwrap();
        rebuild.wait().unwrap();
        drop(input);
        assert!(left.exists(), "{copies}");
        assert_eq!(answers_of_file(dir), original, "{copies}");
    }
    put_back(dir, "journal");
    rebuild(dir, "");
    assert!(!left.exists());
    assert_eq!(answers_of_file(dir), original);
}

/// Returns the exit code, and the report without its positions.
fn report(output: &Output) -> (Option<i32>, Value) {
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test]
async fn unreadable_lines_are_listed_and_the_others_stored() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    with_events(dir).await.terminate();
    let events = agent_runs().len() + OTHERS.len();
    set_aside(dir, "journal");
    let archive = fs::read_dir(data(dir, "events")).unwrap().next().unwrap().unwrap().path();
    let torn = &fs::read_to_string(&archive).unwrap()[..200];
    File::options().append(true).open(&archive).unwrap().write_all(torn.as_bytes()).unwrap();
    let bare = format!("\n{}\nnot JSON\n", OTHERS[1]);
    fs::write(dir.join("bare.jsonl"), bare).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&fs::read(&archive).unwrap()).unwrap();
    let gzip = gzip.finish().unwrap();
    fs::write(dir.join("cut.jsonl.gz"), &gzip[..gzip.len() / 2]).unwrap();

    let output = run(dir, "kb rebuild --json observer-data/events bare.jsonl cut.jsonl.gz");
    let (code, found) = report(&output);
    assert_eq!(code, Some(1), "{output:?}");
    assert_eq!((&found["stored"], &found["unreadable"]), (&events.into(), &4.into()), "{found}");
    let problems = found["problems"].as_array().unwrap();
    let problem = |source: &str, line: Option<usize>, detail: &str| {
        let is_meant = |problem: &&Value| {
            problem["source"].as_str().unwrap().ends_with(source)
                && line.is_none_or(|line| problem["line"] == line)
                && problem["detail"].as_str().unwrap().starts_with(detail)
        };
        assert!(problems.iter().any(|problem| is_meant(&problem)), "{source}: {found}");
    };
    problem(".jsonl", Some(events + 1), "the last line is incomplete");
    problem("bare.jsonl", Some(2), "not an envelope of an event: UUID parsing failed");
    problem("bare.jsonl", Some(3), "not an envelope of an event: expected ident");
    problem("cut.jsonl.gz", None, "the rest can't be read: ");
    let output = run(dir, "kb rebuild observer-data/events");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(&format!("{events} events read: {events} stored, 0 ")), "{text}");
    assert!(
        text.contains(&format!(".jsonl:{}: the last line is incomplete", events + 1)),
        "{text}"
    );
}

#[tokio::test]
async fn file_with_more_events_stays_unless_it_is_allowed_to_go() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    with_events(dir).await.terminate();
    let original = answers_of_file(dir);
    let lines = stdout(dir, "journal export");
    let few: String = lines.lines().take(7).map(|line| format!("{line}\n")).collect();
    fs::write(dir.join("few.jsonl"), few).unwrap();
    set_aside(dir, "journal");
    let message = "the new one has 7 events, and the old one";
    check_failure(dir, "kb rebuild few.jsonl", 1, message);
    assert_eq!(answers_of_file(dir), original);
    assert_eq!(rebuild(dir, " --allow-fewer few.jsonl")["stored"], 7);
    assert_eq!(stdout(dir, "query --ndjson").lines().count(), 7);

    // The filter of the sink applies.
    let archive = data(dir, "events").to_str().unwrap().to_owned();
    let config = "[sinks.kb]\ntype = \"kb\"\nfilter = { source = \"job\" }\n";
    fs::write(dir.join("observer.toml"), config).unwrap();
    let report = rebuild(dir, &format!(" --allow-fewer {archive}"));
    assert_eq!((&report["stored"], &report["filtered"]), (&3.into(), &agent_runs().len().into()));
}
