//! Over TLS, with certificates of an authority that no system knows.
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

fn written(dir: &Path, name: &str, text: &str) -> PathBuf {
    std::fs::write(dir.join(name), text).unwrap();
    dir.join(name)
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let (dir, ours) = (tempfile::tempdir().unwrap(), CertificateAuthority::new("ours"));
    let receiver = OtlpReceiver::over_tls(ServerTls::signed_by(&ours), []);
    let config = OtlpConfig::new(receiver.url(""));
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let stranger = sink(&config, protocol).deliver(&batch()).await.unwrap_err();
        assert_eq!(stranger.kind, ErrorKind::Blocked, "{}", stranger.report());
        assert!(
            stranger.report().contains("UnknownIssuer; `tls.ca` names authorities"),
            "{}",
            stranger.report()
        );

        let tls = Tls::default().with_ca(written(dir.path(), "ca.pem", &ours.pem()));
        let friend = sink(&config.clone().tls(tls), protocol);
        friend.check().await.unwrap();
        friend.deliver(&batch()).await.unwrap();
    }
    assert_eq!(receiver.log_records().len(), 2);
}

#[tokio::test]
async fn a_certificate_is_shown_to_who_wants_one() {
    let (dir, ours) = (tempfile::tempdir().unwrap(), CertificateAuthority::new("ours"));
    let receiver = OtlpReceiver::over_tls(
        ServerTls::signed_by(&ours).require_client_certificate_from(&ours),
        [],
    );
    let tls = Tls::default().with_ca(written(dir.path(), "ca.pem", &ours.pem()));
    let config = OtlpConfig::new(receiver.url("")).tls(tls.clone());
    let client = ours.issue("client");
    let cert = written(dir.path(), "cert.pem", &client.cert);
    let key = written(dir.path(), "key.pem", &client.key);
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let nobody = sink(&config, protocol).deliver(&batch()).await.unwrap_err();
        assert_eq!(nobody.kind, ErrorKind::Blocked, "{}", nobody.report());
        assert!(
            nobody.report().contains("; `tls.cert` and `tls.key` name a client certificate"),
            "{}",
            nobody.report()
        );
        let config = config.clone().tls(tls.clone().with_client_cert(&cert, &key));
        sink(&config, protocol).deliver(&batch()).await.unwrap();
    }
}

#[tokio::test]
async fn who_wants_tls_is_not_spoken_to_without() {
    let receiver =
        OtlpReceiver::over_tls(ServerTls::signed_by(&CertificateAuthority::new("ours")), []);
    let config = OtlpConfig::new(receiver.url("").replace("https:", "http:"));
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let error = sink(&config, protocol).deliver(&batch()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Blocked, "{}", error.report());
        assert!(error.report().ends_with(", or wants https://"), "{}", error.report());
    }
}
