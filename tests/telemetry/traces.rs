//! Spans, and the log entries within them.

use observer_testing::http::{HttpReceiver, Reply};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::wire::{accepted, attributes, hex, logs, spans, text};
use super::{WITHOUT_DELAY, config, event};
use crate::support::{Observer, wait_until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Waits for a span with a name.
async fn wait_for_span(collector: &HttpReceiver, name: &str) -> Span {
    let find = || spans(collector).into_iter().find(|span| span.name == name);
    wait_until(&format!("the span {name:?} is exported"), async || find().is_some()).await;
    find().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_and_commit_belong_to_the_trace_of_the_producer() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), HttpReceiver::start());
    let telemetry = format!(
        "endpoint = '{}'\nresource = {{ team = 'agents' }}\nheaders = {{ x-team = 'a' }}",
        collector.url("")
    );
    let variables =
        [WITHOUT_DELAY.as_slice(), &[("OTEL_EXPORTER_OTLP_HEADERS", "x-team=b,x-other=c")]]
            .concat();
    let observer = Observer::start_with(dir.path(), &config(&telemetry), &[], &variables);
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let url = format!("{}/event", observer.url);
    let request = observer.client().post(url).body(event(1)).header("traceparent", traceparent);
    let id = observer.send(request).await.json()["id"].as_str().unwrap().to_owned();

    let request = wait_for_span(&collector, "POST /event").await;
    assert_eq!(
        (hex(&request.trace_id), hex(&request.parent_span_id)),
        (TRACE.to_owned(), PARENT.to_owned())
    );
    assert_eq!(request.kind(), SpanKind::Server);
    let request_attributes = attributes(&request.attributes);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/event"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
    ] {
        assert_eq!(
            request_attributes.get(name).map(String::as_str),
            Some(value),
            "{name} of {request_attributes:?}"
        );
    }
    assert_eq!(request.status.unwrap_or_default().code(), StatusCode::Unset);
    let commit = wait_for_span(&collector, "commit").await;
    assert_eq!((commit.trace_id, commit.parent_span_id), (request.trace_id, request.span_id));
    let commit_attributes = attributes(&commit.attributes);
    assert_eq!(
        (commit_attributes["observer.events"].as_str(), &commit_attributes["observer.event.id"]),
        ("1", &id)
    );

    let batch = wait_for_span(&collector, "batch archive").await;
    assert_eq!(batch.parent_span_id.len(), 0, "a batch has events of many requests");
    assert_ne!(hex(&batch.trace_id), TRACE);
    let batch_attributes = attributes(&batch.attributes);
    for (name, value) in [
        ("observer.sink.name", "archive"),
        ("observer.events", "1"),
        ("observer.outcome", "delivered"),
    ] {
        assert_eq!(batch_attributes[name], value, "{name}");
    }
    wait_until("spans of delivery and flush are exported", async || {
        let all = spans(&collector);
        let mut children: Vec<_> = all
            .iter()
            .filter(|span| span.parent_span_id == batch.span_id)
            .map(|span| span.name.as_str())
            .collect();
        children.sort();
        children == ["deliver", "flush"]
    })
    .await;

    let resource = accepted::<ExportTraceServiceRequest>(&collector, "traces")
        .remove(0)
        .resource_spans
        .remove(0)
        .resource;
    let resource = resource.unwrap().attributes;
    let resource = attributes(&resource);
    assert_eq!(
        (resource["service.name"].as_str(), resource["team"].as_str()),
        ("observer", "agents")
    );
    let sent = collector.requests().remove(0);
    assert_eq!(
        (sent.header("x-team"), sent.header("x-other")),
        (Some("a"), None),
        "the configuration takes precedence over the variable"
    );
    assert!(sent.header("user-agent").unwrap().starts_with("observer/"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retried_batch_has_a_span_per_attempt_and_its_log_entry() {
    let (dir, collector, hook) = (
        tempfile::tempdir().unwrap(),
        HttpReceiver::start(),
        HttpReceiver::scripted([
            // A shorter pause is not logged.
            Reply::status(503).with_header("retry-after", "3600"),
            Reply::status(503),
        ]),
    );
    let sink = format!(
        "[sinks.hook]\ntype = 'http'\nurl = '{}'\ncheck = 'off'\nretry = {{ initial = '1ms' }}\n",
        hook.url("/hook")
    );
    let telemetry = config(&format!("endpoint = '{}'\ncompression = 'gzip'", collector.url("")));
    let mut observer =
        Observer::start_with(dir.path(), &format!("{telemetry}{sink}"), &[], &WITHOUT_DELAY);
    observer.post(event(1)).await;
    let message = "the sink is unavailable; retrying";
    let shown = observer.wait_for_log(message);
    let (code, output) = observer.run(&["sinks", "retry", "hook"]);
    assert_eq!(code, Some(0), "{output}");
    let batch = wait_for_span(&collector, "batch hook").await;
    let all = spans(&collector);
    let mut attempts: Vec<_> = all
        .iter()
        .filter(|span| span.name == "deliver" && span.parent_span_id == batch.span_id)
        .collect();
    attempts.sort_by_key(|span| span.start_time_unix_nano);
    let outcomes: Vec<_> = attempts
        .iter()
        .map(|span| (attributes(&span.attributes), span.status.clone().unwrap_or_default()))
        .map(|(attributes, status)| {
            (attributes["observer.attempt"].clone(), attributes.get("error.type").cloned(), status)
        })
        .collect();
    let [(one, transient, error), (two, again, _), (three, None, fine)] = outcomes.as_slice()
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!((one.as_str(), two.as_str(), three.as_str()), ("1", "2", "3"));
    assert_eq!((transient.as_deref(), again), (Some("transient"), transient));
    assert_eq!((error.code(), fine.code()), (StatusCode::Error, StatusCode::Unset));
    assert!(error.message.contains("503"), "{error:?}");

    let find = || logs(&collector).into_iter().find(|record| text(record.body.as_ref()) == message);
    wait_until("the log entry is exported", async || find().is_some()).await;
    let record = find().unwrap();
    assert_eq!((record.trace_id, record.severity_text.as_str()), (batch.trace_id, "WARN"));
    assert_eq!(attributes(&record.attributes)["sink"], "hook");
    assert!(
        collector
            .requests()
            .iter()
            .all(|request| request.header("content-encoding") == Some("gzip"))
    );
    let mut keys: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["level", "message", "reason", "sink", "target", "timestamp"],
        "log entries on standard error have no span fields"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn environment_variables_alone_enable_traces_and_a_sampled_parent_is_followed() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), HttpReceiver::start());
    let own = collector.url("/v1/traces");
    let variables = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", own.as_str()),
        ("OTEL_SERVICE_NAME", "mine"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
    ];
    let observer = Observer::start_with(
        dir.path(),
        &config(""),
        &[],
        &[&WITHOUT_DELAY[..], &variables].concat(),
    );
    observer.post(event(1)).await;
    let url = format!("{}/v1/events", observer.url);
    let request = |sampled: &str| {
        observer.client().post(&url).header("traceparent", format!("00-{TRACE}-{PARENT}-{sampled}"))
    };
    for (number, sampled) in [(2, "00"), (3, "01")] {
        let response = observer
            .send(
                request(sampled).header("content-type", "application/x-ndjson").body(event(number)),
            )
            .await;
        assert_eq!(response.status, 200, "{}", response.text);
    }
    observer.wait_until_caught_up().await;
    let (status, _) = observer.terminate();
    assert!(status.success());
    let mut names: Vec<_> = spans(&collector).into_iter().map(|span| span.name).collect();
    names.sort();
    assert_eq!(
        names,
        ["POST /v1/events", "commit"],
        "one of three requests is sampled, and no batch"
    );
    let resource = accepted::<ExportTraceServiceRequest>(&collector, "traces")
        .remove(0)
        .resource_spans
        .remove(0)
        .resource;
    assert_eq!(attributes(&resource.unwrap().attributes)["service.name"], "mine");
    assert!(collector.requests().iter().all(|request| request.path == "/v1/traces"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_traceparent_starts_a_new_trace() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), HttpReceiver::start());
    let telemetry = format!("endpoint = '{}'\nsignals = ['traces']", collector.url(""));
    let observer = Observer::start_with(dir.path(), &config(&telemetry), &[], &WITHOUT_DELAY);
    let url = format!("{}/event", observer.url);
    let request = observer.client().post(url).body("no JSON").header("traceparent", "00-nonsense");
    assert_eq!(observer.send(request).await.status, 400);
    let request = wait_for_span(&collector, "POST /event").await;
    assert_eq!((request.parent_span_id.len(), request.trace_id.len()), (0, 16));
    let request_attributes = attributes(&request.attributes);
    assert_eq!(request_attributes["http.response.status_code"], "400");
    assert_eq!(
        request.status.unwrap_or_default().code(),
        StatusCode::Unset,
        "a client error leaves the status unset"
    );
}
