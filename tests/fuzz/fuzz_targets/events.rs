//! Target `events`: `POST /v1/events` reports the outcome of each item of any body, compressed or
//! not.

#![no_main]

use std::io::{Read, Write};
use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use libfuzzer_sys::{Corpus, fuzz_target};
use observer_core::Submission;
use observer_pipeline::{DedupWindow, IngestOptions, JournalOptions, Pipeline, fs};
use observer_server::ServerOptions;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::runtime::Runtime;
use tower::ServiceExt;

const MAX_BODY: usize = 2 << 10;
const MAX_BATCH_BODY: usize = 16 << 10;
const MAX_EVENTS: usize = 50;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("the runtime starts")
});

/// Router for all runs. A short deduplication window keeps it small.
static ROUTER: LazyLock<Router> = LazyLock::new(|| {
    let journal = JournalOptions::new("journal").file_system(fs::Memory::default());
    let ingest = IngestOptions {
        dedup: DedupWindow::new(Duration::from_secs(60), 1000),
        timeout: Duration::from_secs(60),
        ..IngestOptions::default()
    };
    let builder = Pipeline::builder()
        .journal(journal.max_size(1 << 20).segment_size(128 << 10))
        .ingest(ingest);
    let pipeline = RUNTIME.block_on(builder.start()).expect("a pipeline in memory starts");
    let options = ServerOptions {
        max_body: MAX_BODY,
        max_batch_body: MAX_BATCH_BODY,
        max_batch_events: MAX_EVENTS,
        ..ServerOptions::default()
    };
    let store = observer_server::EventStoreHandle::default();
    observer_server::router(&options, pipeline, prometheus::Registry::new(), store)
        .expect("the registry has no other metrics")
});

/// Encoding of the body, selected by the first byte of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Plain,
    Gzipped,
    Zstandard,
    /// Body that is declared as compressed and probably is not.
    Declared(&'static str),
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((first, body)) = data.split_first() else { return Corpus::Reject };
    let encoding = match first {
        b'g' => Encoding::Gzipped,
        b'z' => Encoding::Zstandard,
        b'G' => Encoding::Declared("gzip"),
        b'Z' => Encoding::Declared("zstd"),
        _ => Encoding::Plain,
    };
    let mut request = Request::post("/v1/events")
        .header("host", "localhost")
        .header("content-type", "application/json");
    let (header, bytes) = match encoding {
        Encoding::Plain => (None, body.to_vec()),
        Encoding::Gzipped => (Some("gzip"), gzip(body)),
        Encoding::Zstandard => {
            (Some("zstd"), zstd::encode_all(body, 1).expect("a Vec takes everything"))
        }
        Encoding::Declared(encoding) => (Some(encoding), body.to_vec()),
    };
    if let Some(header) = header {
        request = request.header("content-encoding", header);
    }
    let sent = bytes.len();
    let request = request.body(Body::from(bytes)).expect("the request is valid");
    let router = ROUTER.clone();
    let (status, response) = RUNTIME.block_on(async {
        let response = router.oneshot(request).await.expect("the router responds");
        let status = response.status();
        (status, response.into_body().collect().await.expect("the response is complete").to_bytes())
    });
    let response: Value = serde_json::from_slice(&response).expect("the response is JSON");
    if let Encoding::Declared(encoding) = encoding {
        return match decompress(encoding, body) {
            Some(plain) => check(&plain, sent, status, &response),
            None => {
                assert!(
                    matches!(status, StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE),
                    "{status} {response}"
                );
                Corpus::Keep
            }
        };
    }
    check(body, sent, status, &response)
});

/// Asserts that the response is the one expected for the items of a body.
fn check(body: &[u8], sent: usize, status: StatusCode, response: &Value) -> Corpus {
    if sent > MAX_BATCH_BODY || body.len() > MAX_BATCH_BODY {
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{response}");
        return Corpus::Keep;
    }
    let Some(items) = items(body) else {
        assert_eq!(status, StatusCode::BAD_REQUEST, "{response}");
        return Corpus::Keep;
    };
    if items.len() > MAX_EVENTS {
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{response}");
        return Corpus::Keep;
    }
    let is_good = |item: &&[u8]| {
        Submission::parse(item.to_vec()).is_ok_and(|mut submission| {
            let is_small = submission.trim(MAX_BODY);
            let event = submission.event;
            is_small
                && (event.source() != "bot"
                    || (event.cycle_id().is_some() && event.sig_hash().is_some()))
        })
    };
    let bad: Vec<_> = items
        .iter()
        .enumerate()
        .filter(|(_, item)| !is_good(item))
        .map(|(index, _)| index)
        .collect();
    let good = items.len() - bad.len();
    let expected = match (good, bad.len()) {
        (_, 0) => StatusCode::OK,
        (0, _) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::MULTI_STATUS,
    };
    assert_eq!(status, expected, "{response}");
    if status != StatusCode::UNPROCESSABLE_ENTITY {
        let count = |name: &str| response[name].as_u64().expect("the response has counts") as usize;
        assert_eq!(
            (count("accepted") + count("duplicates"), count("rejected")),
            (good, bad.len()),
            "{response}"
        );
    }
    let none = Vec::new();
    let errors = response["errors"].as_array().unwrap_or(&none);
    assert!(
        errors
            .iter()
            .map(|error| error["index"].as_u64().expect("an error has an index") as usize)
            .eq(bad),
        "{response}"
    );
    for error in errors {
        let detail = error["detail"].as_str().expect("an error has a detail");
        assert!(!detail.is_empty() && detail.len() < 1_500, "{detail}");
        assert!(matches!(error["status"].as_u64(), Some(400 | 413 | 422)), "{error}");
    }
    Corpus::Keep
}

/// Returns the items of a body, or `None` if the body as a whole is invalid.
fn items(body: &[u8]) -> Option<Vec<&[u8]>> {
    let is_blank =
        |line: &[u8]| line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    if is_blank(body) {
        return None;
    }
    if body.iter().find(|byte| !is_blank(&[**byte])) == Some(&b'[') {
        let items: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
        return Some(items.into_iter().map(|item| item.get().as_bytes()).collect());
    }
    Some(body.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)).collect())
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("a Vec takes everything")
}

fn decompress(encoding: &str, body: &[u8]) -> Option<Vec<u8>> {
    let (mut plain, limit) = (Vec::new(), MAX_BATCH_BODY as u64 + 1);
    let read = match encoding {
        "gzip" => flate2::read::MultiGzDecoder::new(body).take(limit).read_to_end(&mut plain),
        _ => zstd::Decoder::with_buffer(body).ok()?.take(limit).read_to_end(&mut plain),
    };
    read.ok().map(|_| plain)
}
