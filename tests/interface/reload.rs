//! Reloads of the configuration while the observer runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use insta::assert_snapshot;
use jiff::Timestamp;
use observer_server::ReloadError;

use crate::support::hanging_sink::HangingConfig;
use crate::support::{
    DEFAULTS, Observer, archive, client, event_of, parse_metrics, read_lines, wait_until,
};

fn event(number: usize) -> String {
    format!(r#"{{"source":"job","cycle_id":"{number}","event_kind":"ok","ok":true}}"#)
}

fn config(sinks: &str) -> String {
    format!("{DEFAULTS}{sinks}")
}

const ARCHIVE: &str = "[sinks.archive]\ntype = \"file\"\npath = \"observer-data/events/a.jsonl\"\n\
                       start = \"earliest\"\n";
const MOVED: &str = "[sinks.archive]\ntype = \"file\"\npath = \"observer-data/events/b.jsonl\"\n\
                     start = \"earliest\"\n";
const SECOND: &str = "[sinks.second]\ntype = \"file\"\n\
                      path = \"observer-data/second/{date}.jsonl\"\nstart = \"earliest\"\n";
const METRICS: &str = "[sinks.prometheus]\ntype = \"prometheus\"\n";
const CAPPED: &str = "[sinks.prometheus]\ntype = \"prometheus\"\nlimits = { sources = 5 }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_under_load_loses_no_event_and_no_response() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = Observer::start(dir.path(), &config(&[ARCHIVE, METRICS].concat()));
    let (sent, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let producers: Vec<_> = (0..4)
        .map(|_| {
            let (client, url) = (observer.client(), format!("{}/event", observer.url));
            let (sent, stop) = (sent.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    let response = client.post(&url).body(event(number)).send().await.unwrap();
                    assert_eq!(response.status(), 200, "event {number}");
                }
            })
        })
        .collect();
    for (sinks, expected) in [
        (
            [ARCHIVE, SECOND, METRICS].concat(),
            r#"{"added":["second"],"changed":[],"removed":[],"restart_needed":[]}"#,
        ),
        (
            [MOVED, SECOND, METRICS].concat(),
            r#"{"added":[],"changed":["archive"],"removed":[],"restart_needed":[]}"#,
        ),
        (
            [MOVED, CAPPED].concat(),
            r#"{"added":[],"changed":["prometheus"],"removed":["second"],"restart_needed":[]}"#,
        ),
        (
            [MOVED, SECOND].concat(),
            r#"{"added":["second"],"changed":[],"removed":["prometheus"],"restart_needed":[]}"#,
        ),
        ([MOVED, SECOND].concat(), r#"{"added":[],"changed":[],"removed":[],"restart_needed":[]}"#),
    ] {
        let before = sent.load(Ordering::Relaxed);
        observer.write_config(&config(&sinks));
        let response = observer.reload().await;
        assert_eq!((response.status, &*response.text), (200, expected));
        wait_until("producers send more events", async || {
            sent.load(Ordering::Relaxed) > before + 50
        })
        .await;
    }
    let before = sent.load(Ordering::Relaxed);
    observer.write_config(&config(&[ARCHIVE, SECOND, METRICS].concat()));
    observer.send_sighup();
    while observer.wait_for_log("the configuration was reloaded")["added"] != "prometheus" {}
    wait_until("producers send more events", async || sent.load(Ordering::Relaxed) > before + 50)
        .await;
    stop.store(true, Ordering::Relaxed);
    for producer in producers {
        producer.await.unwrap();
    }
    observer.wait_until_caught_up().await;

    let all: BTreeSet<String> = (0..sent.load(Ordering::Relaxed)).map(event).collect();
    for (what, lines) in [
        ("archive", observer.archive()),
        ("second", read_lines(&dir.path().join("observer-data/second"))),
    ] {
        let events: Vec<_> = lines.iter().map(|line| event_of(line).to_owned()).collect();
        assert_eq!(
            events.len(),
            all.len(),
            "{what}: one line per event, since no sink was interrupted"
        );
        assert_eq!(events.into_iter().collect::<BTreeSet<_>>(), all, "{what}");
    }
}

#[tokio::test]
async fn invalid_configuration_changes_nothing_and_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = Observer::start(dir.path(), &config(ARCHIVE));
    observer.write_config("[server\n");
    observer.send_sighup();
    let entry = observer.wait_for_log("the configuration could not be reloaded");
    assert_eq!(entry["level"], "ERROR");
    let mut responses = String::new();
    for bad in [
        "[server\n",
        "[sinks.archive]\ntype = \"file\"\npath = \"x.jsonl\"\nrotat = {}\n",
        "[sinks.archive]\ntype = \"fiel\"\n",
        "[sinks.new]\ntype = \"file\"\npath = \"{day}.jsonl\"\n[sinks.prometheus]\n\
         type = \"prometheus\"\n",
        "[server]\nlisten = \"0.0.0.0:0\"\n",
        "[access.tokens.ci]\nscopes = [\"ingest\"]\nsha256 = \"none\"\n",
    ] {
        observer.write_config(bad);
        let response = observer.reload().await;
        assert_eq!(response.status, 422, "{}", response.text);
        responses += &format!("{bad}---\n{}\n\n", response.json()["detail"].as_str().unwrap());
    }
    std::fs::remove_file(dir.path().join("observer.toml")).unwrap();
    std::fs::create_dir(dir.path().join("observer.toml")).unwrap();
    responses +=
        &format!("(a folder)\n{}", observer.reload().await.json()["detail"].as_str().unwrap());
    assert_snapshot!(responses);
    assert_eq!(observer.post(event(1)).await.status, 200);
    observer.wait_until_caught_up().await;
    assert_eq!(observer.archive().len(), 1);
    let sinks = observer.get("/v1/sinks").await.json();
    let states: Vec<_> = sinks["sinks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sink| (&sink["name"], &sink["state"]))
        .collect();
    assert_eq!(states, [(&"archive".into(), &"running".into())]);
}

#[tokio::test]
async fn result_and_time_of_the_last_reload_are_exported() {
    let dir = tempfile::tempdir().unwrap();
    let now = || Timestamp::now().as_duration().as_secs_f64();
    let mut earliest = now();
    let observer = Observer::start(dir.path(), &config(ARCHIVE));
    let good = config(ARCHIVE);
    let missing_price = config("[prices]\nlitellm = \"missing.json\"\n");
    for (reloaded, expected) in [
        (None, 1.0),
        (Some(("[server\n", 422)), 0.0),
        (Some((&*good, 200)), 1.0),
        (Some((&*missing_price, 422)), 0.0),
    ] {
        if let Some((config, status)) = reloaded {
            observer.write_config(config);
            assert_eq!(observer.reload().await.status, status, "{config}");
        }
        let metrics = parse_metrics(&observer.get("/metrics").await.text);
        assert_eq!(metrics["observer_config_last_reload_successful"], expected, "{reloaded:?}");
        let timestamp = metrics["observer_config_last_reload_timestamp_seconds"];
        assert!((earliest..=now()).contains(&timestamp), "{timestamp}: {reloaded:?}");
        earliest = now();
    }
    observer.write_config(&good);
    observer.send_sighup();
    let is_successful =
        |metrics: &BTreeMap<String, f64>| metrics["observer_config_last_reload_successful"] == 1.0;
    observer.wait_for_metrics(is_successful).await;
}

#[tokio::test]
async fn reload_replaces_tokens_for_the_next_request() {
    let token = |name: &str, secret: &str, scope: &str| {
        let digest = observer_server::TokenDigest::of(secret);
        format!("[access.tokens.{name}]\nscopes = [{scope:?}]\nsha256 = \"{digest}\"\n")
    };
    let dir = tempfile::tempdir().unwrap();
    let ops = token("ops", "ops", "admin");
    let observer =
        Observer::start(dir.path(), &config(&[&*ops, &token("ci", "old", "ingest")].concat()));
    let post = async |number: usize, secret: &str| {
        let request = observer
            .client()
            .post(format!("{}/event", observer.url))
            .bearer_auth(secret)
            .body(event(number));
        observer.send(request).await.status
    };
    let reload =
        || observer.client().post(format!("{}/-/reload", observer.url)).bearer_auth("ops").send();
    assert_eq!((post(1, "old").await, post(2, "new").await), (200, 401));
    observer.write_config(&config(&[&*ops, &token("ci", "new", "ingest")].concat()));
    assert_eq!(reload().await.unwrap().status(), 200);
    assert_eq!((post(3, "old").await, post(4, "new").await), (401, 200));
}

#[tokio::test]
async fn reload_never_opens_access_on_a_public_listener() {
    let dir = tempfile::tempdir().unwrap();
    let public = "[server]\nlisten = \"0.0.0.0:0\"\n[access]\nanonymous = [\"admin\"]\n";
    let observer = Observer::start(dir.path(), public);
    observer.write_config(DEFAULTS);
    let response = observer.reload().await;
    assert_eq!(response.status, 422, "{}", response.text);
    assert!(
        response.json()["detail"]
            .as_str()
            .unwrap()
            .contains("server.listen: 0.0.0.0:0 is reachable"),
        "{}",
        response.text
    );
    assert_eq!(observer.post(event(1)).await.status, 401);
}

#[tokio::test]
async fn reload_reports_the_keys_that_need_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    observer.write_config(
        "[server]\nlisten = \"127.0.0.1:1\"\nmax_body = \"10B\"\n[journal]\nretain = \"1h\"\n",
    );
    let response = observer.reload().await;
    assert_eq!(response.json()["restart_needed"], serde_json::json!(["server.listen", "journal"]));
    assert_eq!(observer.post(event(1)).await.status, 413, "the other keys are in effect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_of_a_hanging_sink_does_not_delay_other_sinks() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("observer-data");
    let text = |stuck: &str| {
        let archive = ARCHIVE.replace("observer-data", data.to_str().unwrap());
        format!(
            "data_dir = {data:?}\n[server]\nlisten = \"127.0.0.1:0\"\nshutdown_timeout = \"1s\"\n\
             {archive}{stuck}"
        )
    };
    let stuck = "[sinks.stuck]\ntype = \"hanging\"\nstart = \"earliest\"\n";
    let file = Arc::new(Mutex::new(text(stuck)));
    let loaded = file.clone();
    let service = observer::Service::start_from(
        move || observer::Config::parse(&loaded.lock().unwrap()),
        |metrics| observer::registry::with_defaults(metrics).with::<HangingConfig>(),
    );
    let service = service.await.unwrap();
    let (url, reloader) =
        (format!("http://{}", service.local_addrs()[0]), service.reloader().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(service.run(async { stopped.await.unwrap_or_default() }));
    let client = client();
    let post = async |numbers: std::ops::Range<usize>| {
        for number in numbers {
            let response = client.post(format!("{url}/event")).body(event(number)).send();
            let response = tokio::time::timeout(Duration::from_secs(10), response)
                .await
                .expect("the producer gets a response")
                .unwrap();
            assert_eq!(response.status(), 200);
        }
    };
    post(0..50).await;

    // While the hanging sink is replaced, producers and other sinks continue.
    *file.lock().unwrap() = text(&format!("{stuck}timeout = \"7s\"\n"));
    let changing = tokio::spawn(async move { (reloader.reload().await, reloader) });
    post(50..100).await;
    wait_until("the archive has every event", async || lines(dir.path()) == 100).await;
    let (reloaded, reloader) = changing.await.unwrap();
    assert_eq!(reloaded.unwrap().changed, ["stuck"]);

    // Its undelivered events are kept for its successor.
    let sinks: serde_json::Value =
        client.get(format!("{url}/v1/sinks")).send().await.unwrap().json().await.unwrap();
    let sink =
        sinks["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == "stuck").unwrap();
    assert_eq!((sink["pending"].as_u64(), sink["expired"].as_u64()), (Some(100), Some(0)));

    *file.lock().unwrap() = "[".to_owned();
    assert!(matches!(reloader.reload().await, Err(ReloadError::Invalid(_))));
    *file.lock().unwrap() = text("");
    assert_eq!(reloader.reload().await.unwrap().removed, ["stuck"]);
    post(100..101).await;
    wait_until("the archive has every event", async || lines(dir.path()) == 101).await;
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(30), serving)
        .await
        .expect("the service stops")
        .unwrap();
}

/// Returns the number of archived events.
fn lines(dir: &Path) -> usize {
    if dir.join("observer-data/events").exists() { archive(dir).len() } else { 0 }
}
