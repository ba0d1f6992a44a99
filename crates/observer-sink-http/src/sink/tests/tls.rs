//! Over https, with certificates of an authority that no system knows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use observer_core::{ErrorKind, EventSink};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::receiver::Receiver;
use super::{failed, sink};
use crate::config::HttpConfig;
use crate::testing::batch;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str) -> CertificateParams {
    let mut params =
        CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> Authority {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A far side that shows a certificate of this authority and, where clients have one, wants a
/// certificate of theirs. It takes everything.
struct FarSide {
    url: String,
    serving: JoinHandle<()>,
}

impl FarSide {
    async fn start(authority: &Authority, clients: Option<&Authority>) -> Self {
        let key = KeyPair::generate().unwrap();
        let cert = params("server").signed_by(&key, authority).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier = match clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.der().clone()).unwrap();
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .unwrap()
            }
        };
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![cert.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = match acceptor.accept(stream).into_fallible().await {
                    Ok(stream) => stream,
                    // Unread bytes would have the connection reset, and the alert lost.
                    Err((_, mut stream)) => {
                        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                        continue;
                    }
                };
                let mut request = Vec::new();
                while !request.ends_with(b"]") && !request.starts_with(b"OPTIONS") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                    .await;
                let _ = stream.shutdown().await;
            }
        });
        Self { url, serving }
    }
}

impl Drop for FarSide {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn written(dir: &Path, name: &str, text: String) -> PathBuf {
    std::fs::write(dir.join(name), text).unwrap();
    dir.join(name)
}

/// A certificate of this authority with its key.
fn certificate(dir: &TempDir, authority: &Authority) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let cert = params("client").signed_by(&key, authority).unwrap().pem();
    (written(dir.path(), "cert.pem", cert), written(dir.path(), "key.pem", key.serialize_pem()))
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let (dir, ours) = (tempfile::tempdir().unwrap(), authority("ours"));
    let far_side = FarSide::start(&ours, None).await;
    let config = HttpConfig::new(&*far_side.url);
    let stranger = sink(&config);
    for error in
        [stranger.deliver(&batch(1)).await.unwrap_err(), stranger.check().await.unwrap_err()]
    {
        failed(
            &error,
            ErrorKind::Blocked,
            &format!(
                "no TLS with {}: invalid peer certificate: UnknownIssuer; `tls.ca`",
                far_side.url
            ),
        );
    }
    let other =
        sink(&config.clone().trust(written(dir.path(), "other.pem", authority("other").pem())));
    failed(&other.deliver(&batch(1)).await.unwrap_err(), ErrorKind::Blocked, "UnknownIssuer");

    let friend = sink(&config.trust(written(dir.path(), "ca.pem", ours.pem())));
    friend.check().await.unwrap();
    friend.deliver(&batch(2)).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_shown_to_who_wants_one_and_a_renewed_one_is_found_while_the_sink_is_parked()
 {
    let (dir, ours) = (tempfile::tempdir().unwrap(), authority("ours"));
    let far_side = FarSide::start(&ours, Some(&ours)).await;
    let config = HttpConfig::new(&*far_side.url).trust(written(dir.path(), "ca.pem", ours.pem()));
    let nobody = sink(&config).deliver(&batch(1)).await.unwrap_err();
    failed(&nobody, ErrorKind::Blocked, "; `tls.cert` and `tls.key` name a certificate to show");

    let (cert, key) = certificate(&dir, &authority("other"));
    let sink = sink(&config.certificate(cert, key));
    assert_eq!(sink.deliver(&batch(1)).await.unwrap_err().kind, ErrorKind::Blocked);
    certificate(&dir, &ours);
    sink.check().await.unwrap();
    sink.deliver(&batch(1)).await.unwrap();
}

#[tokio::test]
async fn files_that_can_not_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let config = || HttpConfig::new("https://127.0.0.1:1");
    let check = async |config: HttpConfig, reason: &str| {
        failed(&sink(&config).check().await.unwrap_err(), ErrorKind::Blocked, reason);
        failed(&sink(&config).deliver(&batch(1)).await.unwrap_err(), ErrorKind::Blocked, reason);
    };
    check(config().trust(at("gone.pem")), "gone.pem can't be read: No such file").await;
    written(dir.path(), "empty.pem", String::new());
    check(config().trust(at("empty.pem")), "empty.pem holds no certificate in PEM").await;
    check(config().certificate(at("empty.pem"), at("gone.pem")), "`tls.key`: ").await;
    check(
        config().certificate(at("empty.pem"), at("empty.pem")),
        "are no certificate with its private key",
    )
    .await;
    let (cert, _) = certificate(&dir, &authority("ours"));
    let other = written(dir.path(), "other-key.pem", KeyPair::generate().unwrap().serialize_pem());
    check(config().certificate(cert, other), "there can be no TLS: ").await;
}

#[tokio::test]
async fn plain_http_is_told_apart_from_tls() {
    let receiver = Receiver::start();
    let url = receiver.url.replace("http://", "https://");
    let error = sink(&HttpConfig::new(url)).deliver(&batch(1)).await.unwrap_err();
    failed(
        &error,
        ErrorKind::Blocked,
        "; perhaps it speaks plain HTTP, and `url` has to begin with http://",
    );
}
