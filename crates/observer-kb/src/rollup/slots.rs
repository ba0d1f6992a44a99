//! Slots of time, and how a range is put together from them.

/// Length of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Level {
    Day = 0,
    Hour = 1,
    Quarter = 2,
}

impl Level {
    pub(crate) const ALL: [Self; 3] = [Self::Day, Self::Hour, Self::Quarter];

    /// Returns the length in microseconds.
    pub(crate) fn length(self) -> i64 {
        const MINUTE: i64 = 60_000_000;
        match self {
            Self::Day => 24 * 60 * MINUTE,
            Self::Hour => 60 * MINUTE,
            Self::Quarter => 15 * MINUTE,
        }
    }

    /// Returns the start of the slot of a time.
    pub(crate) fn start(self, micros: i64) -> i64 {
        micros.div_euclid(self.length()) * self.length()
    }

    /// Returns the first start of a slot at or after a time.
    fn ceil(self, micros: i64) -> i64 {
        self.start(micros.saturating_add(self.length() - 1))
    }
}

/// Ranges of slots that cover a range of time, each as (level, first start, end).
pub(crate) type Slots = Vec<(Level, i64, i64)>;

/// Returns the slots that cover the time from `since` until before `until`, the largest that fit.
/// The ends are moved outwards to those of the slots of `finest`.
pub(crate) fn cover(since: i64, until: i64, finest: Level) -> Slots {
    let mut slots = Vec::new();
    let (since, until) = (finest.start(since), finest.ceil(until));
    fill(since, until, 0, finest, &mut slots);
    slots
}

fn fill(since: i64, until: i64, level: usize, finest: Level, slots: &mut Slots) {
    if since >= until {
        return;
    }
    let this = Level::ALL[level];
    if this == finest {
        slots.push((this, since, until));
        return;
    }
    let (first, end) = (this.ceil(since), this.start(until));
    if first >= end {
        return fill(since, until, level + 1, finest, slots);
    }
    fill(since, first, level + 1, finest, slots);
    slots.push((this, first, end));
    fill(end, until, level + 1, finest, slots);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn range_is_put_together_from_the_largest_slots() {
        let (day, quarter) = (24 * HOUR, HOUR / 4);
        assert_eq!(
            cover(22 * HOUR + 3 * quarter, 3 * day + HOUR + 1, Level::Quarter),
            [
                (Level::Quarter, 22 * HOUR + 3 * quarter, 23 * HOUR),
                (Level::Hour, 23 * HOUR, day),
                (Level::Day, day, 3 * day),
                (Level::Hour, 3 * day, 3 * day + HOUR),
                (Level::Quarter, 3 * day + HOUR, 3 * day + HOUR + quarter),
            ]
        );
        assert_eq!(cover(5, 5, Level::Hour), [(Level::Hour, 0, HOUR)]);
        assert_eq!(cover(HOUR, HOUR, Level::Hour), []);
    }

    proptest! {
        #[test]
        fn slots_cover_the_range_without_gaps(
            since in -400 * HOUR..400 * HOUR,
            length in 1..400 * HOUR,
        ) {
            let slots = cover(since, since + length, Level::Quarter);
            prop_assert_eq!(slots[0].1, Level::Quarter.start(since));
            prop_assert_eq!(slots[slots.len() - 1].2, Level::Quarter.ceil(since + length));
            prop_assert!(slots.windows(2).all(|pair| pair[0].2 == pair[1].1));
            let whole = slots.iter().all(|&(level, first, end)| {
                first % level.length() == 0 && end % level.length() == 0 && first < end
            });
            prop_assert!(whole);
        }
    }
}
