//! Times of receipt, at the resolution that limits of labels need.

use observer_core::Timestamp;
use serde::{Deserialize, Serialize};

const SECONDS_PER_HOUR: i64 = 3600;

/// Time of receipt in whole seconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Second(i64);

/// Hour of receipt, counted from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hour(i64);

impl Second {
    pub(crate) const MAX: Self = Self(i64::MAX);

    #[cfg(test)]
    pub(crate) fn new(seconds: i64) -> Self {
        Self(seconds)
    }

    pub(crate) fn of(time: Timestamp) -> Self {
        Self(time.as_second())
    }

    pub(crate) fn hour(self) -> Hour {
        Hour(self.0.div_euclid(SECONDS_PER_HOUR))
    }

    pub(crate) fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_begin_at_full_hours_also_before_1970() {
        for (seconds, hour) in [(0, 0), (3599, 0), (3600, 1), (-1, -1), (-3600, -1), (-3601, -2)] {
            assert_eq!(Second::new(seconds).hour(), Hour(hour), "{seconds}");
        }
    }
}
