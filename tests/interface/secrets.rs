//! What is secret shows nowhere.

use std::path::Path;
use std::process::Command;

use crate::support::{DEFAULTS, OBSERVER, Observer, Response};

const TOKEN: &str = "correct-horse-battery-staple";
const WRONG: &str = "incorrect-horse-battery-staple";
/// In the environment, and from there in the configuration.
const FILLED: &str = "filled-horse-battery-staple";
const EVENT: &str = r#"{"source":"job","event_kind":"ok","ok":true}"#;

/// All that is written or answered, to be searched at the end.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn add(&mut self, what: impl Into<String>, text: impl Into<String>) {
        self.0.push((what.into(), text.into()));
    }

    fn response(&mut self, what: &str, response: &Response) {
        self.add(what, format!("{:?}\n{}", response.headers, response.text));
    }

    /// Run the program, and say how it ended.
    fn run(&mut self, dir: &Path, arguments: &[&str]) -> Option<i32> {
        let output = Command::new(OBSERVER)
            .args(arguments)
            .current_dir(dir)
            .env("SECRET", FILLED)
            .output()
            .unwrap();
        let text =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(!text.is_empty(), "{arguments:?} says nothing");
        self.add(format!("{arguments:?}"), text);
        output.status.code()
    }
}

#[tokio::test]
async fn a_secret_shows_in_no_log_no_answer_no_metric_and_no_message() {
    let digest = observer_server::TokenDigest::of(TOKEN);
    let good = format!(
        "{DEFAULTS}[access.tokens.ci]\nscopes = [\"ingest\", \"read\", \"admin\"]\nsha256 = \"{digest}\"\n\
         [sinks.archive]\ntype = \"file\"\npath = \"observer-data/events/{{date}}.jsonl\"\n[sinks.prometheus]\ntype = \"prometheus\"\n"
    );
    let mut seen = Seen::default();
    let dir = tempfile::tempdir().unwrap();
    let observer =
        Observer::start_with(dir.path(), &good, &["--log", "trace"], &[("SECRET", FILLED)]);
    let (client, url) = (observer.client(), observer.url.clone());
    for secret in [TOKEN, WRONG] {
        for path in ["/metrics", "/v1/sinks", "/readyz", "/livez", "/nowhere"] {
            let response =
                observer.send(client.get(format!("{url}{path}")).bearer_auth(secret)).await;
            seen.response(&format!("GET {path}"), &response);
        }
        let event = || client.post(format!("{url}/event")).body(EVENT);
        seen.response("an event", &observer.send(event().bearer_auth(secret)).await);
        seen.response(
            "an event with basic authentication",
            &observer.send(event().basic_auth("x", Some(secret))).await,
        );
        let batch =
            client.post(format!("{url}/v1/events")).body(format!("{EVENT}\n{EVENT}\nno event"));
        seen.response("a batch", &observer.send(batch.bearer_auth(secret)).await);
    }

    // A secret that was pasted into the wrong place, and one that is filled in where it does not
    // belong.
    for (what, bad) in [
        ("sha256", format!("[access.tokens.ci]\nscopes = [\"ingest\"]\nsha256 = \"{TOKEN}\"\n")),
        (
            "an unknown key",
            format!("[access.tokens.ci]\nscopes = [\"ingest\"]\ntoken = \"{TOKEN}\"\n"),
        ),
        ("a slip", format!("[sinks.archive]\ntoken = \"{TOKEN}\n")),
        ("a type", "[sinks.archive]\ntype = \"${SECRET}\"\n".to_owned()),
        ("a size", "[server]\nmax_body = \"${SECRET}\"\n".to_owned()),
        ("a host", "[server]\nhosts = \"http://${SECRET}\"\n".to_owned()),
        ("an origin", "[server]\ncors_origins = \"${SECRET}\"\n".to_owned()),
        ("a placeholder", "[sinks.a]\ntype = \"file\"\npath = \"{${SECRET}}\"\n".to_owned()),
        (
            "a filter",
            "[sinks.a]\ntype = \"file\"\npath = \"a\"\nfilter = { ok = \"${SECRET}\" }\n"
                .to_owned(),
        ),
    ] {
        observer.write_config(&bad);
        let response =
            observer.send(client.post(format!("{url}/-/reload")).bearer_auth(TOKEN)).await;
        assert_eq!(response.status, 422, "{what}: {}", response.text);
        seen.response(what, &response);
        assert_eq!(seen.run(dir.path(), &["check"]), Some(2), "{what}");
        assert_eq!(seen.run(dir.path(), &["--log", "trace"]), Some(2), "{what}");
    }
    observer.write_config(&good);
    assert_eq!(
        observer.send(client.post(format!("{url}/-/reload")).bearer_auth(TOKEN)).await.status,
        200
    );
    assert_eq!(seen.run(dir.path(), &["check"]), Some(0));

    std::fs::write(dir.path().join("events.ndjson"), EVENT).unwrap();
    let (with_line_feed, with_delete) = (format!("{TOKEN}\n"), format!("{TOKEN}\u{7f}{TOKEN}"));
    let emit = |token, url| {
        [
            "--log",
            "trace",
            "emit",
            "--retry-for",
            "0s",
            "--url",
            url,
            "--token",
            token,
            "events.ndjson",
        ]
    };
    assert_eq!(seen.run(dir.path(), &emit(TOKEN, &url)), Some(0));
    assert_eq!(seen.run(dir.path(), &emit(WRONG, &url)), Some(2));
    assert_eq!(seen.run(dir.path(), &emit(TOKEN, "http://127.0.0.1:1")), Some(2));
    assert_eq!(
        seen.run(dir.path(), &emit(&with_line_feed, &url)),
        Some(0),
        "a line feed at the end is no part of it"
    );
    assert_eq!(seen.run(dir.path(), &emit(&with_delete, &url)), Some(2));

    let (_, log) = observer.terminate();
    assert!(log.iter().any(|line| line.contains("the observer is ready")), "{log:#?}");
    seen.add("the log", log.join("\n"));
    for (what, text) in seen.0 {
        for secret in [TOKEN, WRONG, FILLED] {
            assert!(!text.contains(secret), "{what} shows a secret:\n{text}");
        }
    }
}
