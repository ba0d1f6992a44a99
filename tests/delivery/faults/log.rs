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

#[tokio::test]
async fn outage_has_a_line_when_it_begins_and_one_when_it_ends() {
    let begins = ("WARN".to_owned(), "the sink is unavailable; retrying".to_owned());
    let parks = (
        "ERROR".to_owned(),
        "the sink is parked: its events wait until the cause is removed".to_owned(),
    );
    let ends = ("INFO".to_owned(), "the sink accepts events again".to_owned());
    let outage = vec![begins.clone(), ends.clone()];
    let long_pause = Reply::too_many_requests(Duration::from_secs(6));
    let table = [
        // A single failure has no line, whatever its kind.
        ("single", Reply::status(503), 1, vec![]),
        ("single-500", Reply::status(500), 1, vec![]),
        ("single-cut", Reply::close_before_response(), 1, vec![]),
        ("many", Reply::status(503), 30, outage.clone()),
        ("many-429", Reply::status(429), 30, outage.clone()),
        ("many-cut", Reply::close_mid_request(), 30, outage.clone()),
        ("parked", Reply::status(401), 12, vec![parks, ends]),
        ("pause", long_pause, 1, vec![begins]),
    ];
    let mut config = SERVER.to_owned();
    let receivers: Vec<_> = table
        .iter()
        .map(|(name, reply, count, _)| {
            let (reply, count) = (reply.clone(), *count);
            let (receiver, posts) = (HttpReceiver::start(), AtomicUsize::new(0));
            receiver.set_default_reply(Reply::choose(move |request| {
                let is_post = request.method == "POST";
                if is_post && posts.fetch_add(1, Ordering::SeqCst) < count {
                    reply.clone()
                } else {
                    Reply::accept()
                }
            }));
            config.push_str(&format!(
                "[sinks.{name}]\ntype = \"http\"\nurl = \"{}\"\nstart = \"earliest\"\n\
                 batch = {{ linger = \"1ms\" }}\n{RETRY}\n",
                receiver.url("/hook")
            ));
            receiver
        })
        .collect();
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
    drop(receivers);
    let log = observer.kill();
    for (name, _, _, expected) in &table {
        assert_eq!(&entries(&log, name), expected, "{name}");
    }
}
