//! Replacement of connections whose peer does not respond.

use observer_core::{ErrorKind, EventSink};
use observer_testing::otlp::{OtlpReceiver, Reply};
use observer_testing::tls::{CertificateAuthority, ServerTls};

use super::sink;
use crate::testing::batch;
use crate::{HttpConfig, HttpSink, Tls};

/// Returns a receiver over TLS, which speaks HTTP/2, and a sink that posts to it. Requests get 415,
/// because their bodies are not OTLP, or no response if the reply is to hang.
fn over_http2(dir: &tempfile::TempDir, replies: Vec<Reply>) -> (OtlpReceiver, HttpSink) {
    let authority = CertificateAuthority::new("ours");
    let receiver = OtlpReceiver::over_tls(ServerTls::signed_by(&authority), replies);
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let config = HttpConfig::new(receiver.url("/v1/logs")).tls(Tls::default().with_ca(ca));
    (receiver, sink(&config))
}

async fn deliver(sink: &HttpSink) {
    let error = sink.deliver(&batch(1)).await.unwrap_err();
    super::assert_error(&error, ErrorKind::Denied, "415");
}

#[tokio::test]
async fn http2_connection_is_shared_until_a_delivery_is_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let (receiver, sink) = over_http2(&dir, vec![Reply::accept(), Reply::accept(), Reply::hang()]);
    deliver(&sink).await;
    deliver(&sink).await;
    assert_eq!(receiver.connections(), 1, "HTTP/2 uses one connection");
    let batch = batch(1);
    let mut hanging = Box::pin(sink.deliver(&batch));
    tokio::select! {
        _ = &mut hanging => panic!("the receiver never responds"),
        _ = receiver.wait_for_requests(3) => {}
    }
    drop(hanging);
    deliver(&sink).await;
    assert_eq!(receiver.connections(), 2, "the stuck connection is not used again");
}

#[tokio::test]
async fn renewed_sink_opens_a_new_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (receiver, sink) = over_http2(&dir, vec![]);
    deliver(&sink).await;
    sink.renew_connections();
    deliver(&sink).await;
    assert_eq!(receiver.connections(), 2);
}
