//! Compressed bodies.

use std::io::{self, Read};

use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use bytes::Bytes;
use observer_pipeline::RejectReason;

use crate::problem::Problem;

/// Header of a response that rejects an encoding (RFC 9110, section 12.5.3).
pub(crate) const SUPPORTED: (HeaderName, &str) = (ACCEPT_ENCODING, "gzip, zstd");

/// Content encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// Returns the encoding that the headers name.
    ///
    /// # Errors
    /// If the encoding is not supported (415).
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(Self::Identity),
            (Some(value), None) => value.to_str().unwrap_or("a value that is not ASCII"),
            (Some(_), Some(_)) => "several encodings",
        };
        match value.trim().to_ascii_lowercase().as_str() {
            "identity" | "" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => {
                let detail = format!("unsupported Content-Encoding {value:?}; use gzip or zstd");
                Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
                    .reason(RejectReason::Malformed))
            }
        }
    }

    /// Decodes the body, of which it produces at most `max_bytes` and one.
    ///
    /// # Errors
    /// If the body is corrupt or decodes to more than `max_bytes`.
    pub(crate) fn decode(self, body: Bytes, max_bytes: usize) -> Result<Bytes, DecodeError> {
        let limit = max_bytes.saturating_add(1);
        let read = match self {
            Self::Identity => return Ok(body),
            Self::Gzip => read(flate2::read::MultiGzDecoder::new(&*body), body.len(), limit),
            Self::Zstd => zstd::Decoder::with_buffer(&*body).and_then(|mut decoder| {
                // Limits the window of a frame to 8 MiB (RFC 8878, section 3.1.1.1.2), so that a
                // small body can't allocate much memory.
                decoder.window_log_max(23)?;
                read(decoder, body.len(), limit)
            }),
        };
        let plain = read.map_err(DecodeError::Corrupt)?;
        if plain.len() > max_bytes { Err(DecodeError::TooLarge) } else { Ok(plain.into()) }
    }
}

/// Reads at most `limit` bytes.
///
/// The buffer grows in two steps. Doubling it again and again would take half as much memory again
/// for a decompression bomb.
fn read(mut decoder: impl Read, encoded: usize, limit: usize) -> io::Result<Vec<u8>> {
    /// Ratio that events seldom exceed.
    const RATIO: usize = 16;
    let mut plain = Vec::new();
    for step in [encoded.saturating_mul(RATIO).min(limit), limit] {
        let more = step - plain.len();
        plain.reserve_exact(more);
        if decoder.by_ref().take(more as u64).read_to_end(&mut plain)? < more {
            break;
        }
    }
    Ok(plain)
}

/// Reason for which a body can't be decoded.
#[derive(Debug)]
pub(crate) enum DecodeError {
    Corrupt(io::Error),
    TooLarge,
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;

    use super::*;

    fn gzip(plain: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn encoding_is_supported_or_rejected() {
        let of = |values: &[&[u8]]| {
            let values = values
                .iter()
                .map(|value| (CONTENT_ENCODING, HeaderValue::from_bytes(value).unwrap()));
            let headers = values.fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, value);
                all
            });
            Encoding::of(&headers).ok()
        };
        for (values, expected) in [
            (vec![], Some(Encoding::Identity)),
            (vec![&b""[..]], Some(Encoding::Identity)),
            (vec![&b"GZIP"[..]], Some(Encoding::Gzip)),
            (vec![&b"zstd "[..]], Some(Encoding::Zstd)),
            (vec![&b"br"[..]], None),
            (vec![&b"gzip, gzip"[..]], None),
            (vec![&b"gzip"[..], &b"gzip"[..]], None),
            (vec![&b"\xc2\x84"[..]], None),
        ] {
            assert_eq!(of(&values), expected, "{values:?}");
        }
    }

    #[test]
    fn decoding_restores_the_body() {
        assert_eq!(Encoding::Gzip.decode(gzip(b"plain"), 5).unwrap(), "plain");
        assert_eq!(
            Encoding::Zstd.decode(zstd::encode_all(&b"plain"[..], 3).unwrap().into(), 5).unwrap(),
            "plain"
        );
        assert_eq!(Encoding::Identity.decode("plain".into(), 0).unwrap(), "plain");
    }

    #[test]
    fn decompression_bomb_is_stopped_at_the_limit() {
        let zeros = vec![0; 64 << 20];
        let (small, limit) = (1 << 20, 1 << 20);
        let bomb = gzip(&zeros);
        assert!(bomb.len() < small);
        assert!(matches!(Encoding::Gzip.decode(bomb, limit), Err(DecodeError::TooLarge)));
        let bomb: Bytes = zstd::encode_all(&*zeros, 3).unwrap().into();
        assert!(bomb.len() < small);
        assert!(matches!(Encoding::Zstd.decode(bomb, limit), Err(DecodeError::TooLarge)));
    }

    #[test]
    fn body_that_is_not_compressed_is_corrupt() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            assert!(
                matches!(encoding.decode("{}".into(), 100), Err(DecodeError::Corrupt(_))),
                "{encoding:?}"
            );
        }
        let cut = gzip(b"plain text, and then more of it");
        assert!(matches!(
            Encoding::Gzip.decode(cut.slice(..cut.len() - 3), 100),
            Err(DecodeError::Corrupt(_))
        ));
    }
}
