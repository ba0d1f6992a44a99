//! Log lines about outages.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use observer_testing::http::{HttpReceiver, Reply};
use serde_json::Value;

use super::{RETRY, SERVER, good, post};
use crate::support::{Observer, wait_until};

/// Returns level and message of the entries about a sink's availability.
fn entries(log: &[String], sink: &str) -> Vec<(String, String)> {
    let parsed = log.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_sink = parsed.filter(|entry| {
        entry["sink"] == sink && entry["target"].as_str().unwrap().ends_with("outage")
    });
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    of_sink.map(|entry| (text(&entry["level"]), text(&entry["message"]))).collect()
}

/// Returns a sink with this name, and its receiver, which gives a reply to the first `count` posts.
fn failing(name: &str, reply: &Reply, count: usize) -> (String, HttpReceiver) {
    let (reply, receiver, posts) = (reply.clone(), HttpReceiver::start(), AtomicUsize::new(0));
    receiver.set_default_reply(Reply::choose(move |request| {
        let is_post = request.method == "POST";
        let fails = is_post && posts.fetch_add(1, Ordering::SeqCst) < count;
        if fails { reply.clone() } else { Reply::accept() }
    }));
    let config = format!(
        "[sinks.{name}]\ntype = \"http\"\nurl = \"{}\"\nstart = \"earliest\"\n\
         batch = {{ linger = \"1ms\" }}\n{RETRY}\n",
        receiver.url("/hook")
    );
    (config, receiver)
}

#[tokio::test]
async fn outage_has_a_line_when_it_begins_and_one_when_it_ends() {
    let begins = ("WARN".to_owned(), "the sink is unavailable; retrying".to_owned());
    let parks = (
        "ERROR".to_owned(),
        "the sink is parked: its events wait until the cause is removed".to_owned(),
    );
    let ends = ("INFO".to_owned(), "the sink accepts events again".to_owned());
    let long_pause = Reply::too_many_requests(Duration::from_secs(600));
    let table = [
        // Failures that are over within seconds have no line, whatever their kind.
        ("single", Reply::status(503), 1, vec![]),
        ("single-500", Reply::status(500), 1, vec![]),
        ("single-cut", Reply::close_before_response(), 1, vec![]),
        ("many", Reply::status(503), 30, vec![]),
        ("many-429", Reply::status(429), 30, vec![]),
        ("many-cut", Reply::close_mid_request(), 30, vec![]),
        ("parked", Reply::status(404), 12, vec![parks, ends.clone()]),
        ("pause", long_pause, 1, vec![begins, ends]),
    ];
    let sinks: Vec<_> =
        table.iter().map(|(name, reply, count, _)| failing(name, reply, *count)).collect();
    let config = sinks.iter().fold(SERVER.to_owned(), |config, (sink, _)| config + sink);
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config);
    post(&observer, (0..3).map(good).collect()).await;
    wait_until("all outages but one have ended", async || {
        let sinks = super::sinks(&observer).await;
        sinks.iter().all(|sink| match sink["name"].as_str() {
            Some("pause") => sink["state"] == "retrying",
            _ => sink["delivered"] == 3,
        })
    })
    .await;
    let (code, output) = observer.run(&["sinks", "retry", "pause"]);
    assert_eq!(code, Some(0), "{output}");
    observer.wait_until_caught_up().await;
    drop(sinks);
    let log = observer.kill();
    for (name, _, _, expected) in &table {
        assert_eq!(&entries(&log, name), expected, "{name}");
    }
}
