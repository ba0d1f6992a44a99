//! Telemetry never feeds itself, and a failing collector affects neither producers nor sinks.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use observer_testing::http::{HttpReceiver, Reply};

use super::{WITHOUT_DELAY, event};
use crate::support::{OBSERVER, Observer, parse_metrics, wait_until};

/// Returns the number of items of a signal that were exported or lost so far.
async fn processed(observer: &Observer, signal: &str) -> f64 {
    let metrics = parse_metrics(&observer.get("/metrics").await.text);
    let count = |result: &str| {
        metrics[&format!(r#"observer_telemetry_total{{result="{result}",signal="{signal}"}}"#)]
    };
    count("exported") + count("failed") + count("dropped")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until no more items are exported, and returns the number of spans. Telemetry that feeds
/// itself would never get there.
async fn wait_until_idle(observer: &Observer) -> f64 {
    let mut last = (0.0, 0.0);
    wait_until("no more telemetry is exported", async || {
        let before = (processed(observer, "traces").await, processed(observer, "logs").await);
        // Absence can't be awaited: the last flush comes after a second, and a batch of spans
        // after that.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        last = (processed(observer, "traces").await, processed(observer, "logs").await);
        last == before
    })
    .await;
    last.0
}

/// Posts events, which create spans and log entries, and waits until telemetry is idle. Returns the
/// log and the number of spans.
async fn post_until_idle(config: &str) -> (Vec<String>, f64) {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start_with(dir.path(), config, &["--log", "trace"], &WITHOUT_DELAY);
    for number in 0..20 {
        assert_eq!(observer.post(event(number)).await.status, 200);
    }
    observer.wait_until_caught_up().await;
    let spans = wait_until_idle(&observer).await;
    let (status, log) = observer.terminate();
    assert!(status.success());
    (log, spans)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_to_the_observer_itself_becomes_idle() {
    let port = free_port();
    let config = format!(
        "[server]\nlisten = '127.0.0.1:{port}'\n[telemetry]\nendpoint = 'http://127.0.0.1:{port}'\n\
         interval = '20ms'\n"
    );
    let (_, spans) = post_until_idle(&config).await;
    assert!(spans >= 40.0, "a request and a commit for each event, at least: {spans}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telemetry_sent_to_the_event_endpoint_causes_no_loop() {
    let port = free_port();
    let config = format!("[server]\nlisten = '127.0.0.1:{port}'\n[telemetry]\ninterval = '20ms'\n");
    let dir = tempfile::tempdir().unwrap();
    let own = format!("http://127.0.0.1:{port}/event");
    let variables = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", own.as_str()),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", own.as_str()),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", own.as_str()),
    ];
    let observer =
        Observer::start_with(dir.path(), &config, &[], &[&WITHOUT_DELAY[..], &variables].concat());
    observer.post(event(1)).await;
    observer.wait_until_caught_up().await;
    wait_until_idle(&observer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_collector_is_logged_once_per_signal() {
    let config = format!(
        "[server]\nlisten = '127.0.0.1:0'\n[telemetry]\nendpoint = 'http://127.0.0.1:{}'\n\
         interval = '20ms'\n",
        free_port()
    );
    let (log, _) = post_until_idle(&config).await;
    let failures = log.iter().filter(|line| line.contains("the export of telemetry fails")).count();
    assert_eq!(failures, 3, "one entry per signal: {log:#?}");
    assert!(log.iter().any(|line| line.contains("nothing listens there")), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_collector_delays_neither_start_nor_responses_nor_reload_nor_shutdown() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), HttpReceiver::start());
    collector.set_default_reply(Reply::hang());
    let config = format!(
        "[server]\nlisten = '127.0.0.1:0'\nshutdown_timeout = '1s'\n[telemetry]\nendpoint = '{}'\n\
         interval = '20ms'\n",
        collector.url("")
    );
    let observer = Observer::start_with(dir.path(), &config, &[], &WITHOUT_DELAY);
    collector.wait_for_requests(2).await;
    for number in 0..20 {
        assert_eq!(observer.post(event(number)).await.status, 200);
    }
    observer.write_config(&config.replace("20ms", "30ms"));
    let response = observer.reload().await;
    assert_eq!(response.json()["restart_needed"][0], "telemetry", "{}", response.text);
    let begun = Instant::now();
    let (status, log) = observer.terminate();
    assert!(status.success());
    // The SDK alone would wait for 5 s, and a request for 10 s.
    assert!(begun.elapsed() < Duration::from_millis(4500), "{:?}", begun.elapsed());
    assert!(
        log.iter().any(|line| line.contains("the last telemetry was not exported in time")),
        "{log:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn span_beyond_the_queue_is_dropped_and_counted() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), HttpReceiver::start());
    collector.set_default_reply(Reply::hang());
    let config = format!(
        "[server]\nlisten = '127.0.0.1:0'\nshutdown_timeout = '0s'\n[telemetry]\nendpoint = '{}'\n\
         signals = ['traces']\n",
        collector.url("")
    );
    let variables = [("OTEL_BSP_SCHEDULE_DELAY", "20"), ("OTEL_BSP_MAX_QUEUE_SIZE", "10")];
    let observer = Observer::start_with(dir.path(), &config, &[], &variables);
    observer.post(event(0)).await;
    collector.wait_for_requests(1).await;
    for number in 1..=20 {
        assert_eq!(observer.post(event(number)).await.status, 200);
    }
    let dropped = r#"observer_telemetry_total{result="dropped",signal="traces"}"#;
    let metrics = observer.wait_for_metrics(|metrics| metrics[dropped] >= 1.0).await;
    assert!(metrics[dropped] >= 20.0 * 2.0 - 20.0, "{}", metrics[dropped]);
}

#[test]
fn check_reports_the_state_of_each_signal() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _guard = runtime.enter();
    let collector =
        HttpReceiver::scripted([Reply::accept(), Reply::status(401).with_body("no token")]);
    let dir = tempfile::tempdir().unwrap();
    let telemetry = format!(
        "[telemetry]\nendpoint = '{}/s3cr3t-path-of-sixteen'\nsignals = ['traces', 'logs']\n",
        collector.url("")
    );
    std::fs::write(dir.path().join("observer.toml"), telemetry).unwrap();
    let output =
        std::process::Command::new(OBSERVER).arg("check").current_dir(dir.path()).output().unwrap();
    let text =
        String::from_utf8(output.stdout).unwrap().replace(&collector.url(""), "http://collector");
    assert_eq!(output.status.code(), Some(1), "{text}");
    insta::assert_snapshot!(text, @"
    config   observer.toml
    listen   127.0.0.1:3800, [::1]:3800
    access   without a token for ingest, read and relay
    socket   observer-data/admin.sock
    data     observer-data
    journal  observer-data/journal (fsync, at most 10.0 GiB, delivered events kept for 1day)
    otlp     traces, logs to http://collector (http/protobuf)

    sink               type        check
    archive            file        ok
    kb                 kb          ok
    prometheus         prometheus  ok
    telemetry: traces  otlp        ok
    telemetry: logs    otlp        http://collector responded with 401 Unauthorized: no token
    ");
}

#[test]
fn check_recognises_another_protocol() {
    // A server that sends the SETTINGS frame of HTTP/2.
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = collector.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = collector.accept() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let telemetry = format!("[telemetry]\nendpoint = 'http://{address}'\nsignals = ['traces']\n");
    std::fs::write(dir.path().join("observer.toml"), telemetry).unwrap();
    let output =
        std::process::Command::new(OBSERVER).arg("check").current_dir(dir.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("; for a gRPC endpoint (usually port 4317) set telemetry.protocol"),
        "{text}"
    );
}
