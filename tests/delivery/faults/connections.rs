//! Connections that are stuck, and requests that are slow.

use std::time::Duration;

use observer_testing::http::{HttpReceiver, Reply};
use observer_testing::otlp::{self, OtlpReceiver, Signal};

use super::raw::Relay;
use super::{SERVER, good, post, sink, wait_for_sinks};
use crate::support::certificates::certificates;
use crate::support::{Observer, wait_until};

#[tokio::test]
async fn stuck_connection_is_replaced_after_a_timeout() {
    let central_dir = tempfile::tempdir().unwrap();
    certificates(central_dir.path());
    let central = Observer::start(
        central_dir.path(),
        "[server]\nlisten = \"127.0.0.1:0\"\n[server.tls]\nlisten = \"127.0.0.1:0\"\ncert = \"server.pem\"\n\
         key = \"server-key.pem\"\n",
    );
    let (grpc, over_http, webhook) =
        (OtlpReceiver::start(), OtlpReceiver::start(), HttpReceiver::start());
    let secure = central.urls.iter().find_map(|url| url.strip_prefix("https://")).unwrap();
    let secure = secure.parse().unwrap();
    let relays = [
        Relay::start(grpc.address()).await,
        Relay::start(over_http.address()).await,
        Relay::start(webhook.address()).await,
        Relay::start(secure).await,
    ];
    let [a, b, c, d] = [0, 1, 2, 3].map(|index| relays[index].address);
    let ca = central_dir.path().join("ca.pem");
    let more = "start = \"earliest\"\ntimeout = \"1s\"\nbatch = { linger = \"1ms\" }\n\
                retry = { initial = \"5ms\", max = \"20ms\" }\n";
    let config = format!(
        "{SERVER}\
         [sinks.grpc]\ntype = \"otlp\"\nsignals = [\"logs\"]\nendpoint = \"http://{a}\"\n{more}\
         [sinks.http]\ntype = \"otlp\"\nsignals = [\"logs\"]\nprotocol = \"http/protobuf\"\n\
         endpoint = \"http://{b}\"\n{more}\
         [sinks.plain]\ntype = \"http\"\nurl = \"http://{c}/hook\"\n{more}\
         [sinks.alpn]\ntype = \"http\"\nbody = \"ndjson\"\nurl = \"https://{d}/v1/events\"\n\
         tls = {{ ca = {ca:?} }}\n{more}"
    );
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config);
    for round in 0..2 {
        post(&observer, good(2 * round)).await;
        observer.wait_until_caught_up().await;
        let before: Vec<_> = relays.iter().map(Relay::connections).collect();
        relays.iter().for_each(Relay::freeze);
        post(&observer, good(2 * round + 1)).await;
        observer.wait_until_caught_up().await;
        for (relay, before) in relays.iter().zip(before) {
            assert!(relay.connections() > before, "a new connection carried the request");
        }
    }
    // Events received before a connection froze are repeated, with the same id.
    for receiver in [&grpc, &over_http] {
        let mut ids = receiver.event_ids(Signal::Logs);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 4);
    }
    central.wait_until_caught_up().await;
    assert_eq!(central.archive().len(), 4);
    for name in ["grpc/logs", "http/logs", "plain", "alpn"] {
        let status = sink(&observer, name).await;
        assert_eq!((&status["delivered"], &status["dead"]), (&4.into(), &0.into()), "{status}");
    }
}

#[tokio::test]
async fn timeout_limits_a_request_and_not_a_batch_of_single_events() {
    const EVENTS: usize = 20;
    let receivers =
        ["\"envelope\"", "\"event\"", "{ template = \"{{ event.cycle_id }}\" }"].map(|body| {
            let receiver = HttpReceiver::start();
            receiver.set_default_reply(Reply::choose(|request| match request.method.as_str() {
                "POST" => Reply::accept().delayed_by(Duration::from_millis(80)),
                _ => Reply::accept(),
            }));
            (body, receiver)
        });
    let mut config = SERVER.to_owned();
    for (index, (body, receiver)) in receivers.iter().enumerate() {
        // A digest of a template is one request.
        let max_events = if body.contains("template") { 1 } else { EVENTS };
        config.push_str(&format!(
            "[sinks.s{index}]\ntype = \"http\"\nurl = \"{}\"\nbody = {body}\nstart = \"earliest\"\n\
             timeout = \"1s\"\nbatch = {{ max_events = {max_events}, linger = \"100ms\" }}\n\
             retry = {{ initial = \"5ms\", max = \"20ms\", give_up_after = \"1ms\" }}\n",
            receiver.url("/hook")
        ));
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config);
    post(&observer, (0..EVENTS).map(good).collect()).await;
    wait_for_sinks(&observer, "all events are delivered", |sink| sink["pending"] == 0).await;
    for (index, (body, receiver)) in receivers.iter().enumerate() {
        let status = sink(&observer, &format!("s{index}")).await;
        assert_eq!(
            (&status["delivered"], &status["dead"], &status["retried"]),
            (&EVENTS.into(), &0.into(), &0.into()),
            "{body}: {status}"
        );
        let requests = receiver.requests();
        let posts = requests.iter().filter(|request| request.method == "POST").count();
        assert_eq!(posts, EVENTS, "{body}: no event is repeated");
    }
}

#[tokio::test]
async fn progress_within_a_batch_is_kept_when_one_of_its_requests_fails() {
    let receivers = [503, 429, 500].map(|status| {
        let receiver = HttpReceiver::start();
        (status, receiver)
    });
    let mut config = SERVER.to_owned();
    for (status, receiver) in &receivers {
        let script = std::sync::Mutex::new(0);
        let status = *status;
        receiver.set_default_reply(Reply::choose(move |request| {
            let mut posts = script.lock().unwrap();
            *posts += usize::from(request.method == "POST");
            Reply::status(if *posts == 6 { status } else { 200 })
        }));
        config.push_str(&format!(
            "[sinks.s{status}]\ntype = \"http\"\nurl = \"{}\"\nbody = \"envelope\"\n\
             start = \"earliest\"\nbatch = {{ max_events = 10, linger = \"100ms\" }}\n\
             retry = {{ initial = \"5ms\", max = \"20ms\" }}\n",
            receiver.url("/hook")
        ));
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config);
    post(&observer, (0..10).map(good).collect()).await;
    wait_until("all events are accepted", async || {
        receivers.iter().all(|(_, receiver)| receiver.accepted_items().len() >= 10)
    })
    .await;
    observer.wait_until_caught_up().await;
    for (status, receiver) in &receivers {
        assert_eq!(receiver.accepted_items().len(), 10, "{status}: no event is repeated");
    }
}

#[tokio::test]
async fn reset_stream_is_followed_by_a_new_connection() {
    let receiver = OtlpReceiver::start();
    let config = format!(
        "{SERVER}[sinks.grpc]\ntype = \"otlp\"\nsignals = [\"logs\"]\nendpoint = \"{}\"\n\
         start = \"earliest\"\nbatch = {{ linger = \"1ms\" }}\n\
         retry = {{ initial = \"5ms\", max = \"20ms\" }}\n",
        receiver.url("")
    );
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config);
    post(&observer, good(0)).await;
    observer.wait_until_caught_up().await;
    let before = receiver.connections();
    (0..2).for_each(|_| receiver.enqueue(otlp::Reply::reset_stream()));
    post(&observer, good(1)).await;
    observer.wait_until_caught_up().await;
    assert_eq!(receiver.connections(), before + 2, "each attempt has its own connection");
    assert_eq!(receiver.event_ids(Signal::Logs).len(), 2);
    let status = sink(&observer, "grpc/logs").await;
    assert!(
        status["last_error"]["reason"].as_str().unwrap().contains("internal error"),
        "{status}"
    );
}
