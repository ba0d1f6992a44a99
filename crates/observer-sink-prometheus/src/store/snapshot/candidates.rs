//! Candidates in a snapshot.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::aggregate::table::{Candidates, FirstSeen};

/// Candidates in the order in which they were added, as a list of runs with the same first hour.
///
/// A run is the hour, counted from 1970, or `null` for candidates that were seen in two hours; and
/// the fingerprints, each in four bytes (little endian), as Base64.
#[derive(Default)]
pub(super) struct EncodedCandidates(Vec<(FirstSeen, Vec<u32>)>);

impl EncodedCandidates {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&Candidates> for EncodedCandidates {
    fn from(candidates: &Candidates) -> Self {
        let mut runs: Vec<(FirstSeen, Vec<u32>)> = Vec::new();
        for (fingerprint, hour) in candidates.iter() {
            match runs.last_mut() {
                Some((last, fingerprints)) if *last == hour => fingerprints.push(fingerprint),
                _ => runs.push((hour, vec![fingerprint])),
            }
        }
        Self(runs)
    }
}

impl From<EncodedCandidates> for Candidates {
    fn from(EncodedCandidates(runs): EncodedCandidates) -> Self {
        let all = runs.into_iter().flat_map(|(hour, fingerprints)| {
            fingerprints.into_iter().map(move |fingerprint| (fingerprint, hour))
        });
        all.collect()
    }
}

impl Serialize for EncodedCandidates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let encoded = |fingerprints: &[u32]| {
            let bytes: Vec<_> = fingerprints.iter().flat_map(|one| one.to_le_bytes()).collect();
            STANDARD.encode(bytes)
        };
        serializer.collect_seq(self.0.iter().map(|(hour, all)| (hour, encoded(all))))
    }
}

impl<'de> Deserialize<'de> for EncodedCandidates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let runs = Vec::<(FirstSeen, String)>::deserialize(deserializer)?;
        let decoded = |(hour, text): (FirstSeen, String)| {
            let bytes = STANDARD.decode(&text).map_err(de::Error::custom)?;
            let (fingerprints, []) = bytes.as_chunks::<4>() else {
                return Err(de::Error::custom(format_args!("`{text}` is cut")));
            };
            Ok((hour, fingerprints.iter().map(|one| u32::from_le_bytes(*one)).collect()))
        };
        runs.into_iter().map(decoded).collect::<Result<_, _>>().map(Self)
    }
}
