//! Requests as they are recorded.

use std::fmt;
use std::io::{self, Read};

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::value::RawValue;

/// Request that a receiver recorded, with the status of its response.
#[derive(Clone)]
pub struct ReceivedRequest {
    /// Method, such as `POST`.
    pub method: String,
    /// Path and query as they were sent.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// Body as it was sent.
    pub raw_body: Bytes,
    /// Body without its `Content-Encoding`.
    pub body: Bytes,
    /// Status of the response, even if it is delayed; `None` if the request gets no response.
    pub status: Option<u16>,
    /// Items that the receiver accepted.
    pub(super) accepted: Vec<String>,
}

impl ReceivedRequest {
    /// Returns the value of a header, if it is there and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the items that the receiver accepted.
    #[must_use]
    pub fn accepted_items(&self) -> &[String] {
        &self.accepted
    }

    /// Returns the decoded body as text.
    ///
    /// # Panics
    /// If the body is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// Returns the items of the body: the elements of a JSON array, a single JSON value, or the
    /// lines. Each item has the bytes that were sent.
    #[must_use]
    pub fn items(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.body);
        if let Ok(items) = serde_json::from_str::<Vec<Box<RawValue>>>(&text) {
            return items.iter().map(|item| item.get().to_owned()).collect();
        }
        if let Ok(item) = serde_json::from_str::<&RawValue>(&text) {
            return vec![item.get().to_owned()];
        }
        text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
    }
}

impl fmt::Debug for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start: String = String::from_utf8_lossy(&self.body).chars().take(200).collect();
        let line = format!("{} {} ({} bytes)", self.method, self.path, self.body.len());
        f.debug_struct("ReceivedRequest")
            .field("line", &line)
            .field("status", &self.status)
            .field("body", &start)
            .finish()
    }
}

/// Decodes a body by its `Content-Encoding`, the last encoding first.
pub(super) fn decode(headers: &HeaderMap, raw: &Bytes) -> io::Result<Bytes> {
    let values = headers.get_all("content-encoding").iter().filter_map(|value| value.to_str().ok());
    let encodings: Vec<_> =
        values.flat_map(|value| value.split(',')).map(|name| name.trim().to_lowercase()).collect();
    encodings.iter().rev().try_fold(raw.clone(), |body, encoding| match encoding.as_str() {
        "identity" | "" => Ok(body),
        "gzip" => gunzip(&body),
        "zstd" => zstd::decode_all(&*body).map(Bytes::from),
        other => Err(io::Error::other(format!("unsupported content encoding {other:?}"))),
    })
}

pub(crate) fn gunzip(body: &[u8]) -> io::Result<Bytes> {
    let mut decoded = Vec::new();
    flate2::read::MultiGzDecoder::new(body).read_to_end(&mut decoded)?;
    Ok(decoded.into())
}
