//! Compressed bodies.

use std::io::{self, Read};

use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use bytes::Bytes;
use observer_pipeline::RejectReason;

use crate::problem::Problem;

/// Header of a response that rejects an encoding (RFC 9110, section 12.5.3).
pub(crate) const SUPPORTED: (HeaderName, &str) = (ACCEPT_ENCODING, "gzip, zstd");

/// Limit of the members of a gzip body, and of the frames of a zstd body.
const MAX_PARTS: usize = 1_000;

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
        let Some(first) = values.next() else { return Ok(Self::Identity) };
        let mut found = Self::Identity;
        for value in std::iter::once(first).chain(values) {
            let value = value.to_str().unwrap_or("a value that is not ASCII");
            // An element may be empty (RFC 9110, section 5.6.1), and `identity` changes nothing.
            for coding in value.split(',').map(str::trim) {
                let coding = Self::named(coding)?;
                if found != Self::Identity && coding != Self::Identity {
                    return Err(unsupported("several encodings"));
                }
                found = if coding == Self::Identity { found } else { coding };
            }
        }
        Ok(found)
    }

    fn named(coding: &str) -> Result<Self, Problem> {
        match coding.to_ascii_lowercase().as_str() {
            "identity" | "" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(unsupported(coding)),
        }
    }

    /// Decodes the body, of which it produces at most `max_bytes` and one.
    ///
    /// # Errors
    /// If the body is corrupt or decodes to more than `max_bytes`.
    pub(crate) fn decode(self, body: Bytes, max_bytes: usize) -> Result<Bytes, DecodeError> {
        let limit = max_bytes.saturating_add(1);
        let parts = match self {
            Self::Identity => return Ok(body),
            Self::Gzip => Part::gzip(&body),
            Self::Zstd => Part::zstd(&body),
        };
        let read = parts.and_then(|first| read(Parts::new(first), body.len(), limit));
        let plain = read.map_err(DecodeError::Corrupt)?;
        if plain.len() > max_bytes { Err(DecodeError::TooLarge) } else { Ok(plain.into()) }
    }
}

fn unsupported(value: &str) -> Problem {
    let detail = format!("unsupported Content-Encoding {value:?}; use gzip or zstd");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).reason(RejectReason::Malformed)
}

/// Member of a gzip body (RFC 1952, section 2.2), or frame of a zstd body (RFC 8878, section 3).
enum Part<'a> {
    Gzip(flate2::bufread::GzDecoder<&'a [u8]>),
    Zstd(zstd::Decoder<'static, &'a [u8]>),
}

/// All parts of a body, one after the other.
struct Parts<'a> {
    part: Option<Part<'a>>,
    begun: usize,
}

/// Error for a body of too many parts. Empty ones would take time without end.
#[derive(Debug, thiserror::Error)]
#[error("it consists of more than {MAX_PARTS} compressed parts; compress the whole body at once")]
struct TooManyParts;

impl<'a> Part<'a> {
    fn gzip(body: &'a [u8]) -> io::Result<Self> {
        Ok(Self::Gzip(flate2::bufread::GzDecoder::new(body)))
    }

    fn zstd(body: &'a [u8]) -> io::Result<Self> {
        let mut decoder = zstd::Decoder::with_buffer(body)?.single_frame();
        // Limits the window of a frame to 8 MiB (RFC 8878, section 3.1.1.1.2), so that a small body
        // can't allocate much memory.
        decoder.window_log_max(23)?;
        Ok(Self::Zstd(decoder))
    }

    /// Returns the part that follows this one, if any.
    fn next(self) -> io::Result<Option<Self>> {
        let next = |rest: &'a [u8], begin: fn(&'a [u8]) -> io::Result<Self>| {
            if rest.is_empty() { Ok(None) } else { begin(rest).map(Some) }
        };
        match self {
            Self::Gzip(decoder) => next(decoder.into_inner(), Self::gzip),
            Self::Zstd(decoder) => next(decoder.finish(), Self::zstd),
        }
    }
}

impl<'a> Parts<'a> {
    fn new(first: Part<'a>) -> Self {
        Self { part: Some(first), begun: 1 }
    }
}

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(part) = &mut self.part {
            let read = match part {
                Part::Gzip(decoder) => decoder.read(buffer)?,
                Part::Zstd(decoder) => decoder.read(buffer)?,
            };
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.part = self.part.take().map_or(Ok(None), Part::next)?;
            self.begun += 1;
            if self.part.is_some() && self.begun > MAX_PARTS {
                return Err(io::Error::other(TooManyParts));
            }
        }
        Ok(0)
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
            (vec![&b""[..], &b""[..]], Some(Encoding::Identity)),
            (vec![&b"identity"[..], &b"Identity"[..]], Some(Encoding::Identity)),
            (vec![&b"gzip, identity,"[..], &b""[..]], Some(Encoding::Gzip)),
            (vec![&b"gzip, gzip"[..]], None),
            (vec![&b"gzip, br"[..]], None),
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

    fn zstd(plain: &[u8]) -> Bytes {
        zstd::encode_all(plain, 3).unwrap().into()
    }

    #[test]
    fn parts_are_decoded_up_to_a_limit() {
        for (encoding, encode) in
            [(Encoding::Gzip, gzip as fn(&[u8]) -> Bytes), (Encoding::Zstd, zstd)]
        {
            let (part, empty) = (encode(b"ab"), encode(b""));
            let both = Bytes::from([&part[..], &empty, &part].concat());
            assert_eq!(encoding.decode(both, 4).unwrap(), "abab", "{encoding:?}");
            let most = Bytes::from(part.repeat(MAX_PARTS));
            assert_eq!(encoding.decode(most, 1 << 20).unwrap().len(), 2 * MAX_PARTS);
            for part in [&part, &empty] {
                let many = Bytes::from(part.repeat(MAX_PARTS + 1));
                let Err(DecodeError::Corrupt(error)) = encoding.decode(many, 1 << 20) else {
                    panic!("{encoding:?}: it is decoded");
                };
                assert!(error.to_string().contains("more than 1000 compressed parts"), "{error}");
            }
            let garbage = Bytes::from([&part[..], b"garbage"].concat());
            assert!(matches!(encoding.decode(garbage, 100), Err(DecodeError::Corrupt(_))));
        }
    }

    #[test]
    fn skippable_frames_count_as_parts() {
        let skippable: Vec<u8> = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0].repeat(MAX_PARTS + 1);
        let decoded = Encoding::Zstd.decode(skippable.into(), 100);
        assert!(matches!(decoded, Err(DecodeError::Corrupt(_))), "{decoded:?}");
        let first = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9][..], &zstd(b"ab")].concat();
        assert_eq!(Encoding::Zstd.decode(first.into(), 100).unwrap(), "ab");
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
