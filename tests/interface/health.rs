//! `observer health` as a container runs it: by the configuration, without a token.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::support::certificates::certificates;
use crate::support::{OBSERVER, Observer, text_of};

/// Returns the exit code and the output, in which the port is `PORT` and the duration `MS`.
fn health(dir: &Path, port: u16, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(OBSERVER);
    // A proxy of the environment must not be asked for an address of this machine.
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9");
    let output = command.arg("health").args(arguments).current_dir(dir).output().unwrap();
    let text = text_of(&output).replace(&port.to_string(), "PORT");
    let text = match text.split_once(" in ") {
        Some((before, _)) => format!("{before} in MS"),
        None => text,
    };
    (output.status.code(), text.trim_end().to_owned())
}

/// Returns a port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn health_asks_the_configured_address_by_the_loopback() {
    for (listen, loopback) in [("[::]", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("[::1]", "[::1]")] {
        let dir = tempfile::tempdir().unwrap();
        let port = port();
        let config =
            format!("[server]\nlisten = \"{listen}:{port}\"\n[access]\nanonymous = [\"ingest\"]\n");
        let observer = Observer::start(dir.path(), &config);
        let url = format!("http://{loopback}:PORT");
        assert_eq!(
            health(dir.path(), port, &[]),
            (Some(0), format!("alive: {url}/livez responded in MS"))
        );
        assert_eq!(
            health(dir.path(), port, &["--ready"]),
            (Some(0), format!("ready: {url}/readyz responded in MS"))
        );
        observer.terminate();
        assert_eq!(
            health(dir.path(), port, &[]),
            (
                Some(1),
                format!(
                    "observer: unhealthy: {url}/livez is unreachable: Connection refused (os \
                     error 111)"
                )
            )
        );
    }
}

#[tokio::test]
async fn health_of_a_configured_address_needs_no_authority_and_that_of_a_url_does() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let port = port();
    let config = format!(
        "[server]\nlisten = []\n[server.tls]\nlisten = \"127.0.0.1:{port}\"\n\
         cert = \"server.pem\"\nkey = \"server-key.pem\"\n"
    );
    let _observer = Observer::start(dir.path(), &config);
    let url = format!("https://127.0.0.1:{port}");
    let healthy = "alive: https://127.0.0.1:PORT/livez responded in MS".to_owned();
    assert_eq!(health(dir.path(), port, &[]), (Some(0), healthy.clone()));
    let (code, text) = health(dir.path(), port, &["--url", &url]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("UnknownIssuer; trust its authority with --cacert"), "{text}");
    assert_eq!(
        health(dir.path(), port, &["--url", &url, "--cacert", "ca.pem"]),
        (Some(0), healthy)
    );
}

#[test]
fn health_of_an_observer_that_does_not_respond_fails_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        health(dir.path(), port, &["--url", &url, "--timeout", "100ms"]),
        (
            Some(1),
            "observer: unhealthy: http://127.0.0.1:PORT/livez did not respond within 100ms"
                .to_owned()
        )
    );
}

#[test]
fn health_of_an_invalid_configuration_fails() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("observer.toml"), "[server]\nlisten = \"3800\"\n").unwrap();
    let (code, text) = health(dir.path(), 0, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("observer: unhealthy: "), "{text}");
}
