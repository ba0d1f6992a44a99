//! Bodies of responses, read within a limit of bytes and of time.

use std::time::Duration;

use http_body_util::BodyExt;
use reqwest::header::HeaderMap;
use tokio::time::timeout;

/// Time that a sink waits for the end of a body that does not change the meaning of the status.
pub const RESPONSE_PATIENCE: Duration = Duration::from_secs(2);

/// Body of a response, as far as it was read.
#[derive(Debug)]
pub struct ResponseBody {
    /// Bytes of the body, at most as many as were wanted.
    pub bytes: Vec<u8>,
    /// Trailers, if the body was read to its end and has any.
    pub trailers: Option<HeaderMap>,
    /// Extent to which the body was read.
    pub end: BodyEnd,
}

/// Extent to which a body was read.
#[derive(Debug)]
pub enum BodyEnd {
    /// The bytes are the whole body.
    Complete,
    /// The body was larger than wanted; the bytes are its beginning.
    TooLarge,
    /// The connection failed before the end.
    Cut(reqwest::Error),
    /// The end did not arrive in time.
    Late,
}

impl ResponseBody {
    /// Reads the body of a response, for at most `patience`, and keeps at most `max_bytes` of it.
    ///
    /// The status of a response has arrived by then and decides in most cases, so a body that is
    /// large, incomplete or endless is no error. Further bytes are discarded as long as time is
    /// left, so that trailers arrive and the connection can be reused.
    ///
    /// # Cancel safety
    /// The response is closed if this future is dropped.
    pub async fn read(response: reqwest::Response, max_bytes: usize, patience: Duration) -> Self {
        let mut read = Self { bytes: Vec::new(), trailers: None, end: BodyEnd::Complete };
        let frames = read.read_frames(response.into(), max_bytes);
        if timeout(patience, frames).await.is_err() {
            read.end = BodyEnd::Late;
        }
        read
    }

    /// Returns whether the bytes are the whole body.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.end, BodyEnd::Complete)
    }

    async fn read_frames(&mut self, mut body: reqwest::Body, max_bytes: usize) {
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    self.end = BodyEnd::Cut(error);
                    return;
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    let kept = data.len().min(max_bytes - self.bytes.len());
                    self.bytes.extend_from_slice(&data[..kept]);
                    if kept < data.len() {
                        self.end = BodyEnd::TooLarge;
                    }
                }
                Err(other) => self.trailers = other.into_trailers().ok(),
            }
        }
    }
}
