//! Malformed HTTP requests, and bytes of other protocols.

use insta::assert_snapshot;

use super::monitored::MonitoredObserver;
use super::raw::{Received, post};
use crate::support::DEFAULTS;

/// Returns a POST request with additional header lines and the bytes after the head.
fn request(lines: &str, rest: &str) -> Vec<u8> {
    format!(
        "POST /event HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             {lines}\r\n{rest}"
    )
    .into()
}

/// The first bytes of a TLS handshake (RFC 8446, section 4.1.2).
const TLS_HELLO: &[u8] = b"\x16\x03\x01\x00\xf1\x01\x00\x00\xed\x03\x03\
    \x12\x34\x56\x78\x9a\xbc\xde\xf0\x00\x08\x13\x02\x13\x03\x13\x01\x00\xff\x01\x00\x00\x9c";

#[tokio::test]
async fn malformed_request_is_rejected_and_the_connection_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    let event = r#"{"source":"smuggled","event_kind":"ok","ok":true}"#;
    let length = event.len();
    let many_headers = (0..10_000).map(|n| format!("x-{n}: {n}\r\n")).collect::<String>();
    let long_header = format!("x: {}\r\n", "x".repeat(1 << 20));
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(1 << 20));
    for (what, bytes) in [
        ("a head of 1 MiB", request(&long_header, "")),
        ("an unterminated head of 1 MiB", vec![b'x'; 1 << 20]),
        ("10,000 headers", request(&many_headers, "")),
        ("101 headers", request(&"x: x\r\n".repeat(101), "")),
        ("a path of 1 MiB", long_path.into_bytes()),
        ("a negative length", request("content-length: -1\r\n", event)),
        ("a length with a sign", request(&format!("content-length: +{length}\r\n"), event)),
        ("a length in hexadecimal", request("content-length: 0x10\r\n", event)),
        ("a length beyond 64 bits", request("content-length: 18446744073709551616\r\n", event)),
        (
            "a length of 1,000 digits",
            request(&format!("content-length: {}\r\n", "9".repeat(1000)), event),
        ),
        ("an empty length", request("content-length: \r\n", event)),
        (
            "two lengths",
            request(&format!("content-length: {length}\r\ncontent-length: 4\r\n"), event),
        ),
        ("two lengths in one line", request(&format!("content-length: {length}, 4\r\n"), event)),
        ("identity after chunked", request("transfer-encoding: chunked, identity\r\n", event)),
        ("gzip as transfer encoding", request("transfer-encoding: gzip\r\n", event)),
        (
            "chunked in HTTP/1.0",
            b"POST /event HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        ),
        ("a space before a colon", request("content-length : 4\r\n", event)),
        ("a folded header", request("x: a\r\n b\r\n", event)),
        ("a NUL in a header", request("x: a\0b\r\n", event)),
        ("a header without a colon", request("nothing\r\n", event)),
        ("HTTP/0.9", b"GET /metrics\r\n\r\n".to_vec()),
        ("HTTP/3.0", b"GET /metrics HTTP/3.0\r\nhost: localhost\r\n\r\n".to_vec()),
        ("an event without HTTP", format!("{event}\r\n\r\n").into_bytes()),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        ("a TLS ClientHello", TLS_HELLO.to_vec()),
        ("a response", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ("NULs", vec![0; 100_000]),
    ] {
        let mut connection = observer.connect().await;
        connection.send(bytes).await;
        connection.shut_down_write().await;
        let received = connection.receive().await;
        connection.assert_closed().await;
        assert!(
            !matches!(&received, Received::Response(response) if response.status < 400),
            "{what}"
        );
        observer.record(what, received).await;
    }
    assert_snapshot!(observer.transcript.trim_end());
    observer.finish().await;
}

#[tokio::test]
async fn ambiguous_body_length_smuggles_no_request() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = MonitoredObserver::start(dir.path(), DEFAULTS).await;
    // A request that one parser takes for a body, and another one for a second request.
    let hidden = String::from_utf8(post(
        "/event",
        "",
        r#"{"source":"smuggled","event_kind":"ok","ok":true}"#,
    ))
    .unwrap();
    let both = format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", hidden.len() + 5);
    let reversed =
        format!("transfer-encoding: chunked\r\ncontent-length: {}\r\n", hidden.len() + 5);
    let chunk = |size: &str| {
        request("transfer-encoding: chunked\r\n", &format!("{size}\r\n{hidden}\r\n0\r\n\r\n"))
    };
    for (what, bytes) in [
        ("a length before chunked", request(&both, &format!("0\r\n\r\n{hidden}"))),
        ("chunked before a length", request(&reversed, &format!("0\r\n\r\n{hidden}"))),
        ("a chunk without a size", chunk("")),
        ("a chunk with a word as its size", chunk("size")),
        ("a chunk of negative size", chunk("-1")),
        ("a chunk with a size in 0x notation", chunk("0x10")),
        ("a chunk with a size beyond 64 bits", chunk("10000000000000000")),
        ("a chunk of the largest size", chunk("ffffffffffffffff")),
        ("a chunk with 1 MiB of extensions", chunk(&format!("1;{}", "x".repeat(1 << 20)))),
        ("a chunk longer than its size", chunk("1")),
        (
            "a trailer of 1 MiB",
            request(
                "transfer-encoding: chunked\r\n",
                &format!("0\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)),
            ),
        ),
    ] {
        let mut connection = observer.connect().await;
        connection.send(bytes).await;
        connection.shut_down_write().await;
        let received = connection.receive().await;
        connection.assert_closed().await;
        assert!(
            !matches!(&received, Received::Response(response) if response.status < 400),
            "{what}"
        );
        observer.record(what, received).await;
    }
    assert_snapshot!(observer.transcript.trim_end());
    // The archive has the valid events alone, so no request was smuggled.
    observer.finish().await;
}
