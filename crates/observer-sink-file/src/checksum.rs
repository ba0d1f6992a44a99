//! Checksum of lines and of state.

/// Returns the CRC-32 (IEEE) of bytes.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
