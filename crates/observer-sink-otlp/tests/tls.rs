//! Exports over TLS, with certificates from an authority of the test.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use observer_core::{Batch, Envelope, ErrorKind, Event, EventSink, Timestamp, Uuid};
use observer_sink_otlp::{OtlpConfig, OtlpSink, Protocol, Signal, Tls};
use observer_testing::otlp::OtlpReceiver;
use observer_testing::tls::{CertificateAuthority, ServerTls};

fn batch() -> Batch {
    let envelope = Envelope {
        id: Uuid::from_u128(1),
        seq: 1,
        received_at: Timestamp::from_second(1_767_225_600).unwrap(),
        event: Event::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#).unwrap(),
    };
    Batch::new(1, vec![Arc::new(envelope)])
}

fn sink(config: &OtlpConfig, protocol: Protocol) -> OtlpSink {
    OtlpSink::new(&config.clone().protocol(protocol), Signal::Logs).unwrap()
}

fn write_file(dir: &Path, name: &str, text: &str) -> PathBuf {
    std::fs::write(dir.join(name), text).unwrap();
    dir.join(name)
}

#[tokio::test]
async fn configured_authority_is_trusted() {
    let (dir, ours) = (tempfile::tempdir().unwrap(), CertificateAuthority::new("ours"));
    let receiver = OtlpReceiver::over_tls(ServerTls::signed_by(&ours), []);
    let config = OtlpConfig::new(receiver.url(""));
    for protocol in Protocol::ALL {
        let error = sink(&config, protocol).deliver(&batch()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Blocked, "{}", error.report());
        assert!(
            error.report().contains("UnknownIssuer; `tls.ca` names authorities"),
            "{}",
            error.report()
        );

        let tls = Tls::default().with_ca(write_file(dir.path(), "ca.pem", &ours.pem()));
        let trusting = sink(&config.clone().tls(tls), protocol);
        trusting.check().await.unwrap();
        trusting.deliver(&batch()).await.unwrap();
    }
    assert_eq!(receiver.log_records().len(), 2);
}

#[tokio::test]
async fn client_certificate_is_sent_if_configured() {
    let (dir, ours) = (tempfile::tempdir().unwrap(), CertificateAuthority::new("ours"));
    let receiver = OtlpReceiver::over_tls(
        ServerTls::signed_by(&ours).require_client_certificate_from(&ours),
        [],
    );
    let tls = Tls::default().with_ca(write_file(dir.path(), "ca.pem", &ours.pem()));
    let config = OtlpConfig::new(receiver.url("")).tls(tls.clone());
    let client = ours.issue("client");
    let cert = write_file(dir.path(), "cert.pem", &client.cert);
    let key = write_file(dir.path(), "key.pem", &client.key);
    for protocol in Protocol::ALL {
        let error = sink(&config, protocol).deliver(&batch()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Blocked, "{}", error.report());
        assert!(
            error.report().contains("; `tls.cert` and `tls.key` name a client certificate"),
            "{}",
            error.report()
        );
        let config = config.clone().tls(tls.clone().with_client_cert(&cert, &key));
        sink(&config, protocol).deliver(&batch()).await.unwrap();
    }
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_blocked() {
    let receiver =
        OtlpReceiver::over_tls(ServerTls::signed_by(&CertificateAuthority::new("ours")), []);
    let config = OtlpConfig::new(receiver.url("").replace("https:", "http:"));
    for protocol in Protocol::ALL {
        let error = sink(&config, protocol).deliver(&batch()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Blocked, "{}", error.report());
        assert!(error.report().ends_with(", or requires https://"), "{}", error.report());
    }
}
