use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use insta::assert_snapshot;
use observer_pipeline::Pipeline;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::support::certificates::{Authority, Files, Identity};
use super::support::client::{Client, TEST_TIMEOUT, post};
use super::support::setup::{EVENT, Running, options, serve, serve_until};
use crate::{Server, ServerOptions, TlsOptions};

async fn serve_tls(tls: TlsOptions) -> Running {
    serve(ServerOptions { tls: Some(tls), ..options() }, Pipeline::builder().start().await.unwrap())
        .await
}

fn client_config(
    authority: &Authority,
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { cert, key }) => {
            let chain =
                CertificateDer::pem_slice_iter(cert.as_bytes()).map(Result::unwrap).collect();
            builder
                .with_client_auth_cert(
                    chain,
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap()
        }
    }
}

async fn dial(
    address: SocketAddr,
    config: impl Into<Arc<ClientConfig>>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let dialled = TlsConnector::from(config.into()).connect(ServerName::from(address.ip()), stream);
    tokio::time::timeout(TEST_TIMEOUT, dialled)
        .await
        .expect("the server responds or closes in time")
}

impl Running {
    async fn dial(&self, config: impl Into<Arc<ClientConfig>>) -> io::Result<TlsStream<TcpStream>> {
        dial(self.tls_address.unwrap(), config).await
    }

    async fn tls_client(&self, config: impl Into<Arc<ClientConfig>>) -> Client {
        Client::over(self.dial(config).await.unwrap())
    }

    async fn failures(&self) -> u64 {
        let metrics = self.client().await.get("/metrics").await.body;
        let sample = metrics
            .lines()
            .find_map(|line| line.strip_prefix("observer_tls_handshake_failures_total "));
        sample.unwrap().parse().unwrap()
    }

    /// Waits until this many failures are counted, which may be after the client has seen them.
    async fn expect_failures(&self, times: u64) {
        let counted = async { while self.failures().await < times {} };
        tokio::time::timeout(TEST_TIMEOUT, counted).await.expect("the failure is counted");
        assert_eq!(self.failures().await, times);
    }
}

/// Sends a request whether or not the handshake succeeds, and returns the error of the client.
async fn rejection(server: &Running, config: ClientConfig) -> String {
    let mut stream = match server.dial(config).await {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    // More than the buffers of both sockets hold.
    stream.write_all(post("", &" ".repeat(12 << 20)).as_bytes()).await.unwrap();
    let read = tokio::time::timeout(TEST_TIMEOUT, stream.read_u8()).await;
    read.expect("the server responds or closes in time").unwrap_err().to_string()
}

#[tokio::test]
async fn events_are_accepted_over_both_versions_of_tls_and_plain_http() {
    let authority = Authority::new("one");
    let files = Files::of(&authority.sign("server"));
    let server = serve_tls(files.options()).await;
    for version in [&version::TLS12, &version::TLS13] {
        let mut config = client_config(&authority, None, &[version]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = server.dial(config).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut client = Client::over(stream);
        for _ in 0..2 {
            assert_eq!(client.post(EVENT).await.text("status"), "accepted");
        }
    }
    assert_eq!(server.client().await.post(EVENT).await.status, 200);
    assert_eq!(server.pipeline.status().ingest.accepted, 5);
    assert_eq!(server.failures().await, 0);
}

#[tokio::test]
async fn server_can_listen_for_tls_only() {
    let authority = Authority::new("one");
    let files = Files::of(&authority.sign("server"));
    let pipeline = Pipeline::builder().start().await.unwrap();
    let options = ServerOptions { listen: Vec::new(), tls: Some(files.options()), ..options() };
    let server = Server::bind(options, pipeline, prometheus::Registry::new()).await.unwrap();
    assert!(server.local_addrs().is_empty());
    let address = server.local_tls_addrs()[0];
    let running = tokio::spawn(server.run(std::future::pending(), TEST_TIMEOUT));
    let stream =
        dial(address, client_config(&authority, None, rustls::ALL_VERSIONS)).await.unwrap();
    assert_eq!(Client::over(stream).post(EVENT).await.status, 200);
    running.abort();
}

#[tokio::test]
async fn untrusting_client_disconnects_and_the_next_one_is_served() {
    let (authority, other) = (Authority::new("one"), Authority::new("two"));
    let files = Files::of(&authority.sign("server"));
    let server = serve_tls(files.options()).await;
    let rejected =
        server.dial(client_config(&other, None, rustls::ALL_VERSIONS)).await.unwrap_err();
    assert_eq!(rejected.to_string(), "invalid peer certificate: UnknownIssuer");
    server.expect_failures(1).await;
    let mut client = server.tls_client(client_config(&authority, None, rustls::ALL_VERSIONS)).await;
    assert_eq!(client.post(EVENT).await.status, 200);
}

#[tokio::test]
async fn mutual_tls_accepts_signed_clients_and_alerts_the_others() {
    let (authority, clients, other) =
        (Authority::new("one"), Authority::new("clients"), Authority::new("other"));
    let files = Files::of(&authority.sign("server"));
    let server = serve_tls(files.mutual_tls(&clients)).await;
    let (known, strange) = (clients.sign("client"), other.sign("client"));
    for version in [&version::TLS12, &version::TLS13] {
        let config = |identity| client_config(&authority, identity, &[version]);
        let mut client = server.tls_client(config(Some(&known))).await;
        assert_eq!(client.post(EVENT).await.status, 200);

        assert_eq!(
            rejection(&server, config(None)).await,
            "received fatal alert: CertificateRequired"
        );
        assert_eq!(
            rejection(&server, config(Some(&strange))).await,
            "received fatal alert: UnknownCA"
        );
    }
    server.expect_failures(4).await;
    assert_eq!(
        server.pipeline.status().ingest.accepted,
        2,
        "no event of a rejected client was accepted"
    );
}

#[tokio::test]
async fn tls_reload_applies_to_new_connections_only() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::of(&old.sign("server"));
    let server = serve_tls(files.options()).await;
    let mut earlier = server.tls_client(client_config(&old, None, rustls::ALL_VERSIONS)).await;
    assert_eq!(earlier.post(EVENT).await.status, 200);

    files.write_identity(&new.sign("server"));
    server.tls.as_ref().unwrap().reload(&files.options()).unwrap();
    let mut later = server.tls_client(client_config(&new, None, rustls::ALL_VERSIONS)).await;
    assert_eq!(later.post(EVENT).await.status, 200);
    assert!(
        server.dial(client_config(&old, None, rustls::ALL_VERSIONS)).await.is_err(),
        "the old certificate is replaced"
    );
    assert_eq!(earlier.post(EVENT).await.status, 200);
}

#[tokio::test]
async fn expiry_of_the_served_certificate_is_exported_and_follows_a_reload() {
    const NAME: &str = "observer_certificate_expiry_timestamp_seconds";
    let authority = Authority::new("one");
    let files = Files::of(&authority.sign_until(2030));
    let server = serve_tls(files.options()).await;
    let exported = async || {
        let metrics = server.client().await.get("/metrics").await.body;
        let line = metrics.lines().find(|line| line.starts_with(NAME));
        line.map(str::to_owned)
    };
    let sample = |file: &str, seconds: u64| {
        Some(format!("{NAME}{{file={:?}}} {seconds}", files.path(file).display().to_string()))
    };
    assert_eq!(exported().await, sample("cert.pem", 1_893_456_000));

    files.write_identity(&authority.sign_until(2031));
    server.tls.as_ref().unwrap().reload(&files.options()).unwrap();
    assert_eq!(exported().await, sample("cert.pem", 1_924_992_000));

    let renamed = TlsOptions {
        cert: files.write("renamed.pem", &std::fs::read_to_string(files.path("cert.pem")).unwrap()),
        ..files.options()
    };
    server.tls.as_ref().unwrap().reload(&renamed).unwrap();
    assert_eq!(exported().await, sample("renamed.pem", 1_924_992_000));

    let plain = serve(options(), Pipeline::builder().start().await.unwrap()).await;
    let metrics = plain.client().await.get("/metrics").await.body;
    assert!(!metrics.contains(NAME), "{metrics}");
}

#[tokio::test]
async fn sessions_are_resumed_only_without_client_certificates() {
    use rustls::HandshakeKind::{Full, Resumed};
    let (authority, clients) = (Authority::new("one"), Authority::new("clients"));
    let files = Files::of(&authority.sign("server"));
    for (options, expected) in
        [(files.options(), [Full, Resumed]), (files.mutual_tls(&clients), [Full, Full])]
    {
        let identity = options.client_ca.is_some().then(|| clients.sign("client"));
        let server = serve_tls(options).await;
        for version in [&version::TLS12, &version::TLS13] {
            let config = Arc::new(client_config(&authority, identity.as_ref(), &[version]));
            for kind in expected {
                assert_eq!(handshake_with_event(&server, &config).await, kind);
            }
        }
    }
}

/// Sends an event over a new connection, and returns the kind of its handshake.
async fn handshake_with_event(
    server: &Running,
    config: &Arc<ClientConfig>,
) -> rustls::HandshakeKind {
    let mut stream = server.dial(config.clone()).await.unwrap();
    stream.write_all(post("", EVENT).as_bytes()).await.unwrap();
    stream.read_u8().await.unwrap();
    stream.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test]
async fn session_from_before_a_reload_does_not_bypass_the_new_authorities() {
    let (authority, clients, others) =
        (Authority::new("one"), Authority::new("clients"), Authority::new("others"));
    let files = Files::of(&authority.sign("server"));
    let server = serve_tls(files.mutual_tls(&clients)).await;
    for version in [&version::TLS12, &version::TLS13] {
        server.tls.as_ref().unwrap().reload(&files.mutual_tls(&clients)).unwrap();
        let config = Arc::new(client_config(&authority, Some(&clients.sign("client")), &[version]));
        handshake_with_event(&server, &config).await;
        server.tls.as_ref().unwrap().reload(&files.mutual_tls(&others)).unwrap();
        assert_eq!(rejection(&server, (*config).clone()).await, "received fatal alert: UnknownCA");
    }
}

#[tokio::test]
async fn tls_reload_of_invalid_files_changes_nothing() {
    let authority = Authority::new("one");
    let files = Files::of(&authority.sign("server"));
    let server = serve_tls(files.options()).await;
    files.write("key.pem", &authority.sign("another").key);
    let error = server.tls.as_ref().unwrap().reload(&files.options()).unwrap_err();
    assert!(
        error.to_string().contains("key.pem does not belong to the first certificate in"),
        "{error}"
    );
    let mut client = server.tls_client(client_config(&authority, None, rustls::ALL_VERSIONS)).await;
    assert_eq!(client.post(EVENT).await.status, 200);
}

#[tokio::test]
async fn stalled_handshake_times_out() {
    let files = Files::of(&Authority::new("one").sign("server"));
    let options = ServerOptions {
        header_timeout: Duration::from_millis(50),
        tls: Some(files.options()),
        ..options()
    };
    let server = serve(options, Pipeline::builder().start().await.unwrap()).await;
    let mut silent = Client::connect(server.tls_address.unwrap()).await;
    silent.expect_close().await;
    server.expect_failures(1).await;
    let mut stalled = Client::connect(server.tls_address.unwrap()).await;
    // The header of a record without its contents.
    stalled.send([0x16, 3, 1, 2, 0]).await;
    stalled.expect_close().await;
    server.expect_failures(2).await;
}

#[tokio::test]
async fn connection_without_input_is_no_handshake_failure() {
    let files = Files::of(&Authority::new("one").sign("server"));
    let server = serve_tls(files.options()).await;
    let mut stream = TcpStream::connect(server.tls_address.unwrap()).await.unwrap();
    stream.shutdown().await.unwrap();
    Client::over(stream).expect_close().await;
    assert_eq!(server.failures().await, 0);
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_rejected_with_421() {
    let files = Files::of(&Authority::new("one").sign("server"));
    let server = serve_tls(files.options()).await;
    let mut client = Client::connect(server.tls_address.unwrap()).await;
    client.send(post("", &" ".repeat(12 << 20))).await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 421 Misdirected Request
    content-type: application/problem+json
    connection: close
    {"type":"about:blank","title":"Misdirected Request","status":421,"detail":"this port requires TLS; use a URL that begins with https://"}
    "#);
    client.expect_close().await;
    drop(client);
    server.expect_failures(1).await;

    let mut other = Client::connect(server.tls_address.unwrap()).await;
    other.send("\r\n\r\n\r\n").await;
    other.expect_alert().await;
    drop(other);
    server.expect_failures(2).await;
}

#[tokio::test]
async fn client_that_keeps_sending_over_tls_receives_its_413_and_an_orderly_close() {
    let authority = Authority::new("one");
    let files = Files::of(&authority.sign("server"));
    let server = serve_tls(files.options()).await;
    let mut client = server.tls_client(client_config(&authority, None, rustls::ALL_VERSIONS)).await;
    // The length is announced, and the body rejected unread.
    client.send(post("", &" ".repeat(17 << 20))).await;
    assert_eq!(client.response().await.status, 413);
    client.expect_close().await;
}

#[tokio::test]
async fn handshakes_count_as_connections_and_those_beyond_the_limit_use_the_reserve() {
    let authority = Authority::new("one");
    let files = Files::of(&authority.sign("server"));
    let options = ServerOptions { max_connections: 2, tls: Some(files.options()), ..options() };
    let server = serve(options, Pipeline::builder().start().await.unwrap()).await;
    let mut first = server.client().await;
    assert_eq!(first.post(EVENT).await.status, 200);
    let _handshake = Client::connect(server.tls_address.unwrap()).await;
    let open = async {
        while !first.get("/metrics").await.body.contains("\nobserver_open_connections 2\n") {}
    };
    tokio::time::timeout(TEST_TIMEOUT, open).await.expect("the handshake is counted");

    let config = client_config(&authority, None, rustls::ALL_VERSIONS);
    let event = server.tls_client(config.clone()).await.post(EVENT).await;
    assert_eq!((event.status, event.header("connection")), (200, Some("close")));
    assert_eq!(server.tls_client(config).await.get("/v1/sinks").await.status, 503);
    let metrics = first.get("/metrics").await.body;
    assert!(metrics.contains("\nobserver_refused_connections_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn shutdown_closes_idle_connections_and_pending_handshakes() {
    let authority = Authority::new("one");
    let files = Files::of(&authority.sign("server"));
    let options =
        ServerOptions { header_timeout: TEST_TIMEOUT * 3, tls: Some(files.options()), ..options() };
    let server =
        serve_until(options, Pipeline::builder().start().await.unwrap(), TEST_TIMEOUT * 2).await;
    let mut idle = server.tls_client(client_config(&authority, None, rustls::ALL_VERSIONS)).await;
    assert_eq!(idle.post(EVENT).await.status, 200);
    let mut stalled = Client::connect(server.tls_address.unwrap()).await;
    stalled.send([0x16]).await;
    let ended = server.stop();
    idle.expect_close().await;
    stalled.expect_close().await;
    tokio::time::timeout(TEST_TIMEOUT, ended).await.expect("the server stops in time").unwrap();
}
