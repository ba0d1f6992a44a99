mod observer;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use insta::assert_snapshot;

use self::observer::{Observer, Step};
use super::input::{self, Input, Source};
use super::screen::{Screen, Tally};
use super::send::{Sender, endpoint};
use super::{EmitArgs, emit};

/// Keeps the notes.
#[derive(Default)]
struct Notes(Vec<String>);

impl Screen for Notes {
    fn note(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }

    fn progress(&mut self, _: &Tally) {}
}

/// All that someone at the terminal reads.
async fn emitted(url: &str, retry_for: Duration, inputs: Vec<Input>) -> String {
    crate::tls::install();
    let sender = Sender::new(endpoint(url).unwrap(), retry_for).unwrap();
    let mut notes = Notes::default();
    let (tally, ended) = emit(inputs, &sender, &mut notes).await;
    notes.0.push(tally.to_string());
    notes.0.extend(ended.err().map(|error| format!("observer: {}", observer_core::report(error.as_ref()))));
    notes.0.join("\n").replace(url, "http://observer")
}

fn lines(lines: &[&str]) -> (tempfile::TempDir, Vec<Input>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.ndjson");
    std::fs::File::create(&path).unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    let mut inputs = input::choose(None, vec![path]).unwrap();
    inputs[0].name = "events.ndjson".to_owned();
    (folder, inputs)
}

fn event(text: &'static str) -> Vec<Input> {
    vec![Input { name: "the event".to_owned(), source: Source::Event(text.into()) }]
}

const PATIENT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_refused_line_is_told_with_its_place_and_the_next_one_follows() {
    let observer = Observer::start(vec![
        Step::stored("accepted"),
        Step::problem(422, "the field `ok` must be true or false, and this is a string"),
        Step::stored("duplicate"),
        Step::answer(413, "too\nlarge"),
    ]);
    let (_folder, inputs) = lines(&["{\"n\":1}", "", "  {\"n\":2}\r", "{\"n\":3}", "{\"n\":4}"]);
    assert_snapshot!(emitted(&observer.url, PATIENT, inputs).await, @"
    events.ndjson:3: 422 the field `ok` must be true or false, and this is a string
    events.ndjson:5: 413 too large
    4 events: 1 accepted, 1 duplicate, 2 rejected
    ");
    let taken = observer.taken();
    assert_eq!(taken.bodies(), ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}", "{\"n\":4}"]);
    assert_eq!(taken.connections, 1, "the connection is kept");
}

#[tokio::test]
async fn an_event_is_tried_again_until_it_is_taken() {
    let observer = Observer::start(vec![
        Step::HangUp,
        Step::problem(503, "the journal is full").with_header("retry-after: 0"),
        Step::answer(429, ""),
        Step::stored("accepted"),
    ]);
    let notes = emitted(&observer.url, PATIENT, event(r#"{"source":"s","event_kind":"k","ok":true}"#)).await;
    let (first, rest) = notes.split_once('\n').unwrap();
    assert!(first.starts_with("the event: no answer ("), "{first}");
    assert!(first.ends_with("; trying again for 30s"), "{first}");
    assert_eq!(rest, "1 event: 1 accepted, 0 duplicate, 0 rejected");
    let keys = observer.taken().keys();
    assert_eq!(keys.len(), 4);
    assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn a_key_is_sent_only_with_an_event_that_has_no_identity() {
    let observer = Observer::start((0..6).map(|_| Step::stored("accepted")).collect());
    let (_folder, inputs) = lines(&[
        r#"{"source":"s","event_kind":"k","ok":true}"#,
        r#"{"source":"s","event_kind":"k","ok":true,"cycle_id":""}"#,
        r#"{"source":"s","event_kind":"k","ok":true,"cycle_id":"c"}"#,
        r#"{"source":"s","event_kind":"k","ok":true,"id":"7"}"#,
        r#"{"id":"5f3c9b0e-6a53-5f0e-9e7e-0d8f1c2b3a49","event":{"source":"s","event_kind":"k","ok":true}}"#,
        "no JSON",
    ]);
    emitted(&observer.url, PATIENT, inputs).await;
    let keys = observer.taken().keys();
    let has_key: Vec<_> = keys.iter().map(Option::is_some).collect();
    assert_eq!(has_key, [true, true, false, false, false, false]);
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn an_observer_that_is_not_there_is_given_up() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    assert_snapshot!(emitted(&gone, Duration::ZERO, event("{}")).await, @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: the event: http://observer/event can't be reached (given up after 0s): Connection refused (os error 111)
    ");
    let full = Observer::start((0..9).map(|_| Step::problem(503, "the journal is full")).collect());
    let (_folder, inputs) = lines(&["{}", "{}"]);
    assert_snapshot!(emitted(&full.url, Duration::from_millis(150), inputs).await, @"
    events.ndjson:1: 503 the journal is full; trying again for 150ms
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: events.ndjson:1: http://observer/event takes no events at the moment (given up after 150ms): 503 the journal is full
    ");
}

#[tokio::test]
async fn what_is_no_observer_is_sent_nothing_more() {
    let page = Observer::start(vec![Step::answer(200, "<html>\n<h1>It works!</h1>")]);
    let (_folder, inputs) = lines(&["{}", "{}"]);
    assert_snapshot!(emitted(&page.url, PATIENT, inputs).await, @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: events.ndjson:1: http://observer/event does not answer like an observer: <html> <h1>It works!</h1>
    ");
    let moved = Observer::start(vec![Step::answer(301, "").with_header("location: /elsewhere")]);
    assert_snapshot!(emitted(&moved.url, PATIENT, event("{}")).await, @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: the event: http://observer/event takes no events: 301 Moved Permanently
    ");
}

#[derive(Debug, Parser)]
struct Emit {
    #[command(flatten)]
    emit: EmitArgs,
}

fn parse(flags: &[&str]) -> Result<EmitArgs, String> {
    let parsed = Emit::try_parse_from(["emit"].iter().chain(flags));
    parsed.map(|parsed| parsed.emit).map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

#[test]
fn flags_make_one_event() {
    let json = |flags: &[&str]| String::from_utf8(parse(flags).unwrap().event.into_json().unwrap().to_vec()).unwrap();
    assert_snapshot!(json(&["--source=bot", "--event-kind=ok", "--ok"]), @r#"{"source":"bot","event_kind":"ok","ok":true}"#);
    let all = [
        "--source=bot",
        "--event-kind=tests_failed",
        "--failed",
        "--cycle-id=c",
        "--sig-hash=s",
        "--staffer-id=m",
        "--turns=7",
        "--duration-ms=1.50",
        "--extra={\"b\":1, \"a\":12345678901234567890123}",
    ];
    assert_snapshot!(json(&all), @r#"{"source":"bot","event_kind":"tests_failed","ok":false,"cycle_id":"c","sig_hash":"s","staffer_id":"m","turns":7,"duration_ms":1.5,"extra":{"b":1, "a":12345678901234567890123}}"#);
    let files = parse(&["a.ndjson", "-"]).unwrap();
    assert_eq!(files.files, [PathBuf::from("a.ndjson"), PathBuf::from("-")]);
    assert!(files.event.into_json().is_none());
}

#[test]
fn flags_that_make_no_event_are_refused() {
    let refused = |flags: &[&str]| parse(flags).unwrap_err();
    let event = ["--source=bot", "--event-kind=ok", "--ok"];
    let with = |flag| refused(&[event[0], event[1], event[2], flag]);
    assert_snapshot!(with("--failed"), @"error: the argument '--ok' cannot be used with '--failed'");
    assert_snapshot!(with("--turns=-1"), @"error: invalid value '-1' for '--turns <COUNT>': invalid digit found in string");
    assert_snapshot!(with("--duration-ms=-1"), @"error: invalid value '-1' for '--duration-ms <MS>': not a number of at least 0");
    assert_snapshot!(with("--extra=[]"), @"error: invalid value '[]' for '--extra <JSON>': not a JSON object");
    assert_snapshot!(with("--url=localhost:3800"), @"error: invalid value 'localhost:3800' for '--url <URL>': not a URL that starts with http:// or https://");
    assert_snapshot!(with("events.ndjson"), @"error: the argument '--source <NAME>' cannot be used with '[FILE]...'");
    assert_snapshot!(refused(&["--source=bot", "--event-kind=ok"]), @"error: the following required arguments were not provided:");
    assert_snapshot!(refused(&["--cycle-id=c"]), @"error: the following required arguments were not provided:");
}

#[test]
fn a_file_that_can_not_be_read_is_told_before_anything_is_sent() {
    let error = input::choose(None, vec!["-".into(), "/no/such.ndjson".into()]).map(|_| ()).unwrap_err();
    assert_snapshot!(observer_core::report(error.as_ref()), @"/no/such.ndjson can't be read: No such file or directory (os error 2)");
}

#[test]
fn the_summary_is_for_programs_too() {
    let tally = Tally { accepted: 3, duplicate: 1, rejected: 2, bytes: 99 };
    assert_eq!(tally.to_json(true), "{\"accepted\":3,\"complete\":true,\"duplicate\":1,\"rejected\":2}\n");
}
