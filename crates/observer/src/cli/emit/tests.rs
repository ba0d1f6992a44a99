mod observer;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use insta::assert_snapshot;

use self::observer::{Observer, Step};
use super::input::{self, Input, Source};
use super::screen::{Screen, Tally};
use super::send::Sender;
use super::{EmitArgs, emit};
use crate::cli::connect::tls::TlsArgs;
use crate::cli::connect::{ConnectArgs, endpoint};

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
    let to = ConnectArgs { url: endpoint(url).unwrap(), token: None, tls: TlsArgs::default() };
    let sender = Sender::new(to, retry_for).unwrap();
    let mut notes = Notes::default();
    let (tally, ended) = emit(inputs, &sender, &mut notes).await;
    notes.0.push(tally.to_string());
    notes.0.extend(
        ended.err().map(|error| format!("observer: {}", observer_core::report(error.as_ref()))),
    );
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

/// An event by which a repeat can't be known.
const NAMELESS: &str = r#"{"source":"s","event_kind":"k","ok":true}"#;

const BATCH: (&str, &str) = ("/v1/events", "application/x-ndjson");
const SINGLE: (&str, &str) = ("/event", "application/json");

#[tokio::test]
async fn a_refused_line_is_told_with_its_place_and_the_others_are_stored() {
    let observer = Observer::start(vec![Step::told(
        1,
        1,
        &[
            (1, 422, "the field `ok` must be true or false, and this is a string"),
            (3, 413, "too\nlarge"),
        ],
    )]);
    let (_folder, inputs) = lines(&["{\"n\":1}", "", "  {\"n\":2}\r", "{\"n\":3}", "{\"n\":4}"]);
    assert_snapshot!(emitted(&observer.url, PATIENT, inputs).await, @"
    events.ndjson:3: 422 the field `ok` must be true or false, and this is a string
    events.ndjson:5: 413 too large
    4 events: 1 accepted, 1 duplicate, 2 rejected
    ");
    let taken = observer.taken();
    assert_eq!(taken.bodies(), ["{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n"]);
    assert_eq!(taken.targets(), [BATCH]);
}

#[tokio::test]
async fn a_batch_of_bad_lines_is_told_line_by_line() {
    let observer =
        Observer::start(vec![Step::told(0, 0, &[(0, 400, "no JSON"), (1, 422, "no `ok`")])]);
    let (_folder, inputs) = lines(&["", "{", "{}"]);
    assert_snapshot!(emitted(&observer.url, PATIENT, inputs).await, @"
    events.ndjson:2: 400 no JSON
    events.ndjson:3: 422 no `ok`
    2 events: 0 accepted, 0 duplicate, 2 rejected
    ");
}

#[tokio::test]
async fn a_batch_that_is_refused_as_a_whole_is_halved_in_order() {
    let observer = Observer::start(vec![
        Step::problem(413, "too many"),
        Step::told(2, 0, &[]),
        Step::problem(413, "too large"),
        Step::problem(413, "too large an event"),
        Step::problem(422, "only this"),
        Step::told(1, 0, &[]),
    ]);
    let (_folder, inputs) = lines(&["1", "2", "3", "4"]);
    let (_other_folder, other) = lines(&["5"]);
    assert_snapshot!(emitted(&observer.url, PATIENT, inputs.into_iter().chain(other).collect()).await, @"
    events.ndjson:3: 413 too large an event
    events.ndjson:4: 422 only this
    5 events: 3 accepted, 0 duplicate, 2 rejected
    ");
    let taken = observer.taken();
    assert_eq!(taken.bodies(), ["1\n2\n3\n4\n", "1\n2\n", "3\n4\n", "3\n", "4\n", "5\n"]);
    assert_eq!(taken.connections, 1, "the connection is kept");
}

#[tokio::test]
async fn a_line_with_an_array_is_never_taken_for_a_batch() {
    let observer = Observer::start(vec![
        Step::problem(400, "an array"),
        Step::problem(413, "too many"),
        Step::told(1, 0, &[]),
        Step::problem(400, "an array"),
        Step::told(1, 0, &[]),
    ]);
    let (_folder, inputs) = lines(&["[{}]", "2", "[{},{}]", "4"]);
    assert_snapshot!(emitted(&observer.url, PATIENT, inputs).await, @"
    events.ndjson:1: 400 an array
    events.ndjson:3: 400 an array
    4 events: 2 accepted, 0 duplicate, 2 rejected
    ");
    let taken = observer.taken();
    assert_eq!(taken.targets(), [SINGLE, BATCH, BATCH, SINGLE, BATCH]);
    assert_eq!(taken.bodies(), ["[{}]", "2\n[{},{}]\n4\n", "2\n", "[{},{}]", "4\n"]);
}

#[tokio::test]
async fn an_observer_that_does_not_know_batches_is_sent_single_events() {
    for status in [404, 405] {
        let observer = Observer::start(vec![
            Step::answer(status, ""),
            Step::stored("accepted"),
            Step::problem(422, "no `ok`"),
            Step::stored("duplicate"),
        ]);
        let (_folder, mut inputs) = lines(&[NAMELESS, "{}"]);
        let (_other_folder, other) = lines(&["{\"n\":3}"]);
        inputs.extend(other);
        let notes = emitted(&observer.url, PATIENT, inputs).await;
        assert_eq!(
            notes, "events.ndjson:2: 422 no `ok`\n3 events: 1 accepted, 1 duplicate, 1 rejected",
            "{status}"
        );
        let taken = observer.taken();
        assert_eq!(taken.targets(), [BATCH, SINGLE, SINGLE, SINGLE]);
        assert_eq!(taken.bodies()[1..], [NAMELESS, "{}", "{\"n\":3}"]);
        let has_key: Vec<_> = taken.keys().iter().map(Option::is_some).collect();
        assert_eq!(has_key, [false, true, false, false]);
    }
}

#[tokio::test]
async fn an_event_is_tried_again_until_it_is_taken() {
    let observer = Observer::start(vec![
        Step::HangUp,
        Step::problem(503, "the journal is full").with_header("retry-after: 0"),
        Step::answer(429, ""),
        Step::stored("accepted"),
    ]);
    let notes = emitted(&observer.url, PATIENT, event(NAMELESS)).await;
    let (first, rest) = notes.split_once('\n').unwrap();
    assert!(first.starts_with("the event: no answer ("), "{first}");
    assert!(first.ends_with("; trying again for 30s"), "{first}");
    assert_eq!(rest, "1 event: 1 accepted, 0 duplicate, 0 rejected");
    let taken = observer.taken();
    assert_eq!((taken.bodies(), taken.targets()), (vec![NAMELESS; 4], vec![SINGLE; 4]));
    let keys = taken.keys();
    assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn a_batch_is_tried_again_with_the_same_names_for_events_that_have_none() {
    let observer = Observer::start(vec![
        Step::HangUp,
        Step::problem(503, "the journal is full").with_header("retry-after: 0"),
        Step::problem(413, "too many"),
        Step::told(3, 0, &[]),
        Step::told(2, 1, &[(1, 400, "no JSON")]),
    ]);
    let named = [
        r#"{"source":"s","event_kind":"k","ok":true,"cycle_id":"c"}"#,
        r#"{"source":"s","event_kind":"k","ok":true,"id":"7"}"#,
        r#"{"id":"5f3c9b0e-6a53-5f0e-9e7e-0d8f1c2b3a49","event":{"source":"s","event_kind":"k","ok":true}}"#,
    ];
    let empty = r#"{"source":"s", "event_kind":"k","ok":true,"cycle_id":""}"#;
    let bare = r#"{"event":{"source":"s","event_kind":"k","ok":true}}"#;
    let (_folder, inputs) =
        lines(&[NAMELESS, empty, named[0], bare, "no JSON", named[1], named[2]]);
    let notes = emitted(&observer.url, PATIENT, inputs).await;
    let (first, rest) = notes.split_once('\n').unwrap();
    assert!(first.starts_with("events.ndjson:1: no answer ("), "{first}");
    assert_snapshot!(rest, @"
    events.ndjson:5: 400 no JSON
    7 events: 5 accepted, 1 duplicate, 1 rejected
    ");

    let taken = observer.taken();
    assert!(taken.clone().keys().iter().all(Option::is_none));
    let bodies = taken.bodies();
    assert_eq!(bodies[1..3], [bodies[0]; 2]);
    assert_eq!(bodies[3..].concat(), bodies[0], "the halves keep the names");
    let sent: Vec<_> = bodies[0].lines().collect();
    let id = |sent: &str, event: &str| {
        let id = sent
            .strip_prefix("{\"id\":\"")
            .and_then(|rest| rest.strip_suffix(&format!("\",\"event\":{event}}}")));
        observer_core::Uuid::parse_str(id.expect(sent)).unwrap()
    };
    let ids = [id(sent[0], NAMELESS), id(sent[1], empty), id(sent[3], NAMELESS)];
    assert!(ids.iter().all(|id| id.get_version_num() == 7) && ids[0] != ids[1], "{ids:?}");
    assert_eq!([sent[2], sent[4], sent[5], sent[6]], [named[0], "no JSON", named[1], named[2]]);
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
    observer: events.ndjson:1: http://observer/v1/events takes no events at the moment (given up after 150ms): 503 the journal is full
    ");
}

#[tokio::test]
async fn what_is_no_observer_is_sent_nothing_more() {
    let page = Observer::start(vec![Step::answer(200, "<html>\n<h1>It works!</h1>")]);
    let (_folder, inputs) = lines(&["{}", "{}"]);
    assert_snapshot!(emitted(&page.url, PATIENT, inputs).await, @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: events.ndjson:1: http://observer/v1/events does not answer like an observer: <html> <h1>It works!</h1>
    ");
    let other = Observer::start(vec![Step::told(1, 0, &[])]);
    let (_folder, inputs) = lines(&["{}", "{}"]);
    let notes = emitted(&other.url, PATIENT, inputs).await;
    assert!(
        notes.contains("http://observer/v1/events does not answer like an observer: {"),
        "{notes}"
    );
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
    parsed
        .map(|parsed| parsed.emit)
        .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

#[test]
fn flags_make_one_event() {
    let json = |flags: &[&str]| {
        String::from_utf8(parse(flags).unwrap().event.into_json().unwrap().to_vec()).unwrap()
    };
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
    let error =
        input::choose(None, vec!["-".into(), "/no/such.ndjson".into()]).map(|_| ()).unwrap_err();
    assert_snapshot!(observer_core::report(error.as_ref()), @"/no/such.ndjson can't be read: No such file or directory (os error 2)");
}

#[test]
fn the_summary_is_for_programs_too() {
    let tally = Tally { accepted: 3, duplicate: 1, rejected: 2, bytes: 99 };
    assert_eq!(
        tally.to_json(true),
        "{\"accepted\":3,\"complete\":true,\"duplicate\":1,\"rejected\":2}\n"
    );
}
