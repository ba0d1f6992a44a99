//! Failing destinations, as `observer check`, `/readyz`, `/v1/sinks`, metrics and log show them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use insta::assert_snapshot;
use observer_core::Timestamp;
use observer_testing::http::{HttpReceiver, Reply};
use serde_json::Value;

use crate::support::certificates::certificates;
use crate::support::{
    DEFAULTS, OBSERVER, Observer, event_of, parse_metrics, read_lines, wait_until,
};

const EVENT: &str = r#"{"source":"job","event_kind":"ok","ok":true}"#;

/// Starts a receiver that responds to every request with the same reply.
fn receiver(reply: Reply) -> HttpReceiver {
    let receiver = HttpReceiver::start();
    receiver.set_default_reply(reply);
    receiver
}

fn sink(name: &str, url: &str, more: &str) -> String {
    format!(
        "[sinks.{name}]\ntype = \"http\"\nurl = \"{url}\"\nstart = \"earliest\"\n\
         batch = {{ linger = \"1ms\" }}\n\
         retry = {{ initial = \"50ms\", max = \"50ms\" }}\n{more}\n"
    )
}

/// Returns receivers that fail in different ways, by the names of their sinks.
fn failing_receivers() -> [(&'static str, HttpReceiver); 7] {
    [
        (
            "busy",
            Reply::too_many_requests(Duration::from_secs(300))
                .with_body(r#"{"message":"more than 60 requests a minute"}"#),
        ),
        ("failing", Reply::status(500).with_body("<h1>Oops</h1>\n<pre>KeyError: 'usage'</pre>")),
        ("not-found", Reply::status(404).with_body("Cannot POST /agnets")),
        (
            "unauthorized",
            Reply::status(401)
                .with_body(r#"{"title":"Unauthorized","detail":"the token has expired"}"#),
        ),
        ("forbidden", Reply::status(403).with_body("not your project")),
        ("moved", Reply::status(308).with_header("location", "https://new.example.com/agents")),
        ("hanging", Reply::hang()),
    ]
    .map(|(name, reply)| (name, receiver(reply)))
}

/// Returns whether a sink has failed for so long that the log reports it.
fn has_failed(sink: &Value) -> bool {
    let since = || sink["since"].as_str().unwrap().parse::<Timestamp>().unwrap();
    match sink["state"].as_str() {
        Some("parked") => true,
        // The busy one demands a long pause.
        Some("retrying") => {
            let least = if sink["name"] == "busy" { 0 } else { 8 };
            Timestamp::now().duration_since(since()).as_secs() >= least
        }
        _ => false,
    }
}

/// Returns what `check`, the status and the log say about a sink. Asserts that `/readyz` says the
/// same.
fn reported(name: &str, check: &str, shown: &Value, readiness: &Value, log: &[Value]) -> String {
    assert_eq!(
        (&readiness["state"], &readiness["reason"]),
        (&shown["state"], &shown["reason"]),
        "{name}"
    );
    let line = check.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    let checked = line[name.len()..].trim_start().trim_start_matches("http ").trim_start();
    let logged =
        log.iter().find(|entry| entry["sink"] == *name && !entry["reason"].is_null()).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    format!(
        "{name}\n  check: {checked}\n  now:   {}: {}\n  log:   {} {}: {}\n",
        text(&shown["state"]),
        text(&shown["reason"]),
        text(&logged["level"]),
        text(&logged["message"]),
        text(&logged["reason"]),
    )
}

/// Asserts that the metrics of a sink agree with its status.
fn assert_metrics_agree(name: &str, shown: &Value, metrics: &BTreeMap<String, f64>) {
    let counted = |family: &str| metrics[&format!("{family}{{sink=\"{name}\"}}")];
    assert_eq!(counted("observer_sink_parked"), f64::from(shown["state"] == "parked"), "{name}");
    assert_eq!(counted("observer_sink_pending_events"), 3.0, "{name}");
    let is_retrying = shown["state"] == "retrying";
    assert_eq!(counted("observer_sink_retries_total") > 0.0, is_retrying, "{name}");
    let dead = format!("observer_sink_events_total{{sink=\"{name}\",result=\"dead\"}}");
    assert_eq!(metrics[&dead], 0.0, "{name}");
}

#[tokio::test]
async fn failure_names_the_sink_the_destinations_reply_and_a_remedy() {
    let secure_dir = tempfile::tempdir().unwrap();
    certificates(secure_dir.path());
    let files = "cert = \"server.pem\"\nkey = \"server-key.pem\"\n";
    let secure = Observer::start(
        secure_dir.path(),
        &format!("[server]\nlisten = []\n[server.tls]\nlisten = \"127.0.0.1:0\"\n{files}"),
    );
    let stopped = receiver(Reply::accept());
    stopped.stop().await;
    let receivers = failing_receivers();
    let mut sinks: Vec<_> = receivers
        .iter()
        .map(|(name, receiver)| (*name, receiver.url("/agnets?key=s3cret"), ""))
        .collect();
    sinks.push(("no-such-host", "http://hooks.example.invalid/agents".to_owned(), ""));
    sinks.push(("refused", stopped.url("/agents"), ""));
    sinks.push(("strange-certificate", secure.url.clone(), ""));
    sinks.push(("no-tls", receivers[0].1.url("/").replace("http:", "https:"), ""));
    sinks
        .iter_mut()
        .filter(|sink| sink.0 == "hanging")
        .for_each(|sink| sink.2 = "timeout = \"1s\"");

    let config = sinks.iter().map(|(name, url, more)| sink(name, url, more)).collect::<String>();
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &format!("{DEFAULTS}{config}"));
    for _ in 0..3 {
        assert_eq!(observer.post(EVENT).await.status, 200);
    }
    wait_until("every sink has failed", async || {
        let status = observer.get("/v1/sinks").await.json();
        status["sinks"].as_array().unwrap().iter().all(has_failed)
    })
    .await;
    let status = observer.get("/v1/sinks").await.json();
    let ready = observer.get("/readyz").await;
    assert_eq!(ready.status, 200, "producers are not affected: {}", ready.text);
    let ready = ready.json();
    let metrics = parse_metrics(&observer.get("/metrics").await.text);
    let mut check = Command::new(OBSERVER);
    check.arg("check").current_dir(dir.path());
    let check = tokio::task::spawn_blocking(move || check.output()).await.unwrap().unwrap();
    assert_eq!(check.status.code(), Some(1));
    let check = String::from_utf8(check.stdout).unwrap();
    let log: Vec<Value> =
        observer.kill().iter().map(|line| serde_json::from_str(line).unwrap()).collect();

    let mut report = String::new();
    for (name, ..) in &sinks {
        let named = |list: &Value| {
            list.as_array().unwrap().iter().find(|sink| sink["name"] == *name).unwrap().clone()
        };
        let (shown, readiness) = (named(&status["sinks"]), named(&ready["sinks"]));
        assert_metrics_agree(name, &shown, &metrics);
        report += &reported(name, &check, &shown, &readiness, &log);
    }
    assert!(!report.contains("s3cret"), "{report}");
    for (name, receiver) in &receivers {
        report = report.replace(&receiver.address().to_string(), &format!("{name}:80"));
    }
    report = report.replace(&stopped.address().to_string(), "refused:80");
    let secure = secure.url.trim_start_matches("https://").to_owned();
    assert_snapshot!(report.replace(&secure, "secure:443"));
}

/// Returns the configuration of a webhook that takes batches of a thousand events.
fn large_batches(url: &str) -> String {
    format!(
        "{DEFAULTS}[sinks.hook]\ntype = \"http\"\nurl = \"{url}\"\nbody = \"ndjson\"\n\
         start = \"earliest\"\n\
         batch = {{ max_events = 1000, linger = \"1s\" }}\n\
         retry = {{ initial = \"1ms\", max = \"5ms\", \
         failed = {{ rounds = 3, over = \"10ms\" }} }}\n"
    )
}

async fn post(observer: &Observer, lines: String) {
    let url = format!("{}/v1/events", observer.url);
    let response = observer.send(observer.client().post(url).body(lines)).await;
    assert_eq!(response.status, 200, "{}", response.text);
}

/// Posts ten thousand events with one poison event. Asserts that all others are delivered once and
/// in order, and that isolating the poison event takes at most `more_requests` additional requests.
///
/// With `later`, further events are posted one by one until the poison event is a dead letter:
/// their acceptance is the evidence that it is at fault.
async fn assert_poison_event_is_isolated(
    reply: Reply,
    later: bool,
    more_requests: usize,
    reason: &str,
) {
    const EVENTS: usize = 10_000;
    let (receiver, dir) = (receiver(reply), tempfile::tempdir().unwrap());
    let observer = Observer::start(dir.path(), &large_batches(&receiver.url("/hook")));
    let kind =
        |number: usize| if number == 4_321 { "poison".to_owned() } else { format!("e{number}") };
    let event = |number| {
        format!("{{\"source\":\"job\",\"event_kind\":\"{}\",\"ok\":true}}\n", kind(number))
    };
    post(&observer, (0..EVENTS).map(event).collect()).await;
    let mut count = EVENTS;
    if later {
        let accepts = async |count| {
            wait_until("the events are accepted", async || {
                receiver.accepted_items().len() >= count
            })
            .await;
        };
        accepts(EVENTS - 1).await;
        while hook(&observer).await["dead"] == 0 {
            post(&observer, event(count)).await;
            count += 1;
            accepts(count - 1).await;
        }
    }
    observer.wait_until_caught_up().await;

    let kinds: Vec<_> =
        receiver.accepted_items().iter().map(|line| event_of(line).to_owned()).collect();
    let expected: Vec<_> = (0..count)
        .filter(|number| *number != 4_321)
        .map(|number| event(number).trim().to_owned())
        .collect();
    assert!(kinds == expected, "{} events arrived", kinds.len());
    let requests = receiver.requests().iter().filter(|request| request.method == "POST").count();
    let expected_requests = EVENTS / 1000 + (count - EVENTS) + more_requests;
    assert!(requests <= expected_requests, "{requests} requests");
    let sink = hook(&observer).await;
    assert_eq!(
        (sink["delivered"].as_u64(), sink["dead"].as_u64()),
        (Some(count as u64 - 1), Some(1)),
        "{sink}"
    );
    let dead_letters = read_lines(&dir.path().join("observer-data/journal/dead-letters/hook"));
    assert!(
        dead_letters.len() == 1
            && dead_letters[0].contains(reason)
            && dead_letters[0].contains("poison"),
        "{dead_letters:?}"
    );
}

/// Returns the status of the sink `hook`.
async fn hook(observer: &Observer) -> Value {
    let status = observer.get("/v1/sinks").await.json();
    let mut sinks = status["sinks"].as_array().unwrap().iter();
    sinks.find(|sink| sink["name"] == "hook").unwrap().clone()
}

#[tokio::test]
async fn event_rejected_by_its_index_needs_no_further_request() {
    assert_poison_event_is_isolated(
        Reply::reject_items_containing("poison", "`usage` is missing"),
        false,
        0,
        "`usage` is missing",
    )
    .await;
}

/// A batch of a thousand is halved ten times with up to three requests each. The poison event alone
/// is tried in three rounds, each with a connection of its own.
#[tokio::test]
async fn event_that_breaks_its_receiver_is_isolated_among_ten_thousand() {
    let most = 10 * 3 + 10 + 2 * 3;
    assert_poison_event_is_isolated(
        Reply::fail_requests_containing("poison"),
        true,
        most,
        "an unexpected condition was encountered",
    )
    .await;
}
