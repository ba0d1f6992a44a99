//! Sinks of type `otlp` before collectors that fail, reject or limit requests.

use observer_testing::otlp::{OtlpReceiver, Reply, Signal, attribute};
use serde_json::Value;
use tonic::Code;

use crate::support::{DEFAULTS, Observer, wait_until};

/// Returns a sink for both signals with short pauses.
fn sink(name: &str, receiver: &OtlpReceiver, more: &str) -> String {
    format!(
        "[sinks.{name}]\ntype = \"otlp\"\nendpoint = \"{}\"\nstart = \"earliest\"\n\
         retry = {{ initial = \"1ms\", max = \"20ms\" }}\n{more}\n",
        receiver.url("")
    )
}

fn events(count: usize) -> String {
    let event = |number| {
        format!(
            "{{\"source\":\"bot\",\"cycle_id\":\"c-{number}\",\"sig_hash\":\"s\",\
             \"event_kind\":\"ok\",\"ok\":true,\"duration_ms\":5}}\n"
        )
    };
    (0..count).map(event).collect()
}

async fn post(observer: &Observer, events: String) {
    let response = observer
        .send(observer.client().post(format!("{}/v1/events", observer.url)).body(events))
        .await;
    assert_eq!(response.status, 200, "{}", response.text);
}

async fn status_of(observer: &Observer, name: &str) -> Value {
    let status = observer.get("/v1/sinks").await.json();
    status["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == name).unwrap().clone()
}

/// Returns the numbers of the cycles that the receiver accepted as log records or as spans.
fn cycles(receiver: &OtlpReceiver, signal: Signal) -> Vec<usize> {
    let records = receiver.log_records();
    let spans = receiver.spans();
    let attributes: Vec<_> = match signal {
        Signal::Logs => records.iter().map(|record| &record.attributes).collect(),
        _ => spans.iter().map(|span| &span.attributes).collect(),
    };
    let number = |cycle: &str| cycle.strip_prefix("c-").unwrap().parse().unwrap();
    attributes
        .into_iter()
        .map(|attributes| number(attribute(attributes, "observer.cycle.id").unwrap()))
        .collect()
}

#[tokio::test]
async fn failing_signal_neither_delays_nor_repeats_the_other() {
    let (good, bad, dir) =
        (OtlpReceiver::start(), OtlpReceiver::start(), tempfile::tempdir().unwrap());
    bad.set_default_reply(Reply::status(Code::Unavailable, "full"));
    let config = format!(
        "{DEFAULTS}{}{}",
        sink("logs-here", &good, "signals = [\"logs\"]"),
        sink("there", &bad, "signals = [\"traces\"]")
    );
    let observer = Observer::start(dir.path(), &config);
    post(&observer, events(100)).await;
    wait_until("the log records are delivered", async || good.log_records().len() == 100).await;
    wait_until("the spans were retried", async || bad.requests().len() > 3).await;
    let failing = status_of(&observer, "there/traces").await;
    assert_eq!(
        (&failing["state"], &failing["pending"]),
        (&"retrying".into(), &100.into()),
        "{failing}"
    );
    bad.set_default_reply(Reply::accept());
    observer.wait_until_caught_up().await;
    assert_eq!(cycles(&good, Signal::Logs), (0..100).collect::<Vec<_>>());
    assert_eq!(cycles(&bad, Signal::Traces), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn batch_too_large_for_the_collector_is_split_and_the_limit_is_remembered() {
    let (receiver, dir) = (OtlpReceiver::start(), tempfile::tempdir().unwrap());
    receiver.set_default_reply(Reply::reject_messages_larger_than(40_000));
    let config = format!("{DEFAULTS}{}", sink("collector", &receiver, "signals = [\"logs\"]"));
    let observer = Observer::start(dir.path(), &config);
    for _ in 0..2 {
        post(&observer, events(1000).replace("c-", &format!("c-{}", receiver.requests().len())))
            .await;
        observer.wait_until_caught_up().await;
    }
    let requests = receiver.requests();
    let refused =
        requests.iter().filter(|request| request.code == Some(Code::ResourceExhausted)).count();
    assert!(refused <= 4, "{refused} requests were too large: the limit was forgotten");
    assert_eq!(receiver.log_records().len(), 2000);
    let status = status_of(&observer, "collector/logs").await;
    assert_eq!(
        (&status["delivered"], &status["dead"], &status["refused"]),
        (&2000.into(), &0.into(), &0.into())
    );
}

#[tokio::test]
async fn partial_success_is_counted_and_logged() {
    let (receiver, dir) = (OtlpReceiver::scripted([]), tempfile::tempdir().unwrap());
    receiver.set_default_reply(Reply::reject_items_containing("c-7", "too old"));
    let config = format!(
        "{DEFAULTS}{}",
        sink("collector", &receiver, "batch = { linger = \"1s\", max_events = 10 }")
    );
    let mut observer = Observer::start(dir.path(), &config);
    post(&observer, events(10)).await;
    observer.wait_until_caught_up().await;
    for signal in ["logs", "traces"] {
        let status = status_of(&observer, &format!("collector/{signal}")).await;
        assert_eq!((&status["delivered"], &status["refused"]), (&9.into(), &1.into()), "{status}");
    }
    let logged = observer
        .wait_for_log("the destination rejected some events of a batch without naming them");
    assert!(logged["reason"].as_str().unwrap().contains("rejected 1 of 10"), "{logged}");
    assert!(logged["reason"].as_str().unwrap().ends_with("too old"), "{logged}");
    assert_eq!(receiver.log_records().len(), 9, "a rejected record is not sent again");
}

#[tokio::test]
async fn event_that_breaks_a_collector_becomes_a_dead_letter() {
    let (receiver, dir) = (OtlpReceiver::start(), tempfile::tempdir().unwrap());
    receiver.set_default_reply(Reply::fail_requests_containing("c-321", Code::InvalidArgument));
    let config = format!("{DEFAULTS}{}", sink("collector", &receiver, ""));
    let observer = Observer::start(dir.path(), &config);
    post(&observer, events(1000)).await;
    observer.wait_until_caught_up().await;
    let expected: Vec<_> = (0..1000).filter(|number| *number != 321).collect();
    assert_eq!(cycles(&receiver, Signal::Logs), expected);
    assert_eq!(cycles(&receiver, Signal::Traces), expected);
    for signal in ["logs", "traces"] {
        let folder = format!("/v1/sinks/collector%2F{signal}/dead-letters");
        let dead_letters = observer.get(&folder).await.json();
        assert_eq!(dead_letters["total"], 1);
        let id = dead_letters["dead_letters"][0]["id"].as_str().unwrap();
        let dead_letter = observer.get(&format!("{folder}/{id}")).await.json();
        assert_eq!(dead_letter["envelope"]["event"]["cycle_id"], "c-321", "{dead_letter}");
        assert!(
            dead_letter["reason"].as_str().unwrap().contains("a value that can't be stored"),
            "{dead_letter}"
        );
    }
}

/// The standard variables configure the telemetry of the program, not its sinks.
#[tokio::test]
async fn otel_environment_variables_do_not_configure_a_sink() {
    let (receiver, other, dir) =
        (OtlpReceiver::start(), OtlpReceiver::start(), tempfile::tempdir().unwrap());
    let config = format!("{DEFAULTS}{}", sink("collector", &receiver, "compression = \"none\""));
    let other_url = other.url("");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", other_url.as_str()),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", other_url.as_str()),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", other_url.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-leak=1,authorization=Bearer%20leaked"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_SERVICE_NAME", "leaked"),
        ("OTEL_RESOURCE_ATTRIBUTES", "leak=1"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
    ];
    let observer = Observer::start_with(dir.path(), &config, &[], &variables);
    post(&observer, events(20)).await;
    observer.wait_until_caught_up().await;
    assert_eq!((receiver.log_records().len(), receiver.spans().len()), (20, 20));
    for request in receiver.requests() {
        let names = ["x-leak", "authorization"];
        assert!(names.iter().all(|name| request.header(name).is_none()), "{:?}", request.headers);
        assert_eq!(request.compression, None);
        for resource in request.payload.resources() {
            assert_eq!(attribute(resource, "service.name"), Some("observer"));
            assert_eq!(attribute(resource, "leak"), None);
        }
    }
    observer.terminate();
    assert!(other.log_records().iter().all(|record| record.event_name != "observer.cycle.outcome"));
}
