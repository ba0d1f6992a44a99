//! The snapshot: a file in the state folder that holds all counts and their position.
//!
//! # Layout
//!
//! A header line of ASCII text, a line feed, and one JSON object (the body), which has no line
//! breaks in the file:
//!
//! ```text
//! observer-prometheus 2 5f3c0a91
//! {"position":{"epoch":1,"seq":4711},"event_kinds":[["other",0],["ok",1767225601]],…}
//! ```
//!
//! The header holds a magic word, the version of the format, and the CRC-32C of the body as eight
//! hexadecimal digits. Line feeds may follow the body. The body has the layout of its version:
//! [`v2`], which this program writes, or [`v1`].
//!
//! # Reading
//!
//! A newer version is an error, and the file stays as it is. A wrong checksum or unknown fields
//! make the snapshot unreadable; the [store](super) then moves it aside.
//!
//! Label values are added under the present configuration: known values first, then the others in
//! the order of the file. Values and pairs beyond the limits are omitted. They are not added to
//! `other`, where `increase` would see their whole history as one burst.

mod candidates;
mod slots;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use crate::config::PrometheusConfig;
use crate::store::state::State;

const MAGIC: &str = "observer-prometheus";

/// Version that this program writes.
pub(super) const VERSION: u32 = 2;

/// Reason for which a snapshot can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("not a snapshot of event metrics")]
    Foreign,
    #[error("version {0} of the format is newer than version {VERSION}")]
    Newer(u32),
    #[error("the checksum does not match")]
    Checksum,
    #[error("the contents do not match the format")]
    Contents(#[source] serde_json::Error),
    #[error("a count refers to a missing label value")]
    Dangling,
}

/// State that was read from a snapshot.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) state: State,
    /// Number of label values and pairs that exceed the limits.
    pub(crate) omitted: usize,
    /// Earlier version of the format, if the snapshot has one.
    pub(crate) upgraded_from: Option<u32>,
}

/// Encodes a state.
pub(crate) fn encode(state: &State) -> Vec<u8> {
    with_header(VERSION, &v2::encode(state))
}

/// Decodes a state under a configuration that may have changed since it was written.
pub(crate) fn decode(bytes: &[u8], config: &PrometheusConfig) -> Result<Restored, SnapshotError> {
    let (version, checksum, body) = split(bytes).ok_or(SnapshotError::Foreign)?;
    if version > VERSION {
        return Err(SnapshotError::Newer(version));
    }
    let body = body.trim_ascii_end();
    if u32::from_str_radix(checksum, 16) != Ok(crc32c::crc32c(body)) {
        return Err(SnapshotError::Checksum);
    }
    match version {
        1 => v1::decode(body, config),
        VERSION => v2::decode(body, config),
        _ => Err(SnapshotError::Foreign),
    }
}

/// Returns the version of a snapshot, or `None` if the bytes are none.
pub(crate) fn version(bytes: &[u8]) -> Option<u32> {
    split(bytes).map(|(version, ..)| version)
}

/// Splits a snapshot into version, checksum and body.
fn split(bytes: &[u8]) -> Option<(u32, &str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let mut words = std::str::from_utf8(&bytes[..end]).ok()?.split(' ');
    let (MAGIC, version) = (words.next()?, words.next()?.parse().ok()?) else { return None };
    Some((version, words.next()?, &bytes[end + 1..]))
}

fn with_header(version: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{MAGIC} {version} {:08x}\n", crc32c::crc32c(body)).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
