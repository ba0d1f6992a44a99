//! Positions in the journal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Position of a sink: every event up to and including this one is resolved.
///
/// Sequence numbers are counted per epoch. A journal has a new epoch after it lost events at its
/// end, and another journal has another epoch, so a position never refers to the wrong event.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Position {
    /// Epoch of the journal in which `seq` counts.
    pub epoch: u64,
    /// Sequence number of the last resolved event; 0 before the first one.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

/// Error type for a text that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position; it has the form EPOCH-SEQ, such as 1764340000000000-42")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    /// Parses the form that [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let number = |digits: &str| {
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().ok()).flatten().ok_or(InvalidPosition)
        };
        let (epoch, seq) = text.split_once('-').ok_or(InvalidPosition)?;
        Ok(Self { epoch: number(epoch)?, seq: number(seq)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_is_parsed_from_the_text_it_writes() {
        let position = Position { epoch: u64::MAX, seq: 42 };
        assert_eq!(position.to_string().parse(), Ok(position));
        for invalid in
            ["", "-", "1", "1-", "-1", "1-2-3", "+1-2", "1- 2", "a-b", "1-18446744073709551616"]
        {
            assert_eq!(invalid.parse::<Position>(), Err(InvalidPosition), "{invalid:?}");
        }
    }
}
