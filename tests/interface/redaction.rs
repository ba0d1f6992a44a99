//! Secrets of producers are stored and delivered nowhere.

use std::fs;
use std::path::Path;

use observer_testing::http::{HttpReceiver, Reply};

use crate::support::{DEFAULTS, Observer, parse_metrics, wait_until};

/// Returns a secret. It is put together here, so that scanners of source code find none.
fn secret(start: &str) -> String {
    format!("{start}{}", "Zq8x2Vb7Km3pQ1Zq8x2Vb7Km3pQ1Zq8x2Vb7Km3p")
}

/// Returns an event with a secret wherever one is redacted, in a cycle of its own.
fn event(kind: &str, cycle: &str, secrets: &[String]) -> String {
    let [format, escaped, key, label, other] = secrets else { panic!("five secrets") };
    let escaped = escaped.replace('-', "\\u002d");
    format!(
        r#"{{"source":"job","event_kind":"{kind}","ok":false,"cycle_id":"{cycle}","sig_hash":"s","extra":{{"log":"pushed with {format}\n","more":["{escaped}"],"API_KEY":"{key}"}},"labels":{{"password":"{label}","shard":["{format}"]}},"clientSecret":"{other}"}}"#
    )
}

fn secrets() -> Vec<String> {
    [secret("ghp_"), secret("sk-ant-api03-"), secret("k"), secret("l"), secret("o")].into()
}

/// Returns all files below a folder that contain one of the secrets.
fn files_with(folder: &Path, secrets: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&entry.path(), secrets));
        } else if let Ok(content) = fs::read(entry.path()) {
            let has = |secret: &String| {
                content.windows(secret.len()).any(|part| part == secret.as_bytes())
            };
            found.extend(secrets.iter().any(has).then(|| entry.path().display().to_string()));
        }
    }
    found
}

fn webhook(name: &str, receiver: &HttpReceiver) -> String {
    let url = receiver.url("/");
    format!("[sinks.{name}]\ntype = \"http\"\nurl = \"{url}\"\nstart = \"earliest\"\n")
}

#[tokio::test]
async fn secret_of_a_producer_is_in_no_file_request_log_or_answer() {
    let (hook, picky) = (HttpReceiver::start(), HttpReceiver::start());
    picky.set_default_reply(Reply::reject_items_containing("poison", "it is poison"));
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "{DEFAULTS}[sinks.archive]\ntype = \"file\"\npath = \"observer-data/a/{{date}}.jsonl\"\n\
         [sinks.kb]\ntype = \"kb\"\npath = \"observer-data/kb\"\n{}{}",
        webhook("hook", &hook),
        webhook("picky", &picky),
    );
    let observer = Observer::start_with(dir.path(), &config, &["--log", "trace"], &[]);
    let secrets = secrets();

    let first = observer.post(event("failed", "c-1", &secrets)).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let warnings = first.json()["warnings"].clone();
    let details: Vec<_> = warnings
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| (warning["field"].as_str().unwrap(), warning["detail"].as_str().unwrap()))
        .collect();
    assert_eq!(
        details,
        [
            (
                "labels",
                "the label \"shard\":[\"[redacted:github]\"] is not a string, a number or a \
                 boolean; it is treated as absent"
            ),
            (
                "extra",
                "secrets were redacted: extra.log (rule github), extra.more[0] (rule anthropic), \
                 extra.API_KEY (rule api_key)"
            ),
            (
                "labels",
                "secrets were redacted: labels.password (rule password), labels.shard[0] (rule \
                 github)"
            ),
            ("other", "a secret was redacted: clientSecret (rule secret)"),
        ]
    );
    let again = observer.post(event("failed", "c-1", &secrets)).await;
    assert_eq!(again.json()["status"], "duplicate", "{}", again.text);
    assert_eq!(again.json()["id"], first.json()["id"]);

    let batch = [event("poison", "c-2", &secrets), event("failed", "c-3", &secrets)].join("\n");
    let request = observer.client().post(format!("{}/v1/events", observer.url)).body(batch);
    let batch = observer.send(request.header("content-type", "application/x-ndjson")).await;
    assert_eq!(batch.status, 200, "{}", batch.text);

    hook.wait_for_requests(1).await;
    wait_until("the poison event is a dead letter", async || {
        let status = observer.get("/v1/sinks").await.json();
        let mut sinks = status["sinks"].as_array().unwrap().iter();
        sinks.any(|sink| sink["name"] == "picky" && sink["dead"] == 1)
    })
    .await;
    let metrics = observer.get("/metrics").await.text;
    assert_eq!(parse_metrics(&metrics)["observer_redactions_total{rule=\"github\"}"], 8.0);
    assert_eq!(parse_metrics(&metrics)["observer_redactions_total{rule=\"jwt\"}"], 0.0);
    let mut outputs = vec![first.text, again.text, batch.text, metrics];
    for path in ["/v1/events?limit=10", "/v1/sinks", "/v1/signatures/s"] {
        outputs.push(observer.get(path).await.text);
    }
    outputs.push(observer.run(&["dead-letters", "list", "picky", "--json"]).1);
    for request in hook.requests().into_iter().chain(picky.requests()) {
        outputs.push(request.text().to_owned());
    }
    assert!(outputs.iter().any(|text| text.contains("[redacted:anthropic]")), "{outputs:#?}");
    assert_eq!(files_with(dir.path(), &secrets), [""; 0]);
    let (_, log) = observer.terminate();
    outputs.extend(log);
    assert_eq!(files_with(dir.path(), &secrets), [""; 0]);
    for output in outputs {
        assert!(!secrets.iter().any(|secret| output.contains(secret)), "{output}");
    }
}

#[tokio::test]
async fn rules_change_with_a_reload_and_counts_continue() {
    let dir = tempfile::tempdir().unwrap();
    let event = |text: &str| {
        format!(r#"{{"source":"job","event_kind":"ok","ok":true,"extra":{{"token":"{text}"}}}}"#)
    };
    let observer = Observer::start(dir.path(), DEFAULTS);
    let warnings = async |text: &str| {
        observer.post(event(text)).await.json()["warnings"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(warnings("t-1").await, 1);
    for (rules, expected) in [
        ("[redact.rules.token]\nenabled = false\n", 0),
        ("[redact]\nenabled = false\n", 0),
        ("[redact]\naction = \"hash\"\n", 1),
    ] {
        observer.write_config(&format!("{DEFAULTS}{rules}"));
        let reload = observer.administer(reqwest::Method::POST, "/-/reload", "").await;
        assert_eq!(reload.status, 200, "{}", reload.text);
        assert_eq!(warnings("t-2").await, expected, "{rules}");
    }
    let metrics = parse_metrics(&observer.get("/metrics").await.text);
    assert_eq!(metrics["observer_redactions_total{rule=\"token\"}"], 2.0);
    assert!(dir.path().join("observer-data/redact.key").is_file());

    observer.write_config(&format!("{DEFAULTS}[redact.rules.acme]\nkeys = [\"a\"]\n"));
    let reload = observer.administer(reqwest::Method::POST, "/-/reload", "").await;
    assert_eq!(reload.status, 422, "{}", reload.text);
    let (code, text) = observer.run(&["check"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("\"a\" can't be a key of the rule \"acme\""), "{text}");
}

#[tokio::test]
async fn preview_shows_places_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    fs::write(dir.path().join("events.ndjson"), event("failed", "c-1", &secrets())).unwrap();
    let (code, text) = observer.run(&["check", "--redact", "events.ndjson"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("line 1: extra.API_KEY (api_key, mask)"), "{text}");
    assert!(text.ends_with("secrets: 6, in 1 of 1 events\n"), "{text}");
    assert!(!secrets().iter().any(|secret| text.contains(secret)), "{text}");
}
