//! Secrets appear in no output.

use std::path::Path;
use std::process::Command;

use crate::support::{DEFAULTS, OBSERVER, Observer, Response};

const TOKEN: &str = "correct-horse-battery-staple";
const WRONG: &str = "incorrect-horse-battery-staple";
/// Secret of an environment variable that the configuration refers to.
const FROM_ENVIRONMENT: &str = "filled-horse-battery-staple";
const EVENT: &str = r#"{"source":"job","event_kind":"ok","ok":true}"#;

/// Collected output, each with a description, which is searched at the end.
#[derive(Default)]
struct Outputs(Vec<(String, String)>);

impl Outputs {
    fn add(&mut self, what: impl Into<String>, text: impl Into<String>) {
        self.0.push((what.into(), text.into()));
    }

    fn add_response(&mut self, what: &str, response: &Response) {
        self.add(what, format!("{:?}\n{}", response.headers, response.text));
    }

    /// Runs the program, adds its output, and returns its exit code.
    fn run(&mut self, dir: &Path, arguments: &[&str]) -> Option<i32> {
        let output = Command::new(OBSERVER)
            .args(arguments)
            .current_dir(dir)
            .env("SECRET", FROM_ENVIRONMENT)
            .output()
            .unwrap();
        let text =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(!text.is_empty(), "{arguments:?} prints nothing");
        self.add(format!("{arguments:?}"), text);
        output.status.code()
    }
}

/// Returns the configuration of a webhook with this further line.
fn hook(line: &str) -> String {
    format!("[sinks.hook]\ntype = \"http\"\nurl = \"http://127.0.0.1:1/\"\n{line}\n")
}

#[tokio::test]
async fn secret_appears_in_no_log_response_metric_or_message() {
    let digest = observer_server::TokenDigest::of(TOKEN);
    let good = format!(
        "{DEFAULTS}[access.tokens.ci]\nscopes = [\"ingest\", \"read\", \"admin\"]\n\
         sha256 = \"{digest}\"\n\
         [sinks.archive]\ntype = \"file\"\npath = \"observer-data/events/{{date}}.jsonl\"\n\
         [sinks.prometheus]\ntype = \"prometheus\"\n"
    );
    let mut outputs = Outputs::default();
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start_with(
        dir.path(),
        &good,
        &["--log", "trace"],
        &[("SECRET", FROM_ENVIRONMENT)],
    );
    let (client, url) = (observer.client(), observer.url.clone());
    for secret in [TOKEN, WRONG] {
        for path in ["/metrics", "/v1/sinks", "/readyz", "/livez", "/nowhere"] {
            let response =
                observer.send(client.get(format!("{url}{path}")).bearer_auth(secret)).await;
            outputs.add_response(&format!("GET {path}"), &response);
        }
        let event = || client.post(format!("{url}/event")).body(EVENT);
        outputs.add_response("an event", &observer.send(event().bearer_auth(secret)).await);
        outputs.add_response(
            "an event with basic authentication",
            &observer.send(event().basic_auth("x", Some(secret))).await,
        );
        let batch =
            client.post(format!("{url}/v1/events")).body(format!("{EVENT}\n{EVENT}\nno event"));
        outputs.add_response("a batch", &observer.send(batch.bearer_auth(secret)).await);
    }

    // A secret in the wrong key, and a variable with a secret where none belongs.
    for (what, bad) in [
        ("sha256", format!("[access.tokens.ci]\nscopes = [\"ingest\"]\nsha256 = \"{TOKEN}\"\n")),
        (
            "an unknown key",
            format!("[access.tokens.ci]\nscopes = [\"ingest\"]\ntoken = \"{TOKEN}\"\n"),
        ),
        ("a syntax error", format!("[sinks.archive]\ntoken = \"{TOKEN}\n")),
        ("a type", "[sinks.archive]\ntype = \"${SECRET}\"\n".to_owned()),
        ("a size", "[server]\nmax_body = \"${SECRET}\"\n".to_owned()),
        ("a host", "[server]\nhosts = \"http://${SECRET}\"\n".to_owned()),
        ("an origin", "[server]\ncors_origins = \"${SECRET}\"\n".to_owned()),
        ("a literal secret as credentials", hook(&format!("auth = \"{TOKEN}\""))),
        ("a literal secret as a list", hook(&format!("auth = {{ bearer = [\"{TOKEN}\"] }}"))),
        ("a literal signature", hook(&format!("signing = \"{TOKEN}\""))),
        ("malformed signing secrets", hook(&format!("signing = {{ secrets = \"{TOKEN}\" }}"))),
        ("a literal header", hook(&format!("headers = {{ x-key = \"{TOKEN}\\n\" }}"))),
        ("literal headers", hook(&format!("headers = \"{TOKEN}\""))),
        ("credentials in a URL", hook(&format!("proxy = \"http://me:{TOKEN}@\""))),
        ("a token in place of its table", format!("[access.tokens]\nci = \"{TOKEN}\"\n")),
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
        outputs.add_response(what, &response);
        assert_eq!(outputs.run(dir.path(), &["check"]), Some(2), "{what}");
        assert_eq!(outputs.run(dir.path(), &["--log", "trace"]), Some(2), "{what}");
    }
    observer.write_config(&good);
    assert_eq!(
        observer.send(client.post(format!("{url}/-/reload")).bearer_auth(TOKEN)).await.status,
        200
    );
    assert_eq!(outputs.run(dir.path(), &["check"]), Some(0));

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
    assert_eq!(outputs.run(dir.path(), &emit(TOKEN, &url)), Some(0));
    assert_eq!(outputs.run(dir.path(), &emit(WRONG, &url)), Some(2));
    assert_eq!(outputs.run(dir.path(), &emit(TOKEN, "http://127.0.0.1:1")), Some(2));
    assert_eq!(
        outputs.run(dir.path(), &emit(&with_line_feed, &url)),
        Some(0),
        "a line feed at the end is not part of the token"
    );
    assert_eq!(outputs.run(dir.path(), &emit(&with_delete, &url)), Some(2));

    std::fs::write(dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
    std::fs::write(dir.path().join("empty"), "\n").unwrap();
    for (file, code) in [("token", 0), ("empty", 2), ("missing", 2)] {
        let emit = ["emit", "--url", &url, "--token", WRONG, "--token-file", file, "events.ndjson"];
        assert_eq!(outputs.run(dir.path(), &emit), Some(code), "{file}");
    }

    let (_, log) = observer.terminate();
    assert!(log.iter().any(|line| line.contains("the observer is ready")), "{log:#?}");
    outputs.add("the log", log.join("\n"));
    for (what, text) in outputs.0 {
        for secret in [TOKEN, WRONG, FROM_ENVIRONMENT] {
            assert!(!text.contains(secret), "{what} shows a secret:\n{text}");
        }
    }
}
