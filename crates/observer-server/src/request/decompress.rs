//! Bodies that come compressed.

use std::io::{self, Read};

use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use bytes::Bytes;
use observer_pipeline::RejectReason;

use crate::problem::Problem;

/// What is said to someone who sends another encoding (RFC 9110, section 12.5.3).
pub(crate) const ACCEPTED: (HeaderName, &str) = (ACCEPT_ENCODING, "gzip, zstd");

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(Self::Identity),
            (Some(value), None) => value.to_str().unwrap_or("something strange"),
            (Some(_), Some(_)) => "several encodings",
        };
        match value.trim().to_ascii_lowercase().as_str() {
            "identity" | "" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => {
                let detail =
                    format!("a body can be compressed with gzip or zstd, and not with {value:?}");
                Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
                    .reason(RejectReason::Malformed))
            }
        }
    }

    /// The bytes that were compressed; no more of them are made than the limit and one.
    pub(crate) fn decode(self, body: Bytes, max_bytes: usize) -> Result<Bytes, InflateError> {
        let limit = max_bytes.saturating_add(1);
        let read = match self {
            Self::Identity => return Ok(body),
            Self::Gzip => read(flate2::read::MultiGzDecoder::new(&*body), body.len(), limit),
            Self::Zstd => zstd::Decoder::with_buffer(&*body).and_then(|mut decoder| {
                // What a frame may ask for as its window, so that a small body can't take much
                // memory (RFC 8878, section 3.1.1.1.2: 8 MiB).
                decoder.window_log_max(23)?;
                read(decoder, body.len(), limit)
            }),
        };
        let plain = read.map_err(InflateError::Corrupt)?;
        if plain.len() > max_bytes { Err(InflateError::TooLarge) } else { Ok(plain.into()) }
    }
}

/// At most `limit` bytes. Their memory grows in two steps, of which the second copies little:
/// doubled again and again, a bomb would take half as much again.
fn read(mut unpacked: impl Read, packed: usize, limit: usize) -> io::Result<Vec<u8>> {
    /// Events are seldom packed to less than this part.
    const RATIO: usize = 16;
    let mut plain = Vec::new();
    for step in [packed.saturating_mul(RATIO).min(limit), limit] {
        let more = step - plain.len();
        plain.reserve_exact(more);
        if unpacked.by_ref().take(more as u64).read_to_end(&mut plain)? < more {
            break;
        }
    }
    Ok(plain)
}

/// Why a compressed body can't be read.
#[derive(Debug)]
pub(crate) enum InflateError {
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
    fn an_encoding_is_known_or_refused() {
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
    fn what_was_compressed_comes_back() {
        assert_eq!(Encoding::Gzip.decode(gzip(b"plain"), 5).unwrap(), "plain");
        assert_eq!(
            Encoding::Zstd.decode(zstd::encode_all(&b"plain"[..], 3).unwrap().into(), 5).unwrap(),
            "plain"
        );
        assert_eq!(Encoding::Identity.decode("plain".into(), 0).unwrap(), "plain");
    }

    #[test]
    fn a_bomb_is_noticed_at_the_limit() {
        let zeros = vec![0; 64 << 20];
        let (small, limit) = (1 << 20, 1 << 20);
        let bomb = gzip(&zeros);
        assert!(bomb.len() < small);
        assert!(matches!(Encoding::Gzip.decode(bomb, limit), Err(InflateError::TooLarge)));
        let bomb: Bytes = zstd::encode_all(&*zeros, 3).unwrap().into();
        assert!(bomb.len() < small);
        assert!(matches!(Encoding::Zstd.decode(bomb, limit), Err(InflateError::TooLarge)));
    }

    #[test]
    fn what_is_not_compressed_is_corrupt() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            assert!(
                matches!(encoding.decode("{}".into(), 100), Err(InflateError::Corrupt(_))),
                "{encoding:?}"
            );
        }
        let cut = gzip(b"plain text, and then more of it");
        assert!(matches!(
            Encoding::Gzip.decode(cut.slice(..cut.len() - 3), 100),
            Err(InflateError::Corrupt(_))
        ));
    }
}
