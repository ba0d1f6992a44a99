//! Collectors over gRPC and TLS, and collectors that reject items.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use observer_testing::http::HttpReceiver;
use observer_testing::otlp::{OtlpReceiver, Reply, Signal, Transport};
use observer_testing::tls::{CertificateAuthority, ServerTls};
use tonic::Code;

use super::{WITHOUT_DELAY, config, event};
use crate::support::{OBSERVER, Observer, wait_until};

/// Waits until the collector has received every signal.
async fn wait_for_all_signals(collector: &OtlpReceiver) {
    wait_until("the collector has all three signals", async || {
        let signals: BTreeSet<_> = collector
            .requests()
            .iter()
            .filter_map(|request| request.payload.signal())
            .map(name)
            .collect();
        signals.len() == 3
    })
    .await;
}

fn name(signal: Signal) -> String {
    format!("{signal:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_exports_every_signal_with_the_configured_headers() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), OtlpReceiver::start());
    let telemetry = format!(
        "endpoint = '{}'\nprotocol = 'grpc'\ncompression = 'gzip'\ninterval = '20ms'\n\
         headers = {{ x-team = 'a' }}",
        collector.url("")
    );
    let variables =
        [&WITHOUT_DELAY[..], &[("OTEL_EXPORTER_OTLP_HEADERS", "x-team=b,x-other=c")]].concat();
    let observer = Observer::start_with(dir.path(), &config(&telemetry), &[], &variables);
    observer.post(event(1)).await;
    wait_for_all_signals(&collector).await;
    for request in collector.requests() {
        assert_eq!(
            (request.transport, request.compression.as_deref()),
            (Transport::Grpc, Some("gzip"))
        );
        assert_eq!(
            (request.header("x-team"), request.header("x-other")),
            (Some("a"), None),
            "{:?}",
            request.headers
        );
        assert!(
            request.header("user-agent").unwrap().starts_with("observer/"),
            "{:?}",
            request.headers
        );
    }
    let (status, log) = observer.terminate();
    assert!(status.success() && !log.iter().any(|line| line.contains("WARN")), "{log:#?}");
    let requests = collector.requests();
    let spans: BTreeSet<_> = requests
        .iter()
        .flat_map(|request| request.payload.spans())
        .map(|span| &*span.name)
        .collect();
    assert!(
        spans.is_superset(&BTreeSet::from([
            "POST /event",
            "commit",
            "batch archive",
            "deliver",
            "flush"
        ])),
        "{spans:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_over_grpc_reports_the_status_of_the_collector() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), OtlpReceiver::start());
    let page = HttpReceiver::start();
    let responses =
        [Reply::accept(), Reply::status(Code::Unimplemented, "no metrics here"), Reply::accept()];
    responses.into_iter().for_each(|response| collector.enqueue(response));
    let check = async |url: String| {
        let telemetry = format!(
            "endpoint = '{url}'\nprotocol = 'grpc'\nheaders = {{ x-key = 's3cr3t-t0ken' }}"
        );
        std::fs::write(dir.path().join("observer.toml"), config(&telemetry)).unwrap();
        let mut check = Command::new(OBSERVER);
        check.arg("check").current_dir(dir.path());
        let output = tokio::task::spawn_blocking(move || check.output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stdout).unwrap().replace(&url, "http://collector");
        text.lines()
            .filter(|line| line.starts_with("telemetry: "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        check(collector.url("")).await,
        [
            "telemetry: traces   otlp        ok",
            "telemetry: metrics  otlp        http://collector responded with Unimplemented: no metrics \
             here",
            "telemetry: logs     otlp        ok",
        ]
    );
    let requests = collector.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| request.header("x-key") == Some("s3cr3t-t0ken")));

    let lines = check(page.url("")).await;
    assert!(
        lines.len() == 3
            && lines.iter().all(|line| line.contains("http://collector is unreachable: ")),
        "{lines:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collector_certificate_is_trusted_by_a_configured_authority() {
    let ours = CertificateAuthority::new("ours");
    for protocol in ["grpc", "http/protobuf"] {
        let dir = tempfile::tempdir().unwrap();
        let collector = OtlpReceiver::over_tls(
            ServerTls::signed_by(&ours).require_client_certificate_from(&ours),
            [],
        );
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        let client = ours.issue("client");
        write("ca.pem", ours.pem());
        write("cert.pem", client.cert);
        write("key.pem", client.key);
        let telemetry = format!(
            "endpoint = '{}'\nprotocol = '{protocol}'\ninterval = '20ms'\n",
            collector.url("")
        );
        let files = "tls = { ca = 'ca.pem', cert = 'cert.pem', key = 'key.pem' }";
        let observer = Observer::start_with(
            dir.path(),
            &config(&format!("{telemetry}{files}")),
            &[],
            &WITHOUT_DELAY,
        );
        observer.post(event(1)).await;
        wait_for_all_signals(&collector).await;
        observer.kill();
        assert_untrusted(dir.path(), &config(&telemetry), protocol).await;
    }
}

/// Asserts that the log names the missing authority when none is configured.
async fn assert_untrusted(dir: &Path, config: &str, protocol: &str) {
    let mut observer = Observer::start_with(dir, config, &[], &WITHOUT_DELAY);
    observer.post(event(2)).await;
    let entry =
        observer.wait_for_log("the export of telemetry fails; items are lost after a few retries");
    let reason = entry["reason"].as_str().unwrap();
    assert!(reason.contains("UnknownIssuer"), "{protocol}: {reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_success_of_a_collector_is_logged_and_counted() {
    let (dir, collector) = (
        tempfile::tempdir().unwrap(),
        OtlpReceiver::scripted([Reply::partial_success(1, "too many attributes")]),
    );
    let telemetry = format!("endpoint = '{}'\nsignals = ['traces']", collector.url(""));
    let mut observer = Observer::start_with(dir.path(), &config(&telemetry), &[], &WITHOUT_DELAY);
    observer.post(event(1)).await;
    let entry = observer.wait_for_log("the destination rejected telemetry");
    assert_eq!(
        (&entry["signal"], &entry["count"], &entry["reason"]),
        (&"traces".into(), &1.into(), &"too many attributes".into())
    );
    observer
        .wait_for_metrics(|metrics| {
            metrics[r#"observer_telemetry_total{result="failed",signal="traces"}"#] == 1.0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_tls_file_is_reported_before_the_journal_opens() {
    let dir = tempfile::tempdir().unwrap();
    let text = config("endpoint = 'https://127.0.0.1:1'\ntls = { ca = 'gone.pem' }");
    std::fs::write(dir.path().join("observer.toml"), text).unwrap();
    let output = std::process::Command::new(crate::support::OBSERVER)
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8(output.stderr).unwrap();
    let expected = "observer: observer.toml: telemetry: `tls.ca`: gone.pem can't be read: \
                    No such file or directory (os error 2)\n";
    assert_eq!(errors, expected);
    assert!(!dir.path().join("observer-data").exists());
}
