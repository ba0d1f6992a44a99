//! `POST /v1/events` answers for each item, whatever the body is and however it is packed.

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
        .expect("a runtime")
});

/// One for all runs; it forgets soon, so that it stays small.
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
    let pipeline = RUNTIME.block_on(builder.start()).expect("a pipeline in memory");
    let options = ServerOptions {
        max_body: MAX_BODY,
        max_batch_body: MAX_BATCH_BODY,
        max_batch_events: MAX_EVENTS,
        ..ServerOptions::default()
    };
    observer_server::router(&options, pipeline, prometheus::Registry::new())
        .expect("a registry of its own")
});

/// How the body is sent. The first byte says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Plain,
    Gzipped,
    Zstandard,
    /// What claims to be compressed, and most likely isn't.
    Claimed(&'static str),
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((first, body)) = data.split_first() else { return Corpus::Reject };
    let sent = match first {
        b'g' => Sent::Gzipped,
        b'z' => Sent::Zstandard,
        b'G' => Sent::Claimed("gzip"),
        b'Z' => Sent::Claimed("zstd"),
        _ => Sent::Plain,
    };
    let mut request = Request::post("/v1/events")
        .header("host", "localhost")
        .header("content-type", "application/json");
    let (encoding, bytes) = match sent {
        Sent::Plain => (None, body.to_vec()),
        Sent::Gzipped => (Some("gzip"), gzip(body)),
        Sent::Zstandard => {
            (Some("zstd"), zstd::encode_all(body, 1).expect("a Vec takes everything"))
        }
        Sent::Claimed(encoding) => (Some(encoding), body.to_vec()),
    };
    if let Some(encoding) = encoding {
        request = request.header("content-encoding", encoding);
    }
    let packed = bytes.len();
    let request = request.body(Body::from(bytes)).expect("a request");
    let router = ROUTER.clone();
    let (status, answer) = RUNTIME.block_on(async {
        let response = router.oneshot(request).await.expect("an answer");
        let status = response.status();
        (status, response.into_body().collect().await.expect("a whole answer").to_bytes())
    });
    let answer: Value = serde_json::from_slice(&answer).expect("the answer is JSON");
    if let Sent::Claimed(encoding) = sent {
        return match unpacked(encoding, body) {
            Some(plain) => judge(&plain, packed, status, &answer),
            None => {
                assert!(
                    matches!(status, StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE),
                    "{status} {answer}"
                );
                Corpus::Keep
            }
        };
    }
    judge(body, packed, status, &answer)
});

/// Whether the answer is the one that the items ask for.
fn judge(body: &[u8], packed: usize, status: StatusCode, answer: &Value) -> Corpus {
    if packed > MAX_BATCH_BODY || body.len() > MAX_BATCH_BODY {
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{answer}");
        return Corpus::Keep;
    }
    let Some(items) = items(body) else {
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        return Corpus::Keep;
    };
    if items.len() > MAX_EVENTS {
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{answer}");
        return Corpus::Keep;
    }
    let is_good = |item: &&[u8]| {
        let submission = Submission::parse(item.to_vec()).ok().filter(|_| item.len() <= MAX_BODY);
        submission.is_some_and(|submission| {
            let event = submission.event;
            event.source() != "bot" || (event.cycle_id().is_some() && event.sig_hash().is_some())
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
    assert_eq!(status, expected, "{answer}");
    if status != StatusCode::UNPROCESSABLE_ENTITY {
        let count = |name: &str| answer[name].as_u64().expect("a count") as usize;
        assert_eq!(
            (count("accepted") + count("duplicates"), count("rejected")),
            (good, bad.len()),
            "{answer}"
        );
    }
    let none = Vec::new();
    let errors = answer["errors"].as_array().unwrap_or(&none);
    assert!(
        errors.iter().map(|error| error["index"].as_u64().expect("an index") as usize).eq(bad),
        "{answer}"
    );
    for error in errors {
        let detail = error["detail"].as_str().expect("words");
        assert!(!detail.is_empty() && detail.len() < 500, "{detail}");
        assert!(matches!(error["status"].as_u64(), Some(400 | 413 | 422)), "{error}");
    }
    Corpus::Keep
}

/// The items of a body; `None` where it can't be read as a whole.
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

fn unpacked(encoding: &str, body: &[u8]) -> Option<Vec<u8>> {
    let (mut plain, limit) = (Vec::new(), MAX_BATCH_BODY as u64 + 1);
    let read = match encoding {
        "gzip" => flate2::read::MultiGzDecoder::new(body).take(limit).read_to_end(&mut plain),
        _ => zstd::Decoder::with_buffer(body).ok()?.take(limit).read_to_end(&mut plain),
    };
    read.ok().map(|_| plain)
}
