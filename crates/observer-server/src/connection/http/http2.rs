//! Response in words to clients that speak HTTP/2 without having asked for it ("prior knowledge",
//! RFC 9113, section 3.3), which could not read one of HTTP/1.1.

use std::io;

use axum::http::StatusCode;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::problem::{PROBLEM_JSON, Problem};

/// First bytes of such a client (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of the head of a frame (RFC 9113, section 4.1).
const FRAME_HEAD: usize = 9;
/// Limit of the bytes before the end of the first request's head.
const MAX_READ: usize = 64 << 10;

/// Types of frames (RFC 9113, section 6).
mod frame_type {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const GOAWAY: u8 = 7;
}

/// Flag of the last frame of a stream.
const END_STREAM: u8 = 1;
/// Flag of settings that confirm those of the client.
const ACK: u8 = 1;
/// Flag of a complete field section.
const END_HEADERS: u8 = 4;

/// Returns whether the bytes begin as those of an HTTP/2 client do.
pub(super) fn is_preface(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PRI * HTTP/2.0\r\n")
}

/// Reads up to the head of the first request, and responds with 505. `read` has what was read
/// before.
///
/// # Errors
/// If the client closes the connection or sends no request.
pub(super) async fn respond_505(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut read: BytesMut,
) -> io::Result<()> {
    let stream_id = loop {
        if let Some(id) = first_request(&read) {
            break id;
        }
        if read.len() > MAX_READ || stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    };
    stream.write_all(&response(stream_id)).await?;
    stream.shutdown().await
}

/// Returns the stream of the first frame that begins a request.
fn first_request(read: &[u8]) -> Option<u32> {
    let mut frames = read.get(PREFACE.len()..)?;
    loop {
        let head = frames.get(..FRAME_HEAD)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
        frames = frames.get(FRAME_HEAD + length..)?;
        if head[3] == frame_type::HEADERS {
            return Some(id);
        }
    }
}

/// Returns the settings, the response, and the end of the connection.
fn response(stream_id: u32) -> Vec<u8> {
    let problem = Problem::new(
        StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        "the observer speaks HTTP/1.1, and not HTTP/2; configure the client for HTTP/1.1 (curl: \
         `--http1.1`)",
    );
    let body = problem.to_json();
    let mut fields = Vec::new();
    // Names by their index in the static table (RFC 7541, appendix A).
    push_field(&mut fields, 8, "505");
    push_field(&mut fields, 31, PROBLEM_JSON);
    push_field(&mut fields, 28, &body.len().to_string());
    let mut bytes = Vec::new();
    push_frame(&mut bytes, frame_type::SETTINGS, 0, 0, &[]);
    push_frame(&mut bytes, frame_type::SETTINGS, ACK, 0, &[]);
    push_frame(&mut bytes, frame_type::HEADERS, END_HEADERS, stream_id, &fields);
    push_frame(&mut bytes, frame_type::DATA, END_STREAM, stream_id, &body);
    // The last stream that was processed, and no error.
    let goaway = [stream_id.to_be_bytes(), [0; 4]].concat();
    push_frame(&mut bytes, frame_type::GOAWAY, 0, 0, &goaway);
    bytes
}

/// Appends a field that is not indexed, with an indexed name (RFC 7541, section 6.2.2).
fn push_field(fields: &mut Vec<u8>, name: u8, value: &str) {
    const MAX_IN_PREFIX: u8 = 15;
    match name.checked_sub(MAX_IN_PREFIX) {
        None => fields.push(name),
        Some(rest) => fields.extend([MAX_IN_PREFIX, rest]),
    }
    fields.push(u8::try_from(value.len()).expect("the values are short"));
    fields.extend_from_slice(value.as_bytes());
}

fn push_frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream_id: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("the payloads are short").to_be_bytes();
    bytes.extend_from_slice(&length[1..]);
    bytes.extend([kind, flags]);
    bytes.extend(stream_id.to_be_bytes());
    bytes.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_found_after_other_frames() {
        let mut read = PREFACE.to_vec();
        assert_eq!(first_request(&read), None);
        push_frame(&mut read, frame_type::SETTINGS, 0, 0, &[0; 6]);
        push_frame(&mut read, 8, 0, 0, &[0; 4]);
        assert_eq!(first_request(&read), None);
        push_frame(&mut read, frame_type::HEADERS, END_HEADERS, 3, b"fields");
        assert_eq!(first_request(&read[..read.len() - 1]), None, "the frame is not complete");
        assert_eq!(first_request(&read), Some(3));
    }

    #[tokio::test]
    async fn client_that_sends_no_request_gets_no_response() {
        let read = BytesMut::from(PREFACE);
        let mut closed = tokio::io::join(tokio::io::empty(), tokio::io::sink());
        let error = respond_505(&mut closed, read).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
