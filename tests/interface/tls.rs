//! Events over https, with certificates of an authority that the system doesn't trust.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;
use rcgen::{BasicConstraints, IsCa, KeyPair};

use crate::support::certificates::{certificates, params};
use crate::support::{DEFAULTS, OBSERVER, Observer, text_of};

const EVENT: &str = r#"{"source":"job","event_kind":"ok","ok":true}"#;

fn config(tls: &str) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[server.tls]\nlisten = \"127.0.0.1:0\"\n{tls}")
}

const FILES: &str = "cert = \"server.pem\"\nkey = \"server-key.pem\"\n";

/// Runs the program in a folder with one event on standard input. Returns its output and exit code.
fn run(dir: &Path, arguments: &str) -> String {
    std::fs::write(dir.join("event.ndjson"), EVENT).unwrap();
    let output = Command::new(OBSERVER)
        .args(arguments.split(' '))
        .current_dir(dir)
        .stdin(std::fs::File::open(dir.join("event.ndjson")).unwrap())
        .output()
        .unwrap();
    format!("{}\n=> exit code {}", text_of(&output).trim_end(), output.status.code().unwrap())
}

/// Breaks long lines, so that snapshots of messages stay readable.
fn wrap(text: &str) -> String {
    const WIDTH: usize = 88;
    let mut wrapped = String::new();
    for line in text.lines() {
        let mut width = 0;
        for word in line.split_inclusive(' ') {
            if width + word.trim_end().len() > WIDTH {
                wrapped.truncate(wrapped.trim_end().len());
                wrapped.push_str("\n    ");
                width = 4;
            }
            wrapped.push_str(word);
            width += word.len();
        }
        wrapped.push('\n');
    }
    wrapped
}

#[tokio::test]
async fn emit_works_over_https_and_a_failure_names_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let observer = Observer::start(dir.path(), &config(FILES));
    let [plain, tls] = [observer.urls[0].clone(), observer.urls[1].clone()];
    let port = |url: &str| url.rsplit(':').next().unwrap().to_owned();
    let (plain_port, tls_port) = (port(&plain), port(&tls));
    assert_eq!(tls, format!("https://127.0.0.1:{tls_port}"));
    let emit = |arguments: &str| {
        let arguments = arguments.replace("TLS", &tls_port).replace("PLAIN", &plain_port);
        let output = run(dir.path(), &format!("emit {arguments}"));
        wrap(&output.replace(&tls_port, "TLS").replace(&plain_port, "PLAIN"))
    };
    assert_snapshot!(emit("--url https://localhost:TLS --cacert ca.pem -"), @"
    1 event: 1 accepted, 0 duplicate, 0 rejected
    => exit code 0
    ");
    let client = "--cert client.pem --key client-key.pem";
    assert_snapshot!(emit(&format!("--url https://127.0.0.1:TLS --cacert ca.pem {client} -")), @"
    1 event: 1 accepted, 0 duplicate, 0 rejected
    => exit code 0
    ");
    assert_snapshot!(emit("--url https://localhost:TLS -"), @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: standard input:1: TLS handshake with https://localhost:TLS/v1/events failed:
        invalid peer certificate: UnknownIssuer; trust its authority with --cacert
    => exit code 2
    ");
    assert_snapshot!(emit("--url https://localhost:TLS --cacert other-ca.pem -"), @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: standard input:1: TLS handshake with https://localhost:TLS/v1/events failed:
        invalid peer certificate: UnknownIssuer; trust its authority with --cacert
    => exit code 2
    ");
    assert_snapshot!(emit("--url http://localhost:TLS -"), @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: standard input:1: http://localhost:TLS/v1/events accepts no events: 421 this
        port requires TLS; use a URL that begins with https://
    => exit code 2
    ");
    assert_snapshot!(emit("--url https://localhost:PLAIN --cacert ca.pem -"), @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: standard input:1: TLS handshake with https://localhost:PLAIN/v1/events failed:
        received corrupt message of type InvalidContentType; for an observer without TLS,
        use an http:// URL
    => exit code 2
    ");
    assert_snapshot!(emit("--url http://localhost:PLAIN --cacert ca.pem -"), @"
    observer: --cacert, --cert and --key need an https:// URL, and this one begins with
        http://
    => exit code 2
    ");
    assert_snapshot!(emit("--url https://localhost:TLS --cacert no-ca.pem -"), @"
    observer: no-ca.pem can't be read: No such file or directory (os error 2)
    => exit code 2
    ");
    let mixed = "--cert client.pem --key server-key.pem";
    assert_snapshot!(emit(&format!("--url https://localhost:TLS {mixed} -")), @"
    observer: the private key in server-key.pem does not belong to the first certificate in
        client.pem; list authorities after the certificate that they sign
    => exit code 2
    ");
    observer.wait_until_caught_up().await;
    assert_eq!(observer.archive().len(), 2, "one event for each successful command");
}

#[tokio::test]
async fn client_needs_a_certificate_of_a_configured_authority() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let observer =
        Observer::start(dir.path(), &config(&format!("{FILES}client_ca = \"ca.pem\"\n")));
    let url = &observer.urls[1];
    let emit = |arguments: &str| {
        let output = run(dir.path(), &format!("emit --url {url} --cacert ca.pem {arguments}-"));
        wrap(&output.replace(url, "https://observer"))
    };
    assert_snapshot!(emit("--cert client.pem --key client-key.pem "), @"
    1 event: 1 accepted, 0 duplicate, 0 rejected
    => exit code 0
    ");
    assert_snapshot!(emit(""), @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: standard input:1: TLS handshake with https://observer/v1/events failed:
        received fatal alert: CertificateRequired; present a client certificate with --cert
        and --key
    => exit code 2
    ");
    assert_snapshot!(emit("--cert stranger.pem --key stranger-key.pem "), @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: standard input:1: TLS handshake with https://observer/v1/events failed:
        received fatal alert: UnknownCA; the observer does not trust the authority that
        signed --cert; add it to server.tls.client_ca there
    => exit code 2
    ");
    assert_eq!(observer.post(EVENT).await.status, 200, "the plain listener needs no certificate");
}

#[tokio::test]
async fn self_signed_certificate_is_trusted_unless_it_is_an_authority() {
    let dir = tempfile::tempdir().unwrap();
    let emit = |is_ca: IsCa| {
        let (mut params, key) = (params("self"), KeyPair::generate().unwrap());
        params.is_ca = is_ca;
        std::fs::write(dir.path().join("server.pem"), params.self_signed(&key).unwrap().pem())
            .unwrap();
        std::fs::write(dir.path().join("server-key.pem"), key.serialize_pem()).unwrap();
        let observer = Observer::start(dir.path(), &config(FILES));
        let url = &observer.urls[1];
        let output = run(dir.path(), &format!("emit --url {url} --cacert server.pem -"));
        wrap(&output.replace(url, "https://observer"))
    };
    assert_snapshot!(emit(IsCa::ExplicitNoCa), @"
    1 event: 1 accepted, 0 duplicate, 0 rejected
    => exit code 0
    ");
    assert_snapshot!(emit(IsCa::Ca(BasicConstraints::Unconstrained)), @"
    0 events: 0 accepted, 0 duplicate, 0 rejected
    observer: standard input:1: TLS handshake with https://observer/v1/events failed:
        invalid peer certificate: Other(OtherError(CaUsedAsEndEntity)); the observer
        presents an authority's certificate (CA:TRUE) as its own; configure one without
        CA:TRUE there
    => exit code 2
    ");
}

#[tokio::test]
async fn reload_replaces_a_certificate_and_an_invalid_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let observer = Observer::start(dir.path(), &config(FILES));
    let url = &observer.urls[1];
    let emit = |ca: &str| run(dir.path(), &format!("emit --url {url} --cacert {ca} -"));
    assert!(emit("ca.pem").ends_with("=> exit code 0"));

    // Renewal in place, as by the usual tools: the certificate is new and its key is not yet.
    std::fs::copy(dir.path().join("stranger.pem"), dir.path().join("server.pem")).unwrap();
    let refused = observer.reload().await;
    assert_eq!(refused.status, 422);
    assert_snapshot!(wrap(refused.json()["detail"].as_str().unwrap()), @"
    nothing has changed: observer.toml: server.tls.key: the private key in server-key.pem
        does not belong to the first certificate in server.pem; list authorities after the
        certificate that they sign
    ");
    assert!(emit("ca.pem").ends_with("=> exit code 0"));

    std::fs::copy(dir.path().join("stranger-key.pem"), dir.path().join("server-key.pem")).unwrap();
    let reloaded = observer.reload().await;
    assert_eq!(
        (reloaded.status, &reloaded.json()["restart_needed"]),
        (200, &serde_json::json!([]))
    );
    assert!(emit("ca.pem").contains("UnknownIssuer"));
    assert!(emit("other-ca.pem").ends_with("=> exit code 0"));

    observer.write_config(&config(FILES).replacen(
        "[server.tls]\nlisten = \"127.0.0.1:0\"",
        "[server.tls]\nlisten = \"[::1]:0\"",
        1,
    ));
    assert_eq!(
        observer.reload().await.json()["restart_needed"],
        serde_json::json!(["server.tls.listen"])
    );
}

#[test]
fn emit_over_plain_http_needs_no_system_authorities() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    std::fs::write(dir.path().join("none.pem"), "").unwrap();
    let output = Command::new(OBSERVER)
        .args(["emit", "--source", "job", "--event-kind", "ok", "--ok", "--url", &observer.url])
        .env("SSL_CERT_FILE", dir.path().join("none.pem"))
        .env("SSL_CERT_DIR", dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn tls_files_are_checked_with_the_configuration_before_the_journal_opens() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let check = |command: &str, tls: &str| {
        std::fs::write(dir.path().join("observer.toml"), config(tls)).unwrap();
        wrap(&run(dir.path(), command))
    };
    assert_snapshot!(check("check", &format!("{FILES}client_ca = \"ca.pem\"\n")), @"
    config   observer.toml
    listen   127.0.0.1:0, 127.0.0.1:0 (TLS with client certificates)
    access   without a token for ingest, read and relay
    socket   observer-data/admin.sock
    data     observer-data
    journal  observer-data/journal (fsync, at most 10.0 GiB, delivered events kept for 1day)

    sink        type        check
    archive     file        ok
    kb          kb          ok
    prometheus  prometheus  ok
    => exit code 0
    ");
    let key = dir.path().join("server-key.pem");
    std::fs::set_permissions(key, Permissions::from_mode(0o604)).unwrap();
    let readable = check("check", FILES);
    assert!(readable.contains("warning  the TLS key can be read by every user"), "{readable}");
    assert_snapshot!(check("check", "cert = \"server.pem\"\nkey = \"client-key.pem\"\n"), @"
    observer: observer.toml: server.tls.key: the private key in client-key.pem does not
        belong to the first certificate in server.pem; list authorities after the
        certificate that they sign
    => exit code 2
    ");
    assert_snapshot!(check("check", "cert = \"server-key.pem\"\nkey = \"server-key.pem\"\n"), @"
    observer: observer.toml: server.tls.cert: server-key.pem has no certificate; in PEM it
        begins with -----BEGIN CERTIFICATE-----
    => exit code 2
    ");
    assert_snapshot!(check("check", &format!("{FILES}client_ca = \"no-ca.pem\"\n")), @"
    observer: observer.toml: server.tls.client_ca: no-ca.pem can't be read: No such file or
        directory (os error 2)
    => exit code 2
    ");
    assert_snapshot!(check("serve", "cert = \"server.pem\"\nkey = \"server.pem\"\n"), @"
    observer: observer.toml: server.tls.key: server.pem has no private key; in PEM it begins
        with -----BEGIN PRIVATE KEY-----
    => exit code 2
    ");
    assert!(!dir.path().join("observer-data/journal").exists());
}
