//! It can't feed itself, and whatever its collector does concerns nobody else.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use observer_testing::http::{HttpReceiver, Reply};

use super::{AT_ONCE, event};
use crate::support::{OBSERVER, Observer, parse_metrics, wait_until};

/// What became of one signal so far.
async fn told(observer: &Observer, signal: &str) -> f64 {
    let metrics = parse_metrics(&observer.get("/metrics").await.text);
    let count = |result: &str| {
        metrics[&format!(r#"observer_telemetry_total{{result="{result}",signal="{signal}"}}"#)]
    };
    count("exported") + count("failed") + count("dropped")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Until nothing more comes. Whatever fed itself would go on.
async fn at_rest(observer: &Observer) -> f64 {
    let mut last = (0.0, 0.0);
    wait_until("nothing comes any more", async || {
        let before = (told(observer, "traces").await, told(observer, "logs").await);
        // The absence of something can't be awaited: the last flush comes after a second, and a
        // batch of spans after that.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        last = (told(observer, "traces").await, told(observer, "logs").await);
        last == before
    })
    .await;
    last.0
}

/// Events make spans and lines of the log; what becomes of these makes none.
async fn it_comes_to_rest(config: &str) -> (Vec<String>, f64) {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start_with(dir.path(), config, &["--log", "trace"], &AT_ONCE);
    for number in 0..20 {
        assert_eq!(observer.post(event(number)).await.status, 200);
    }
    observer.wait_until_caught_up().await;
    let spans = at_rest(&observer).await;
    let (status, log) = observer.terminate();
    assert!(status.success());
    (log, spans)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exporting_to_itself_comes_to_rest() {
    let port = free_port();
    let config = format!(
        "[server]\nlisten = '127.0.0.1:{port}'\n[telemetry]\nendpoint = 'http://127.0.0.1:{port}'\ninterval = '20ms'\n"
    );
    let (_, spans) = it_comes_to_rest(&config).await;
    assert!(spans >= 40.0, "a request and a commit for each event, at least: {spans}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exporting_to_where_events_go_comes_to_rest() {
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
        Observer::start_with(dir.path(), &config, &[], &[&AT_ONCE[..], &variables].concat());
    observer.post(event(1)).await;
    observer.wait_until_caught_up().await;
    at_rest(&observer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_is_told_once_and_costs_nobody_anything() {
    let config = format!(
        "[server]\nlisten = '127.0.0.1:0'\n[telemetry]\nendpoint = 'http://127.0.0.1:{}'\ninterval = '20ms'\n",
        free_port()
    );
    let (log, _) = it_comes_to_rest(&config).await;
    let fails = log.iter().filter(|line| line.contains("the export of telemetry fails")).count();
    assert_eq!(fails, 3, "once a signal: {log:#?}");
    assert!(log.iter().any(|line| line.contains("nothing listens there")), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_holds_up_no_start_no_answer_no_reload_and_no_end() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), HttpReceiver::start());
    collector.set_default_reply(Reply::hang());
    let config = format!(
        "[server]\nlisten = '127.0.0.1:0'\nshutdown_timeout = '1s'\n[telemetry]\nendpoint = '{}'\ninterval = '20ms'\n",
        collector.url("")
    );
    let observer = Observer::start_with(dir.path(), &config, &[], &AT_ONCE);
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
async fn what_there_is_no_room_for_is_dropped_and_counted() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), HttpReceiver::start());
    collector.set_default_reply(Reply::hang());
    let config = format!(
        "[server]\nlisten = '127.0.0.1:0'\nshutdown_timeout = '0s'\n[telemetry]\nendpoint = '{}'\nsignals = ['traces']\n",
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
fn a_check_says_whether_telemetry_can_be_reached() {
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
    access   without a token for ingest, read and admin
    data     observer-data
    journal  observer-data/journal (fsync, at most 10.0 GiB, delivered events kept for 1day)
    otlp     traces, logs to http://collector (http/protobuf)

    sink               type        check
    archive            file        ok
    prometheus         prometheus  ok
    telemetry: traces  otlp        ok
    telemetry: logs    otlp        http://collector answered 401 Unauthorized: no token
    ");
}

#[test]
fn a_check_tells_who_speaks_another_protocol() {
    // The settings with which a server of HTTP/2 begins.
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
