//! Receiver over TLS, with certificates from authorities of the test.

use observer_testing::otlp::{OtlpReceiver, Signal};
use observer_testing::tls::{CertificateAuthority, ServerTls};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Error, Identity};

use crate::client::{id, logs};

async fn export(receiver: &OtlpReceiver, tls: ClientTlsConfig) -> Result<(), Error> {
    let channel = Endpoint::from_shared(receiver.url(""))?.tls_config(tls)?.connect().await?;
    LogsServiceClient::new(channel).export(logs(&[(1, "a")])).await.unwrap();
    Ok(())
}

#[tokio::test]
async fn client_trusts_the_configured_authority_only() {
    let authority = CertificateAuthority::new("ours");
    let receiver = OtlpReceiver::over_tls(ServerTls::signed_by(&authority), []);
    assert!(receiver.url("").starts_with("https://"));
    let trusting = |authority: &CertificateAuthority| {
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem()))
    };
    export(&receiver, trusting(&authority)).await.unwrap();
    assert_eq!(receiver.event_ids(Signal::Logs), [id(1)]);
    let error =
        export(&receiver, trusting(&CertificateAuthority::new("another"))).await.unwrap_err();
    assert!(
        format!("{error:?}").contains("UnknownIssuer")
            || format!("{error:?}").contains("BadSignature"),
        "{error:?}"
    );
    LogsServiceClient::connect(receiver.url("").replace("https", "http"))
        .await
        .unwrap()
        .export(logs(&[(2, "b")]))
        .await
        .unwrap_err();
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn clients_without_a_certificate_of_the_authority_are_rejected() {
    let (authority, clients) =
        (CertificateAuthority::new("ours"), CertificateAuthority::new("clients"));
    let receiver = OtlpReceiver::over_tls(
        ServerTls::signed_by(&authority).require_client_certificate_from(&clients),
        [],
    );
    let trusting = || ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem()));
    let client = clients.issue("client");
    export(&receiver, trusting().identity(Identity::from_pem(client.cert, client.key)))
        .await
        .unwrap();

    let other = authority.issue("other");
    for tls in [trusting(), trusting().identity(Identity::from_pem(other.cert, other.key))] {
        let channel = Endpoint::from_shared(receiver.url(""))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect_lazy();
        let refused = LogsServiceClient::new(channel).export(logs(&[(2, "b")])).await;
        let error = refused.unwrap_err();
        let text = format!("{error:?}");
        assert!(
            text.contains("CertificateRequired")
                || text.contains("UnknownCA")
                || text.contains("DecryptError"),
            "{text}"
        );
    }
    assert_eq!(receiver.requests().len(), 1);
}
