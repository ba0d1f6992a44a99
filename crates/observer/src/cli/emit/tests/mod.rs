mod observer;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use insta::assert_snapshot;

use self::observer::{Observer, Step};
use super::input::{self, Input, Source};
use super::progress::{ReportedWarning, Reporter, Tally};
use super::send::Sender;
use super::{EmitArgs, emit};
use crate::cli::connect::tls::TlsArgs;
use crate::cli::connect::{ConnectArgs, endpoint};

/// Reporter that keeps the messages.
#[derive(Default)]
struct Messages(Vec<String>);

impl Reporter for Messages {
    fn message(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }

    fn progress(&mut self, _: &Tally) {}
}

/// Emits the inputs and returns all output.
async fn output_of(url: &str, retry_for: Duration, inputs: Vec<Input>) -> String {
    crate::tls::install();
    let connect = ConnectArgs { token: None, token_file: None, tls: TlsArgs::default() };
    let sender = Sender::new(endpoint(url).unwrap(), &connect, retry_for).unwrap();
    let mut messages = Messages::default();
    let (tally, result) = emit(inputs, &sender, &mut messages).await;
    messages.0.push(tally.to_string());
    messages.0.extend(
        result.err().map(|error| format!("observer: {}", observer_core::report(error.as_ref()))),
    );
    messages.0.join("\n").replace(url, "http://observer")
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

/// Retry time that no test exhausts.
const RETRY_FOR: Duration = Duration::from_secs(30);

/// Event without an identity of its own.
const ANONYMOUS: &str = r#"{"source":"s","event_kind":"k","ok":true}"#;

const BATCH: (&str, &str) = ("/v1/events", "application/x-ndjson");
const SINGLE: (&str, &str) = ("/event", "application/json");

#[tokio::test]
async fn rejected_line_is_reported_with_its_number_and_the_others_are_stored() {
    let observer = Observer::start(vec![Step::batch(
        1,
        1,
        &[
            (1, 422, "the field `ok` must be true or false, and this is a string"),
            (3, 413, "too\nlarge"),
        ],
    )]);
    let (_folder, inputs) = lines(&["{\"n\":1}", "", "  {\"n\":2}\r", "{\"n\":3}", "{\"n\":4}"]);
    assert_snapshot!(output_of(&observer.url, RETRY_FOR, inputs).await, @"
    events.ndjson:3: 422 the field `ok` must be true or false, and this is a string
    events.ndjson:5: 413 too large
    4 events: 1 accepted, 1 duplicate, 2 rejected
    ");
    let received = observer.received();
    assert_eq!(received.bodies(), ["{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n"]);
    assert_eq!(received.targets(), [BATCH]);
}

#[tokio::test]
async fn warnings_are_counted_and_the_first_ones_reported() {
    let warning = |index: usize| serde_json::json!({"index": index, "field": "turns", "detail": "-1\nis not a number"});
    let warnings: Vec<_> = [0, 0, 2].map(warning).into();
    let body = serde_json::json!({
        "accepted": 2, "duplicates": 1, "rejected": 0, "durability": "fsync", "errors": [],
        "warnings": warnings, "warnings_total": 5,
    });
    let single = r#"{"id":"x","status":"accepted","durability":"fsync",
        "warnings":[{"field":"extra","detail":"too large"}]}"#;
    let observer = Observer::start(vec![
        Step::respond(200, &body.to_string()),
        Step::respond(404, ""),
        Step::respond(200, single),
    ]);
    let (_folder, mut inputs) = lines(&["{\"n\":1}", "{\"n\":2}", "", "{\"n\":3}"]);
    let (_other_folder, other) = lines(&["{\"n\":4}"]);
    inputs.extend(other);
    assert_snapshot!(output_of(&observer.url, RETRY_FOR, inputs).await, @"
    events.ndjson:1: warning: `turns`: -1 is not a number
    events.ndjson:1: warning: `turns`: -1 is not a number
    events.ndjson:4: warning: `turns`: -1 is not a number
    events.ndjson:1: warning: `extra`: too large
    4 events: 3 accepted, 1 duplicate, 0 rejected; 6 warnings
    ");
}

#[tokio::test]
async fn only_the_first_ten_warnings_are_reported() {
    let warning = serde_json::json!({"index": 0, "field": "turns", "detail": "no number"});
    let body = serde_json::json!({
        "accepted": 1, "duplicates": 0, "errors": [], "warnings": vec![warning; 12],
    });
    let observer = Observer::start(vec![Step::respond(200, &body.to_string())]);
    let (_folder, inputs) = lines(&["{}"]);
    let output = output_of(&observer.url, RETRY_FOR, inputs).await;
    assert_eq!(output.matches("warning: ").count(), 10, "{output}");
    assert!(
        output.ends_with("1 event: 1 accepted, 0 duplicate, 0 rejected; 12 warnings"),
        "{output}"
    );
}

#[tokio::test]
async fn rejected_lines_of_a_batch_are_reported_line_by_line() {
    let observer =
        Observer::start(vec![Step::batch(0, 0, &[(0, 400, "no JSON"), (1, 422, "no `ok`")])]);
    let (_folder, inputs) = lines(&["", "{", "{}"]);
    assert_snapshot!(output_of(&observer.url, RETRY_FOR, inputs).await, @"
    events.ndjson:2: 400 no JSON
    events.ndjson:3: 422 no `ok`
    2 events: 0 accepted, 0 duplicate, 2 rejected
    ");
}

#[tokio::test]
async fn batch_rejected_as_a_whole_is_halved_in_order() {
    let observer = Observer::start(vec![
        Step::problem(413, "too many"),
        Step::batch(2, 0, &[]),
        Step::problem(413, "too large"),
        Step::problem(413, "too large an event"),
        Step::problem(422, "only this"),
        Step::batch(1, 0, &[]),
    ]);
    let (_folder, inputs) = lines(&["1", "2", "3", "4"]);
    let (_other_folder, other) = lines(&["5"]);
    let inputs = inputs.into_iter().chain(other).collect();
    assert_snapshot!(output_of(&observer.url, RETRY_FOR, inputs).await, @"
    events.ndjson:3: 413 too large an event
    events.ndjson:4: 422 only this
    5 events: 3 accepted, 0 duplicate, 2 rejected
    ");
    let received = observer.received();
    assert_eq!(received.bodies(), ["1\n2\n3\n4\n", "1\n2\n", "3\n4\n", "3\n", "4\n", "5\n"]);
    assert_eq!(received.connections, 1, "the connection is reused");
}

#[tokio::test]
async fn line_with_an_array_does_not_begin_a_batch() {
    let observer = Observer::start(vec![
        Step::problem(413, "too many"),
        Step::batch(1, 0, &[]),
        Step::problem(400, "an array"),
        Step::batch(1, 0, &[]),
    ]);
    let (_folder, inputs) = lines(&["1", "[{},{}]", "3"]);
    assert_snapshot!(output_of(&observer.url, RETRY_FOR, inputs).await, @"
    events.ndjson:2: 400 an array
    3 events: 2 accepted, 0 duplicate, 1 rejected
    ");
    let received = observer.received();
    assert_eq!(received.targets(), [BATCH, BATCH, SINGLE, BATCH]);
    assert_eq!(received.bodies(), ["1\n[{},{}]\n3\n", "1\n", "[{},{}]", "3\n"]);
}

#[tokio::test]
async fn elements_of_an_array_are_sent_as_lines() {
    let observer = Observer::start(vec![Step::batch(3, 0, &[])]);
    let (_folder, inputs) = lines(&["[", "  {\"a\":", "1},", "{}, 3", "]"]);
    assert_snapshot!(output_of(&observer.url, RETRY_FOR, inputs).await, @"3 events: 3 accepted, 0 duplicate, 0 rejected");
    assert_eq!(observer.received().bodies(), ["{\"a\": 1}\n{}\n3\n"]);
}

#[tokio::test]
async fn observer_without_batch_endpoint_receives_single_events() {
    for status in [404, 405] {
        let observer = Observer::start(vec![
            Step::respond(status, ""),
            Step::stored("accepted"),
            Step::problem(422, "no `ok`"),
            Step::stored("duplicate"),
        ]);
        let (_folder, mut inputs) = lines(&[ANONYMOUS, "{}"]);
        let (_other_folder, other) = lines(&["{\"n\":3}"]);
        inputs.extend(other);
        let output = output_of(&observer.url, RETRY_FOR, inputs).await;
        assert_eq!(
            output, "events.ndjson:2: 422 no `ok`\n3 events: 1 accepted, 1 duplicate, 1 rejected",
            "{status}"
        );
        let received = observer.received();
        assert_eq!(received.targets(), [BATCH, SINGLE, SINGLE, SINGLE]);
        assert_eq!(received.bodies()[1..], [ANONYMOUS, "{}", "{\"n\":3}"]);
        let has_key: Vec<_> = received.keys().iter().map(Option::is_some).collect();
        assert_eq!(has_key, [false, true, false, false]);
    }
}

#[tokio::test]
async fn event_is_retried_until_it_is_accepted() {
    let observer = Observer::start(vec![
        Step::HangUp,
        Step::problem(503, "the journal is full").with_header("retry-after: 0"),
        Step::respond(429, ""),
        Step::stored("accepted"),
    ]);
    let output = output_of(&observer.url, RETRY_FOR, event(ANONYMOUS)).await;
    let (first, rest) = output.split_once('\n').unwrap();
    assert!(first.starts_with("the event: no response ("), "{first}");
    assert!(first.ends_with("; retrying for 30s"), "{first}");
    assert_eq!(rest, "1 event: 1 accepted, 0 duplicate, 0 rejected");
    let received = observer.received();
    assert_eq!((received.bodies(), received.targets()), (vec![ANONYMOUS; 4], vec![SINGLE; 4]));
    let keys = received.keys();
    assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn retried_batch_keeps_the_generated_ids() {
    let observer = Observer::start(vec![
        Step::HangUp,
        Step::problem(503, "the journal is full").with_header("retry-after: 0"),
        Step::problem(413, "too many"),
        Step::batch(3, 0, &[]),
        Step::batch(2, 1, &[(1, 400, "no JSON")]),
    ]);
    let identified = [
        r#"{"source":"s","event_kind":"k","ok":true,"cycle_id":"c"}"#,
        r#"{"source":"s","event_kind":"k","ok":true,"id":"7"}"#,
        r#"{"id":"5f3c9b0e-6a53-5f0e-9e7e-0d8f1c2b3a49","event":{"source":"s","event_kind":"k","ok":true}}"#,
    ];
    let empty = r#"{"source":"s", "event_kind":"k","ok":true,"cycle_id":""}"#;
    let bare = r#"{"event":{"source":"s","event_kind":"k","ok":true}}"#;
    let (_folder, inputs) =
        lines(&[ANONYMOUS, empty, identified[0], bare, "no JSON", identified[1], identified[2]]);
    let output = output_of(&observer.url, RETRY_FOR, inputs).await;
    let (first, rest) = output.split_once('\n').unwrap();
    assert!(first.starts_with("events.ndjson:1: no response ("), "{first}");
    assert_snapshot!(rest, @"
    events.ndjson:5: 400 no JSON
    7 events: 5 accepted, 1 duplicate, 1 rejected
    ");

    let received = observer.received();
    assert!(received.clone().keys().iter().all(Option::is_none));
    let bodies = received.bodies();
    assert_eq!(bodies[1..3], [bodies[0]; 2]);
    assert_eq!(bodies[3..].concat(), bodies[0], "the halves keep the ids");
    let sent: Vec<_> = bodies[0].lines().collect();
    let id = |sent: &str, event: &str| {
        let id = sent
            .strip_prefix("{\"id\":\"")
            .and_then(|rest| rest.strip_suffix(&format!("\",\"event\":{event}}}")));
        observer_core::Uuid::parse_str(id.expect(sent)).unwrap()
    };
    let ids = [id(sent[0], ANONYMOUS), id(sent[1], empty), id(sent[3], ANONYMOUS)];
    assert!(ids.iter().all(|id| id.get_version_num() == 7) && ids[0] != ids[1], "{ids:?}");
    assert_eq!(
        [sent[2], sent[4], sent[5], sent[6]],
        [identified[0], "no JSON", identified[1], identified[2]]
    );
}

#[tokio::test]
async fn unreachable_or_unavailable_observer_ends_the_command() {
    let unused = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    assert_snapshot!(output_of(&unused, Duration::ZERO, event("{}")).await, @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: the event: http://observer/event is unreachable (gave up after 0s): Connection refused (os error 111)
    ");
    let full = Observer::start((0..9).map(|_| Step::problem(503, "the journal is full")).collect());
    let (_folder, inputs) = lines(&["{}", "{}"]);
    assert_snapshot!(output_of(&full.url, Duration::from_millis(150), inputs).await, @"
    events.ndjson:1: 503 the journal is full; retrying for 150ms
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: events.ndjson:1: http://observer/v1/events is unavailable (gave up after 150ms): 503 the journal is full
    ");
}

#[tokio::test]
async fn server_that_is_not_an_observer_receives_no_further_events() {
    let page = Observer::start(vec![Step::respond(200, "<html>\n<h1>It works!</h1>")]);
    let (_folder, inputs) = lines(&["{}", "{}"]);
    assert_snapshot!(output_of(&page.url, RETRY_FOR, inputs).await, @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: events.ndjson:1: http://observer/v1/events is not an observer: unexpected response: <html> <h1>It works!</h1>
    ");
    let other = Observer::start(vec![Step::batch(1, 0, &[])]);
    let (_folder, inputs) = lines(&["{}", "{}"]);
    let output = output_of(&other.url, RETRY_FOR, inputs).await;
    assert!(
        output.contains("http://observer/v1/events is not an observer: unexpected response: {"),
        "{output}"
    );
    let moved = Observer::start(vec![Step::respond(301, "").with_header("location: /elsewhere")]);
    assert_snapshot!(output_of(&moved.url, RETRY_FOR, event("{}")).await, @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: the event: http://observer/event accepts no events: 301 Moved Permanently
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
fn flags_form_one_event() {
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
fn invalid_event_flags_are_rejected() {
    let event = ["--source=bot", "--event-kind=ok", "--ok"];
    for (flag, expected) in [
        ("--failed", "the argument '--ok' cannot be used with '--failed'"),
        ("--turns=-1", "invalid value '-1' for '--turns <COUNT>': invalid digit found in string"),
        (
            "--duration-ms=-1",
            "invalid value '-1' for '--duration-ms <MS>': expected a number of at least 0",
        ),
        ("--extra=[]", "invalid value '[]' for '--extra <JSON>': expected a JSON object"),
        (
            "--url=localhost:3800",
            "invalid value 'localhost:3800' for '--url <URL>': not a URL that starts with http:// \
             or https://",
        ),
        ("events.ndjson", "the argument '--source <NAME>' cannot be used with '[FILE]...'"),
    ] {
        let error = parse(&[event[0], event[1], event[2], flag]).unwrap_err();
        assert_eq!(error, format!("error: {expected}"), "{flag}");
    }
    for incomplete in [&event[..2], &["--cycle-id=c"]] {
        let error = parse(incomplete).unwrap_err();
        assert_eq!(error, "error: the following required arguments were not provided:");
    }
}

#[test]
fn unreadable_file_is_reported_before_anything_is_sent() {
    let error =
        input::choose(None, vec!["-".into(), "/no/such.ndjson".into()]).map(|_| ()).unwrap_err();
    assert_snapshot!(observer_core::report(error.as_ref()), @"/no/such.ndjson can't be read: No such file or directory (os error 2)");
}

#[test]
fn summary_is_available_as_json() {
    let mut tally = Tally { accepted: 3, duplicate: 1, rejected: 2, bytes: 99, ..Tally::default() };
    assert_snapshot!(
        tally.to_json(true),
        @r#"{"accepted":3,"complete":true,"duplicate":1,"rejected":2,"warnings":[],"warnings_total":0}"#
    );
    tally.warnings = 7;
    tally.first_warnings.push(ReportedWarning {
        location: "a.ndjson:3".to_owned(),
        field: "turns".to_owned(),
        detail: "\"x\" is not a number".to_owned(),
    });
    assert_snapshot!(
        tally.to_json(false),
        @r#"{"accepted":3,"complete":false,"duplicate":1,"rejected":2,"warnings":[{"detail":"\"x\" is not a number","field":"turns","location":"a.ndjson:3"}],"warnings_total":7}"#
    );
}
