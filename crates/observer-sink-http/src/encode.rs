//! Encoding of events as the body of a request.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;

use observer_core::Envelope;
use sha2::{Digest, Sha256};

use crate::config::{Body, Compression};

/// Returns the uncompressed body that no template makes. [`Body::Event`] and [`Body::Envelope`] take
/// a single event, and any other body is an array.
pub(crate) fn encode(body: &Body, events: &[&Arc<Envelope>]) -> Vec<u8> {
    let mut bytes =
        Vec::with_capacity(events.iter().map(|envelope| envelope.event.raw().len() + 128).sum());
    match body {
        Body::Event => {
            events.iter().for_each(|envelope| bytes.extend_from_slice(envelope.event.raw()));
        }
        Body::Envelope => events.iter().for_each(|envelope| envelope.write_json(&mut bytes)),
        Body::Ndjson => {
            for envelope in events {
                envelope.write_json(&mut bytes);
                bytes.push(b'\n');
            }
        }
        _ => {
            for (index, envelope) in events.iter().enumerate() {
                bytes.push(if index == 0 { b'[' } else { b',' });
                envelope.write_json(&mut bytes);
            }
            bytes.push(b']');
        }
    }
    bytes
}

pub(crate) fn compress(compression: Compression, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(bytes),
        Compression::Gzip => {
            let mut gzip =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            gzip.write_all(&bytes)?;
            gzip.finish()
        }
        Compression::Zstd => zstd::bulk::compress(&bytes, zstd::DEFAULT_COMPRESSION_LEVEL),
    }
}

/// Returns the identifier of a request, by which a destination can recognise a repeat: the event's
/// id, or a hash of the ids of several events in their order.
pub(crate) fn message_id(events: &[&Arc<Envelope>]) -> String {
    if let [envelope] = events {
        return envelope.id.to_string();
    }
    let mut hash = Sha256::new();
    for envelope in events {
        hash.update(envelope.id.as_bytes());
    }
    let mut id = String::with_capacity(32);
    for byte in &hash.finalize()[..16] {
        // Writing to a string can't fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::testing::batch;

    fn encoded(body: Body, count: u64) -> String {
        let batch = batch(count);
        String::from_utf8(encode(&body, &batch.events().iter().collect::<Vec<_>>())).unwrap()
    }

    fn line(seq: u64) -> String {
        batch(seq).events().last().unwrap().to_json()
    }

    #[test]
    fn each_body_type_is_encoded_in_its_format() {
        assert_eq!(encoded(Body::Event, 1), r#"{"source":"bot","event_kind":"e1","ok":true}"#);
        assert_eq!(encoded(Body::Envelope, 1), line(1));
        assert_eq!(encoded(Body::Array, 1), format!("[{}]", line(1)));
        assert_eq!(encoded(Body::Array, 2), format!("[{},{}]", line(1), line(2)));
        assert_eq!(encoded(Body::Ndjson, 2), format!("{}\n{}\n", line(1), line(2)));
    }

    #[test]
    fn compressed_bodies_can_be_decompressed() {
        let bytes = encoded(Body::Ndjson, 100).into_bytes();
        let gzip = compress(Compression::Gzip, bytes.clone()).unwrap();
        let mut decompressed = Vec::new();
        flate2::read::GzDecoder::new(&*gzip).read_to_end(&mut decompressed).unwrap();
        assert_eq!(decompressed, bytes);
        let zstd = compress(Compression::Zstd, bytes.clone()).unwrap();
        assert_eq!(zstd::stream::decode_all(&*zstd).unwrap(), bytes);
        assert!(gzip.len() < bytes.len() / 4 && zstd.len() < bytes.len() / 4);
    }

    #[test]
    fn message_id_depends_on_the_events_and_their_order() {
        let batch = batch(3);
        let events: Vec<_> = batch.events().iter().collect();
        assert_eq!(message_id(&events[..1]), "00000000-0000-0000-0000-000000000001");
        assert_eq!(message_id(&events), message_id(&events));
        assert_eq!(message_id(&events).len(), 32);
        assert_ne!(message_id(&events), message_id(&events[..2]));
        assert_ne!(message_id(&[events[0], events[1]]), message_id(&[events[1], events[0]]));
    }
}
