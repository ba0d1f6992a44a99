//! Signatures of requests, verified by the official libraries.

use std::io::Write;
use std::process::{Command, Stdio};

use observer_testing::http::{HttpReceiver, ReceivedRequest};
use serde_json::{Map, json};

use crate::support::{Observer, agent_runs, has_packages};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/webhooks.py");
/// The same key as each library accepts it, and as some services print it.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV-b5sSYspob7oD";

/// Returns what both libraries say about each request.
fn verdicts(requests: &[ReceivedRequest], secret: &str) -> Vec<String> {
    let mut script = Command::new("python3")
        .arg(SCRIPT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = script.stdin.take().unwrap();
    for request in requests {
        let header = |name: &str| (name.to_owned(), request.header(name).unwrap().into());
        let headers: Map<_, _> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(header)
            .into_iter()
            .collect();
        // A framework hands over the body without its `Content-Encoding`.
        let line = json!({ "secret": secret, "headers": headers, "body": request.text() });
        writeln!(input, "{line}").unwrap();
    }
    drop(input);
    let output = script.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn official_libraries_verify_the_signature_of_each_request() {
    if !has_packages("standardwebhooks, svix") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (plain, gzip) = (HttpReceiver::start(), HttpReceiver::start());
    let sink = |name: &str, receiver: &HttpReceiver, rest: &str| {
        format!(
            "[sinks.{name}]\ntype = \"http\"\nurl = \"{}\"\n\
             signing = {{ secrets = [\"{SECRET}\", \"{OTHER_SECRET}\"] }}\n{rest}\n",
            receiver.url("/hook")
        )
    };
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n{}{}",
        sink("plain", &plain, "body = \"envelope\""),
        sink("gzip", &gzip, "body = \"envelope\"\ncompression = \"gzip\"")
    );
    let observer = Observer::start(dir.path(), &config);
    for run in agent_runs().into_iter().take(20) {
        assert_eq!(observer.post(run).await.status, 200);
    }
    observer.wait_until_caught_up().await;
    let with_body = |receiver: &HttpReceiver| -> Vec<_> {
        receiver.requests().into_iter().filter(|request| request.method == "POST").collect()
    };
    let (plain, gzip) = (with_body(&plain), with_body(&gzip));
    assert_eq!((plain.len(), gzip.len()), (20, 20));
    // The libraries decode base64 in the standard alphabet.
    for secret in [SECRET.to_owned(), OTHER_SECRET.replace('-', "+")] {
        assert_eq!(verdicts(&plain, &secret), vec!["ok ok"; 20]);
    }
    let wrong = verdicts(&plain, "whsec_bmV3");
    assert_eq!(wrong, vec!["WebhookVerificationError WebhookVerificationError"; 20]);
    // The signature covers the compressed body, as `observer check` warns.
    assert_eq!(verdicts(&gzip, SECRET), wrong);
}
