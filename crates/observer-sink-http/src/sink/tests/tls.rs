//! Delivery over https, with certificates of an authority that no system trusts.

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
use super::{assert_error, sink};
use crate::Tls;
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

/// TLS server that accepts every request. Its certificate is signed by `authority`; with `clients`,
/// it requires a client certificate that is signed by that authority.
struct TlsServer {
    url: String,
    serving: JoinHandle<()>,
}

impl TlsServer {
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
                    // Unread bytes would reset the connection and lose the alert.
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

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn written(dir: &Path, name: &str, text: String) -> PathBuf {
    std::fs::write(dir.join(name), text).unwrap();
    dir.join(name)
}

/// Writes a certificate that `authority` signs, and its key.
fn certificate(dir: &TempDir, authority: &Authority) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let cert = params("client").signed_by(&key, authority).unwrap().pem();
    (written(dir.path(), "cert.pem", cert), written(dir.path(), "key.pem", key.serialize_pem()))
}

#[tokio::test]
async fn configured_authority_is_trusted() {
    let (dir, ours) = (tempfile::tempdir().unwrap(), authority("ours"));
    let server = TlsServer::start(&ours, None).await;
    let config = HttpConfig::new(&*server.url);
    let untrusting = sink(&config);
    for error in
        [untrusting.deliver(&batch(1)).await.unwrap_err(), untrusting.check().await.unwrap_err()]
    {
        assert_error(
            &error,
            ErrorKind::Blocked,
            &format!(
                "TLS with {} failed: invalid peer certificate: UnknownIssuer; `tls.ca`",
                server.url
            ),
        );
    }
    let other_ca = written(dir.path(), "other.pem", authority("other").pem());
    let other = sink(&config.clone().tls(Tls::default().with_ca(other_ca)));
    assert_error(&other.deliver(&batch(1)).await.unwrap_err(), ErrorKind::Blocked, "UnknownIssuer");

    let ca = written(dir.path(), "ca.pem", ours.pem());
    let trusting = sink(&config.tls(Tls::default().with_ca(ca)));
    trusting.check().await.unwrap();
    trusting.deliver(&batch(2)).await.unwrap();
}

#[tokio::test]
async fn check_reads_a_renewed_client_certificate() {
    let (dir, ours) = (tempfile::tempdir().unwrap(), authority("ours"));
    let server = TlsServer::start(&ours, Some(&ours)).await;
    let tls = Tls::default().with_ca(written(dir.path(), "ca.pem", ours.pem()));
    let config = HttpConfig::new(&*server.url).tls(tls.clone());
    let error = sink(&config).deliver(&batch(1)).await.unwrap_err();
    assert_error(
        &error,
        ErrorKind::Blocked,
        "; `tls.cert` and `tls.key` name a client certificate",
    );

    let (cert, key) = certificate(&dir, &authority("other"));
    let sink = sink(&config.tls(tls.with_client_cert(cert, key)));
    assert_eq!(sink.deliver(&batch(1)).await.unwrap_err().kind, ErrorKind::Blocked);
    certificate(&dir, &ours);
    sink.check().await.unwrap();
    sink.deliver(&batch(1)).await.unwrap();
}

#[tokio::test]
async fn unusable_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let check = async |tls: Tls, reason: &str| {
        let config = HttpConfig::new("https://127.0.0.1:1").tls(tls);
        assert_error(&sink(&config).check().await.unwrap_err(), ErrorKind::Blocked, reason);
        assert_error(
            &sink(&config).deliver(&batch(1)).await.unwrap_err(),
            ErrorKind::Blocked,
            reason,
        );
    };
    let with_ca = |name| Tls::default().with_ca(at(name));
    let with_client_cert = |cert, key| Tls::default().with_client_cert(at(cert), at(key));
    check(with_ca("gone.pem"), "gone.pem can't be read: No such file").await;
    written(dir.path(), "empty.pem", String::new());
    check(with_ca("empty.pem"), "empty.pem holds no certificate in PEM").await;
    check(with_client_cert("empty.pem", "gone.pem"), "`tls.key`: ").await;
    check(
        with_client_cert("empty.pem", "empty.pem"),
        "do not contain a certificate and its private key",
    )
    .await;
    certificate(&dir, &authority("ours"));
    written(dir.path(), "other-key.pem", KeyPair::generate().unwrap().serialize_pem());
    check(with_client_cert("cert.pem", "other-key.pem"), "TLS can't be set up: ").await;
}

#[tokio::test]
async fn plain_http_on_a_tls_url_is_explained() {
    let receiver = Receiver::start();
    let url = receiver.url.replace("http://", "https://");
    let error = sink(&HttpConfig::new(url)).deliver(&batch(1)).await.unwrap_err();
    assert_error(
        &error,
        ErrorKind::Blocked,
        "; if the destination speaks plain HTTP, `url` must begin with http://",
    );
}
