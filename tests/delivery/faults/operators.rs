//! Status of a held sink, and the ways to end it: diversions and retries, over HTTP and by
//! command.

use observer_testing::http::{HttpReceiver, Reply};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::Code;

use super::Response::{Grpc, Webhook};
use super::{
    Row, SERVER, config_of, dead_letters, good, poison, post, sink, sinks, wait_for_sinks,
};
use crate::support::{Observer, parse_metrics, wait_until};

const LINGER: &str = "batch = { linger = \"1ms\" }\nretry = { initial = \"5ms\", max = \"20ms\" }";

/// Returns the ids of the events in the archive, in order.
fn ids(observer: &Observer) -> Vec<String> {
    let archive = observer.archive();
    let id = |line: &String| {
        let envelope: Value = serde_json::from_str(line).unwrap();
        envelope["id"].as_str().unwrap().to_owned()
    };
    archive.iter().map(id).collect()
}

/// Sinks that the program has without a configuration.
const OWN: &str = "[sinks.archive]\ntype = \"file\"\npath = \"observer-data/events/{date}.jsonl\"\n\
                   start = \"earliest\"\nbatch = { linger = \"1ms\" }\n\
                   [sinks.kb]\ntype = \"kb\"\npath = \"observer-data/kb\"\nstart = \"earliest\"\n\
                   batch = { linger = \"1ms\" }\n";

#[tokio::test]
async fn undecided_event_is_shown_and_a_diversion_makes_it_a_dead_letter() {
    let rows = [
        Row::refusing(0, Webhook("envelope", 403), LINGER),
        Row::refusing(1, Webhook("array", 500), LINGER),
        Row::refusing(2, Grpc(Code::PermissionDenied), LINGER),
    ];
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &format!("{}{OWN}", config_of(&rows)));
    post(&observer, good(0) + &poison(1) + &good(2)).await;
    let mut next = 3;
    wait_until("the event is undecided at each destination", async || {
        post(&observer, good(next)).await;
        next += 1;
        let sinks = sinks(&observer).await;
        let own = ["archive", "kb"];
        let of_rows = |sink: &&Value| !own.contains(&sink["name"].as_str().unwrap());
        sinks.iter().filter(of_rows).all(|sink| sink["undecided"] == 1)
    })
    .await;
    wait_for_sinks(&observer, "all others are delivered", |sink| {
        sink["pending"] == sink["undecided"]
    })
    .await;
    let id = ids(&observer)[1].clone();
    let metrics = parse_metrics(&observer.get("/metrics").await.text);
    let standing = observer.get(&format!("/v1/events/{id}")).await.json();
    for row in &rows {
        let name = &row.name;
        let at_sink = standing["sinks"].as_array().unwrap();
        let at_sink = at_sink.iter().find(|sink| sink["name"] == **name).unwrap();
        assert_eq!(at_sink["state"], "undecided", "{standing}");
        let undecided = format!("observer_sink_undecided_events{{sink=\"{name}\"}}");
        assert_eq!(metrics[&undecided], 1.0);
        let status = sink(&observer, name).await;
        assert_eq!((&status["state"], &status["dead"]), (&"running".into(), &0.into()));

        let (code, output) = observer.run(&["dead-letters", "divert", name, "--event", &id]);
        assert_eq!(code, Some(0), "{output}");
        assert_eq!(output, format!("diverted 1 event of {name}\n{id}\n"));
        let found = dead_letters(&observer, name).await;
        assert!(found.len() == 1 && found[0]["id"] == *id, "{found:?}");
        let reason = found[0]["reason"].as_str().unwrap();
        assert!(reason.contains("refused"), "the last response is kept: {reason}");
    }
    observer.wait_until_caught_up().await;
    let standing = observer.get(&format!("/v1/events/{id}")).await.json();
    for row in &rows {
        let status = sink(&observer, &row.name).await;
        assert_eq!((&status["undecided"], &status["dead"]), (&0.into(), &1.into()));
        let at_sink = standing["sinks"].as_array().unwrap();
        let at_sink = at_sink.iter().find(|sink| sink["name"] == *row.name).unwrap();
        assert_eq!(at_sink["state"], "dead", "{standing}");
        let mut accepted = row.accepted();
        accepted.sort_unstable();
        let expected: Vec<_> = (0..next).filter(|number| *number != 1).collect();
        assert_eq!(accepted, expected);
    }
}

/// Starts a program whose only destination refuses everything, and waits until it is parked.
async fn parked(dir: &std::path::Path, count: usize) -> (HttpReceiver, Observer) {
    let receiver = HttpReceiver::start();
    receiver.set_default_reply(Reply::status(401));
    let config = format!(
        "{SERVER}{OWN}[sinks.hook]\ntype = \"http\"\nbody = \"envelope\"\nurl = \"{}\"\n\
         check = \"off\"\nstart = \"earliest\"\nbatch = {{ max_events = 1, linger = \"1ms\" }}\n\
         retry = {{ initial = \"5ms\", max = \"1h\" }}\n",
        receiver.url("/hook")
    );
    let observer = Observer::start(dir, &config);
    post(&observer, (0..count).map(good).collect()).await;
    wait_until("the sink is parked and all events are archived", async || {
        sink(&observer, "hook").await["state"] == "parked" && ids(&observer).len() == count
    })
    .await;
    (receiver, observer)
}

#[tokio::test]
async fn diversion_takes_the_event_that_holds_a_parked_sink_or_the_first_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (receiver, observer) = parked(dir.path(), 8).await;
    let ids = ids(&observer);
    let (code, output) = observer.run(&["dead-letters", "divert", "hook"]);
    assert_eq!((code, &*output), (Some(0), &*format!("diverted 1 event of hook\n{}\n", ids[0])));
    let (code, output) = observer.run(&["dead-letters", "divert", "hook", "--head", "2", "--json"]);
    assert_eq!(code, Some(0), "{output}");
    let diverted: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(diverted, json!({ "diverted": [ids[1], ids[2]] }));
    let by_route =
        observer.administer(Method::POST, "/v1/sinks/hook/dead-letters/divert", "{}").await;
    assert_eq!((by_route.status, by_route.json()), (200, json!({ "diverted": [ids[3]] })));
    let by_route = observer
        .administer(Method::POST, "/v1/sinks/hook/dead-letters/divert", r#"{"head":1}"#)
        .await;
    assert_eq!((by_route.status, by_route.json()), (200, json!({ "diverted": [ids[4]] })));
    let status = sink(&observer, "hook").await;
    assert_eq!((&status["dead"], &status["pending"]), (&5.into(), &3.into()), "{status}");
    let found = dead_letters(&observer, "hook").await;
    let mut found: Vec<_> = found.iter().map(|found| found["id"].as_str().unwrap()).collect();
    found.reverse();
    assert_eq!(found, ids[..5]);

    receiver.set_default_reply(Reply::accept());
    let (code, output) = observer.run(&["sinks", "retry", "hook"]);
    assert_eq!(code, Some(0), "{output}");
    observer.wait_until_caught_up().await;
    assert_eq!(receiver.accepted_items().len(), 3);
    let (code, output) = observer.run(&["dead-letters", "divert", "hook"]);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("the sink \"hook\" has no unresolved event"), "{output}");
}

#[tokio::test]
async fn invalid_diversion_or_retry_is_rejected_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_receiver, observer) = parked(dir.path(), 2).await;
    let unknown = "11111111-1111-4111-8111-111111111111";
    let table = [
        ("hook/dead-letters/divert", r#"{"head":0}"#, 422),
        (
            "hook/dead-letters/divert",
            r#"{"head":1,"event":"11111111-1111-4111-8111-111111111111"}"#,
            422,
        ),
        ("hook/dead-letters/divert", r#"{"event":"one"}"#, 400),
        ("hook/dead-letters/divert", r#"{"tail":1}"#, 422),
        ("hook/dead-letters/divert", r#"{"event":"11111111-1111-4111-8111-111111111111"}"#, 404),
        ("nobody/dead-letters/divert", "{}", 404),
        ("nobody/retry", "", 404),
    ];
    for (path, body, status) in table {
        let path = format!("/v1/sinks/{path}");
        let response = observer.administer(Method::POST, &path, body).await;
        assert_eq!(response.status, status, "{path} {body}: {}", response.text);
    }
    for (arguments, code) in [
        (&["dead-letters", "divert", "nobody"][..], 1),
        (&["dead-letters", "divert", "hook", "--event", unknown], 1),
        (&["dead-letters", "divert", "hook", "--head", "0"], 2),
        (&["dead-letters", "divert", "hook", "--head", "1", "--event", unknown], 2),
        (&["sinks", "retry", "nobody"], 1),
    ] {
        let (found, output) = observer.run(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {output}");
    }
    // Over TCP the caller has no right to administer.
    for path in ["dead-letters/divert", "retry"] {
        let url = format!("{}/v1/sinks/hook/{path}", observer.url);
        let request = observer.client().post(url).header("content-type", "application/json");
        assert_eq!(observer.send(request.body("{}")).await.status, 401, "{path}");
    }
    let status = sink(&observer, "hook").await;
    assert_eq!((&status["dead"], &status["pending"]), (&0.into(), &2.into()), "{status}");
}

#[tokio::test]
async fn retry_tries_a_parked_sink_long_before_its_next_check() {
    let dir = tempfile::tempdir().unwrap();
    let (receiver, observer) = parked(dir.path(), 3).await;
    let before = sink(&observer, "hook").await;
    assert!(before["retry_at"].is_string(), "{before}");
    receiver.set_default_reply(Reply::accept());
    let tried = observer.administer(Method::POST, "/v1/sinks/hook/retry", "").await;
    assert_eq!(tried.status, 204, "{}", tried.text);
    observer.wait_until_caught_up().await;
    let status = sink(&observer, "hook").await;
    assert_eq!((&status["state"], &status["retry_at"]), (&"running".into(), &Value::Null));
    assert_eq!(receiver.accepted_items().len(), 3);
}
