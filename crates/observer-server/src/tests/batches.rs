use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::client::{Client, Response, post};
use super::support::setup::{EVENT, event, options, serve, serve_plain};
use crate::{PartialStatus, ServerOptions};
use observer_pipeline::{Pipeline, RejectReason};

async fn batch(client: &mut Client, headers: &str, body: &[u8]) -> Response {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: test\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    client.send([head.as_bytes(), body].concat()).await;
    client.response().await
}

fn value(response: &Response) -> Value {
    serde_json::from_str(&response.body).unwrap()
}

/// Returns an event for each cycle, one per line.
fn cycles(numbers: std::ops::Range<u32>) -> String {
    numbers
        .map(|n| {
            format!(
                "{{\"source\":\"job\",\"cycle_id\":\"{n}\",\"event_kind\":\"ok\",\"ok\":true}}\n"
            )
        })
        .collect()
}

#[tokio::test]
async fn lines_and_arrays_are_accepted_and_deduplicated() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let lines = cycles(0..3);
    let first =
        batch(&mut client, "content-type: application/x-ndjson\r\n", lines.as_bytes()).await;
    let expected = json!({"accepted": 3, "duplicates": 0, "rejected": 0, "durability": "memory", "errors": []});
    assert_eq!((first.status, value(&first)), (200, expected));
    let array = format!("[{}]", cycles(0..4).trim_end().replace('\n', ","));
    let second =
        batch(&mut client, "content-type: application/json; charset=utf-8\r\n", array.as_bytes())
            .await;
    assert_eq!(
        (second.status, &value(&second)["accepted"], &value(&second)["duplicates"]),
        (200, &json!(1), &json!(3))
    );
    assert_eq!(server.pipeline.status().journal.head, 4);
}

#[tokio::test]
async fn compressed_batch_is_accepted() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(cycles(0..100).as_bytes()).unwrap();
    let response = batch(&mut client, "content-encoding: gzip\r\n", &gzip.finish().unwrap()).await;
    assert_eq!((response.status, &value(&response)["accepted"]), (200, &json!(100)));
    let zstd = zstd::encode_all(cycles(0..200).as_bytes(), 3).unwrap();
    let response = batch(&mut client, "content-encoding: zstd\r\n", &zstd).await;
    assert_eq!(
        (&value(&response)["accepted"], &value(&response)["duplicates"]),
        (&json!(100), &json!(100))
    );
}

#[tokio::test]
async fn invalid_items_are_reported_and_the_others_stored() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let lines = format!(
        "{}\n\nnot json\n{{\"source\":\"job\",\"event_kind\":\"ok\",\"ok\":1}}\n{{\"source\":\"bot\",\"event_kind\":\"ok\",\"ok\":true}}\n{}\n",
        event("a"),
        event("b")
    );
    let response = batch(&mut client, "", lines.as_bytes()).await;
    assert_eq!(response.status, 207);
    insta::assert_snapshot!(response.body, @r#"{"accepted":2,"duplicates":0,"rejected":3,"durability":"memory","errors":[{"index":1,"status":400,"reason":"malformed","detail":"not valid JSON at line 1, column 2: expected ident"},{"index":2,"status":422,"reason":"invalid","detail":"the field `ok` must be true or false, and this is a number","field":"ok"},{"index":3,"status":422,"reason":"missing_field","detail":"missing `cycle_id` and `sig_hash`, which are required of source \"bot\"","field":"cycle_id"}]}"#);
    assert_eq!(server.pipeline.status().journal.head, 2);

    let response = batch(&mut client, "", b"{}\n[]\n").await;
    let body = value(&response);
    assert_eq!((response.status, body["errors"].as_array().unwrap().len()), (422, 2));
    assert_eq!(body["detail"], "all 2 items are rejected; `errors` has the reason for each");
    let rejected = server.pipeline.status().ingest.rejected;
    assert_eq!(
        (
            rejected[&RejectReason::Malformed],
            rejected[&RejectReason::Invalid],
            rejected[&RejectReason::MissingField]
        ),
        (1, 3, 1)
    );
}

#[tokio::test]
async fn unreadable_batch_is_rejected_as_a_whole() {
    let server = serve_plain().await;
    for (headers, body, status, detail) in [
        (
            "",
            &b"[{},"[..],
            400,
            "the array of events is not valid JSON: EOF while parsing a value at line 1 column 4",
        ),
        ("", b"[\"\xff\"]", 400, "not UTF-8: the byte at offset 2 is not part of a character"),
        (
            "content-type: text/plain\r\n",
            b"{}",
            415,
            "unsupported Content-Type \"text/plain\"; send `application/json`, or \
             `application/x-ndjson` for lines; with curl, use `--json` instead of `-d`",
        ),
        (
            "content-encoding: br\r\n",
            b"{}",
            415,
            "unsupported Content-Encoding \"br\"; use gzip or zstd",
        ),
        (
            "idempotency-key: k\r\n",
            b"{}",
            400,
            "the header Idempotency-Key is not supported for a batch; give each event an `id` \
             instead",
        ),
    ] {
        let mut client = server.client().await;
        let response = batch(&mut client, headers, body).await;
        assert_eq!(
            (response.status, value(&response)["detail"].as_str().unwrap()),
            (status, detail)
        );
    }
    let mut client = server.client().await;
    let response = batch(&mut client, "content-encoding: gzip\r\n", b"{}").await;
    assert!(
        response.status == 400
            && response.body.contains("can't be decoded as its Content-Encoding"),
        "{}",
        response.body
    );
    assert_eq!(batch(&mut client, "", EVENT.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn sender_chooses_the_status_of_a_batch_with_rejected_items() {
    let default = serve_plain().await;
    let pipeline = Pipeline::builder().start().await.unwrap();
    let options = ServerOptions { partial_status: PartialStatus::Ok, ..options() };
    let lenient = serve(options, pipeline).await;
    let lines = format!("{EVENT}\n{{}}\n");
    for (server, query, status) in [
        (&default, "", 207),
        (&default, "?partial=200", 200),
        (&default, "?partial=207", 207),
        (&default, "?partial=2", 400),
        (&lenient, "", 200),
        (&lenient, "?partial=207", 207),
    ] {
        let mut client = server.client().await;
        let target = format!("/v1/events{query}");
        client.send(post("", &lines).replacen("/event", &target, 1)).await;
        let response = client.response().await;
        assert_eq!(response.status, status, "{query}: {response}");
        if status != 400 {
            let counts = ["accepted", "rejected"].map(|name| value(&response)[name].as_u64());
            assert_eq!(counts, [Some(1); 2], "{query}: {response}");
        }
        // Nothing of a batch is stored.
        client.send(post("", "{}\n{}").replacen("/event", &target, 1)).await;
        assert_eq!(client.response().await.status, if status == 400 { 400 } else { 422 });
    }
}

#[tokio::test]
async fn bodies_of_log_shippers_are_accepted() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let fluent_bit = format!("{EVENT}\n{EVENT}\n");
    let fields = r#","@timestamp":"2026-11-28T10:00:00.000Z","@version":"1","host":{"name":"a"}}"#;
    let logstash = EVENT.replace('}', fields);
    let logstash = format!("[{logstash},{logstash}]");
    let vector = format!("{},{}", EVENT.replace('}', r#","timestamp":1,"path":"/x"}"#), EVENT);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(fluent_bit.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    for (headers, body) in [
        ("content-type: application/x-ndjson\r\n", fluent_bit.as_bytes()),
        ("content-type: application/x-ndjson\r\ncontent-encoding: gzip\r\n", &gzip),
        ("content-type: application/json\r\n", logstash.as_bytes()),
        ("content-type: application/json\r\n", format!("[{vector}]").as_bytes()),
        ("content-type: application/x-ndjson\r\n", vector.replace(",{", "\n{").as_bytes()),
    ] {
        let response = batch(&mut client, headers, body).await;
        assert_eq!((response.status, &value(&response)["accepted"]), (200, &json!(2)), "{headers}");
    }
}

#[tokio::test]
async fn batch_without_events_is_accepted() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    for body in ["", "\n \r\n", "[]", "\u{feff}"] {
        let response = batch(&mut client, "", body.as_bytes()).await;
        let counts = value(&response);
        let counts = ["accepted", "duplicates", "rejected"].map(|name| counts[name].as_u64());
        assert_eq!((response.status, counts), (200, [Some(0); 3]), "{body:?}");
    }
}

#[tokio::test]
async fn events_in_one_line_are_rejected_with_the_remedy() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let (two, lines) = (format!("{EVENT}{EVENT}"), format!("{EVENT}\n{EVENT}"));
    let one = client.post(&two).await;
    let several = client.post(&lines).await;
    let batch = batch(&mut client, "", two.as_bytes()).await;
    for response in [one, several, batch] {
        assert!(response.body.contains("another JSON value follows"), "{response}");
        assert!(response.body.contains("--data-binary"), "{response}");
    }
    assert_eq!(server.pipeline.status().ingest.accepted, 0);
}

#[tokio::test]
async fn limits_of_a_batch_are_named_with_their_values() {
    let limited = ServerOptions { max_batch_body: 10_000, max_batch_events: 100, ..options() };
    let server = serve(limited, Pipeline::builder().start().await.unwrap()).await;
    let large = batch(&mut server.client().await, "", cycles(0..1000).as_bytes()).await;
    assert!(large.status == 413 && large.body.contains("10000 bytes"), "{}", large.body);
    let many = batch(&mut server.client().await, "", cycles(0..101).as_bytes()).await;
    assert!(many.status == 413 && many.body.contains("100 events"), "{}", many.body);
    let bomb = zstd::encode_all(&*vec![b' '; 8 << 20], 3).unwrap();
    let bomb = batch(&mut server.client().await, "content-encoding: zstd\r\n", &bomb).await;
    assert!(
        bomb.status == 413
            && bomb.body.contains("10000 bytes")
            && bomb.body.contains("decompressed"),
        "{}",
        bomb.body
    );
}

#[tokio::test]
async fn batch_during_shutdown_is_unavailable() {
    let server = serve_plain().await;
    server.pipeline.shutdown(Duration::ZERO).await;
    let response = batch(&mut server.client().await, "", cycles(0..2).as_bytes()).await;
    assert_eq!((response.status, response.body.contains("shutting down")), (503, true));
}

#[tokio::test]
async fn content_encodings_without_effect_are_accepted_by_both_routes() {
    let server = serve_plain().await;
    for (headers, event, batch) in [
        ("content-encoding:\r\n", 200, 200),
        ("content-encoding: identity\r\ncontent-encoding: identity\r\n", 200, 200),
        ("content-encoding: , identity\r\n", 200, 200),
        ("content-encoding: gzip\r\ncontent-encoding: gzip\r\n", 415, 415),
        ("content-encoding: br\r\n", 415, 415),
    ] {
        for (path, status) in [("/event", event), ("/v1/events", batch)] {
            let mut client = server.client().await;
            client
                .send(format!(
                    "POST {path} HTTP/1.1\r\nhost: test\r\n{headers}content-length: {}\r\n\r\n{EVENT}",
                    EVENT.len()
                ))
                .await;
            assert_eq!(client.response().await.status, status, "{path} {headers:?}");
        }
    }
}

#[tokio::test]
async fn body_of_many_empty_members_is_rejected_with_a_remedy() {
    let server = serve_plain().await;
    let empty =
        flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best()).finish().unwrap();
    let body = empty.repeat(700_000);
    let head = "POST /v1/events HTTP/1.1\r\nhost: test\r\ncontent-encoding: gzip\r\n";
    let mut client = server.client().await;
    client.send(format!("{head}content-length: {}\r\n\r\n", body.len())).await;
    client.send(&body).await;
    let response = client.response().await;
    assert_eq!(response.status, 400, "{response}");
    assert!(response.text("detail").contains("more than 1000 compressed parts"), "{response}");
}
