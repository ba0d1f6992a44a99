//! Bodies of requests: compression, and the framing of gRPC.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use crate::protocol::{Compression, Protocol};

/// Length of the prefix of a gRPC message: one byte for compression, four for the length ("gRPC
/// over HTTP2", Length-Prefixed-Message).
pub(crate) const GRPC_PREFIX: usize = 5;

/// Compresses and frames a message as the body of a request.
pub(crate) fn encode_body(
    protocol: Protocol,
    compression: Compression,
    message: &[u8],
) -> io::Result<Vec<u8>> {
    let prefix: &[u8] = if protocol == Protocol::Grpc { &[0; GRPC_PREFIX] } else { &[] };
    let mut body = match compression {
        Compression::None => [prefix, message].concat(),
        Compression::Gzip => {
            let mut gzip = GzEncoder::new(prefix.to_vec(), flate2::Compression::fast());
            gzip.write_all(message)?;
            gzip.finish()?
        }
    };
    if let Some((prefix, message)) =
        body.split_first_chunk_mut::<GRPC_PREFIX>().filter(|_| protocol == Protocol::Grpc)
    {
        let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        prefix[0] = (compression == Compression::Gzip).into();
        prefix[1..].copy_from_slice(&length.to_be_bytes());
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn grpc_body_begins_with_the_compressed_flag_and_the_length() {
        let encode =
            |protocol, compression| encode_body(protocol, compression, b"message").unwrap();
        assert_eq!(encode(Protocol::Http, Compression::None), b"message");
        assert_eq!(encode(Protocol::Grpc, Compression::None), b"\0\0\0\0\x07message");
        for (protocol, prefix) in [(Protocol::Http, 0), (Protocol::Grpc, GRPC_PREFIX)] {
            let body = encode(protocol, Compression::Gzip);
            let (prefix, gzip) = body.split_at(prefix);
            let mut message = Vec::new();
            flate2::read::GzDecoder::new(gzip).read_to_end(&mut message).unwrap();
            assert_eq!(message, b"message");
            let length = gzip.len() as u8;
            assert!(prefix.is_empty() || *prefix == [1, 0, 0, 0, length]);
        }
    }
}
