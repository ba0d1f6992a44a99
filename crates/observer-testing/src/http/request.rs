//! A request as it arrived.

use std::fmt;
use std::io::{self, Read};

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::value::RawValue;

/// One request, with what became of it.
#[derive(Clone)]
pub struct ReceivedRequest {
    /// Such as `POST`.
    pub method: String,
    /// With the query, as it was sent.
    pub path: String,
    /// All of them.
    pub headers: HeaderMap,
    /// As it came over the wire.
    pub raw_body: Bytes,
    /// The body without its `Content-Encoding`.
    pub body: Bytes,
    /// The status that it was answered with, or will be; `None` where it was cut off or got no
    /// answer.
    pub status: Option<u16>,
    /// The items that the receiver took.
    pub(super) taken: Vec<String>,
}

impl ReceivedRequest {
    /// A header's value as text, if it is there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The decoded body as text.
    ///
    /// # Panics
    /// If it isn't UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The items of the body: the elements of an array, else its lines, each with the bytes it was
    /// sent with.
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

/// Undo the encodings, the last one first.
pub(super) fn decode(headers: &HeaderMap, raw: &Bytes) -> io::Result<Bytes> {
    let named = headers.get_all("content-encoding").iter().filter_map(|value| value.to_str().ok());
    let encodings: Vec<_> =
        named.flat_map(|value| value.split(',')).map(|name| name.trim().to_lowercase()).collect();
    encodings.iter().rev().try_fold(raw.clone(), |body, encoding| match encoding.as_str() {
        "identity" | "" => Ok(body),
        "gzip" => gunzip(&body),
        "zstd" => zstd::decode_all(&*body).map(Bytes::from),
        other => {
            Err(io::Error::other(format!("an encoding that the receiver doesn't know: {other}")))
        }
    })
}

pub(crate) fn gunzip(body: &[u8]) -> io::Result<Bytes> {
    let mut decoded = Vec::new();
    flate2::read::MultiGzDecoder::new(body).read_to_end(&mut decoded)?;
    Ok(decoded.into())
}
