use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Looks a key up as an event does. Returns whether it has a row.
fn see(table: &mut Table<u32, u64>, key: u32, at: i64) -> bool {
    let seen = Second::new(at);
    let slot = match table.find(&key, seen) {
        Some(slot) => slot,
        None => match table.vacancy(key, seen) {
            Some(vacancy) => table.insert(key, seen, vacancy),
            None => return false,
        },
    };
    *table.totals(slot) += 1;
    true
}

fn rows(table: &Table<u32, u64>) -> Vec<(u32, u64)> {
    table.rows().map(|(_, row)| (row.key, row.totals)).collect()
}

/// Checks a sequence of keys and times in hours, with whether each has a row.
#[track_caller]
fn check(limit: usize, sequence: &[(u32, i64, bool)]) {
    let mut table = Table::new(limit);
    for (at, (key, hour, expected)) in sequence.iter().enumerate() {
        assert_eq!(see(&mut table, *key, hour * HOUR), *expected, "step {at}, key {key}");
    }
}

#[test]
fn first_half_of_the_keys_gets_rows_at_once() {
    check(0, &[(1, 0, false), (1, 1, false), (1, 2, false)]);
    check(1, &[(1, 0, true), (2, 0, false)]);
    check(2, &[(1, 0, true), (2, 0, false)]);
    check(3, &[(1, 0, true), (2, 0, true), (3, 0, false), (1, 0, true)]);
    check(4, &[(1, 0, true), (2, 0, true), (3, 0, false)]);
}

#[test]
fn key_beyond_half_needs_two_hours() {
    check(2, &[(1, 0, true), (2, 0, false), (2, 0, false), (2, 1, true), (2, 1, true)]);
    // The hours need not follow each other.
    check(2, &[(1, 0, true), (2, 0, false), (2, 24 * 365, true)]);
    // Nor need the clock go forward.
    check(2, &[(1, 9, true), (2, 9, false), (2, 8, true)]);
    // Both hours are those of the same key.
    check(2, &[(1, 0, true), (2, 0, false), (3, 1, false), (2, 1, true), (3, 2, false)]);
}

#[test]
fn idle_row_is_taken_after_30_days_and_starts_at_zero() {
    let full = [(1, 0, true), (2, 1, false), (2, 2, true)];
    let days = |days: i64| days * 24;
    let with = |more: &[(u32, i64, bool)]| check(2, &[&full[..], more].concat());
    // Nothing is idle for long enough.
    with(&[(3, 3, false), (3, 4, false), (3, days(30) - 1, false)]);
    with(&[(3, 3, false), (3, days(30), true), (2, days(30), true), (1, days(30), false)]);
    // A row that is in use is not idle.
    with(&[(1, 3, true), (3, 3, false), (3, days(30), false), (3, days(30) + 2, true)]);
    // An evicted key needs two hours again.
    let now = days(40);
    with(&[(3, 3, false), (3, now, true), (1, now, false), (1, now, false), (1, now + 1, true)]);

    let mut table = Table::new(2);
    for (key, hour) in [(1, 0), (1, 0), (2, 1), (2, 2), (3, 3), (3, days(31)), (3, days(31))] {
        see(&mut table, key, hour * HOUR);
    }
    assert_eq!(rows(&table), [(3, 2), (2, 1)]);
}

#[test]
fn thirty_days_are_exact_to_the_second() {
    for (after, expected) in [(30 * DAY - 1, false), (30 * DAY, true)] {
        let mut table = Table::new(1);
        see(&mut table, 1, 1_000_000_123);
        see(&mut table, 2, 1_000_000_123);
        assert_eq!(see(&mut table, 2, 1_000_000_123 + after), expected, "{after}");
    }
}

#[test]
fn first_of_equally_idle_rows_is_taken() {
    let mut table = Table::new(4);
    let sequence = [(4, 0), (3, 0), (2, 0), (2, 1), (1, 0), (1, 1), (3, 1), (4, 1), (5, 1)];
    for (key, hour) in sequence.into_iter().chain([(5, 24 * 30 + 1)]) {
        see(&mut table, key, hour * HOUR);
    }
    assert_eq!(rows(&table).iter().map(|(key, _)| *key).collect::<Vec<_>>(), [5, 3, 2, 1]);
}

#[test]
fn pinned_rows_are_not_limited_and_never_taken() {
    let mut table = Table::new(1);
    for key in [10, 11, 10] {
        table.pin(key);
    }
    assert!(see(&mut table, 1, 0) && see(&mut table, 10, 0) && !see(&mut table, 2, 0));
    assert!(see(&mut table, 2, 60 * DAY), "the row of 1");
    assert!(!see(&mut table, 3, 60 * DAY) && see(&mut table, 3, 120 * DAY), "the row of 2");
    assert_eq!(rows(&table), [(10, 1), (11, 0), (3, 1)]);
}

#[test]
fn clock_that_goes_back_evicts_nothing() {
    let mut table = Table::new(4);
    for (key, at) in [(1, 0), (2, 0), (3, 0), (4, 0), (3, HOUR), (4, HOUR)] {
        see(&mut table, key, 960 * DAY + at);
    }
    for key in 1..=4 {
        see(&mut table, key, 1_000 * DAY);
    }
    // The clock stands at 1970 for a while, then it is right again.
    for hour in 0..5 {
        for key in 1..50 {
            assert_eq!(see(&mut table, key, hour * HOUR), key <= 4, "{key} at {hour}");
        }
    }
    for key in (1..50).rev() {
        assert_eq!(see(&mut table, key, 1_000 * DAY + 3 * HOUR), key <= 4, "{key}");
    }
    for at in [i64::MIN, i64::MAX, 0, i64::MAX] {
        see(&mut table, 1, at);
        see(&mut table, 99, at);
    }
}

#[test]
fn burst_hides_neither_earlier_keys_nor_recurring_ones() {
    let mut table = Table::new(100);
    for key in 0..50 {
        assert!(see(&mut table, key, 0), "{key}");
    }
    assert!(!see(&mut table, 50, 0));
    for key in 10_000..20_000 {
        assert!(!see(&mut table, key, 10), "{key}");
    }
    assert!(!see(&mut table, 51, 20));
    for key in 0..50 {
        assert!(see(&mut table, key, 20), "{key}");
    }
    assert!(see(&mut table, 50, HOUR), "it was seen before the burst");
    assert!(see(&mut table, 51, HOUR), "it was seen after the burst");
    assert_eq!(table.rows().len(), 52);
}

#[test]
fn candidates_are_limited_to_the_last_ones() {
    let hour = |hour: i64| Second::new(hour * HOUR).hour();
    let mut candidates = Candidates::default();
    let count = u32::try_from(candidates::MAX).unwrap();
    for key in 0..=count {
        assert!(!candidates.recurs(key, hour(0)));
    }
    assert_eq!(candidates.iter().count(), candidates::MAX);
    assert!(candidates.recurs(1, hour(1)), "the second one is still there");
    assert!(!candidates.recurs(0, hour(1)), "the first one is forgotten");
    assert!(candidates.recurs(count, hour(1)));
    candidates.remove(count);
    assert!(!candidates.recurs(count, hour(2)));

    let all: Vec<_> = candidates.iter().collect();
    assert_eq!(all.iter().copied().collect::<Candidates>(), candidates);
    let twice = all.iter().chain(&all).copied();
    assert_eq!(twice.collect::<Candidates>(), candidates);
    let more = [(u32::MAX, None)].into_iter().chain(all);
    assert_eq!(more.collect::<Candidates>(), candidates);
}

/// The rule in its plainest form, without limits on memory or time.
#[derive(Default)]
struct Plain {
    limit: usize,
    rows: Vec<(u32, i64)>,
    /// Hours in which keys without a row were seen.
    hours: BTreeSet<(u32, i64)>,
}

impl Plain {
    fn see(&mut self, key: u32, at: i64) -> bool {
        if let Some((_, seen)) = self.rows.iter_mut().find(|(other, _)| *other == key) {
            *seen = at.max(*seen);
            return true;
        }
        let is_half_used = self.rows.len() * 2 >= self.limit;
        if is_half_used {
            self.hours.insert((key, at.div_euclid(HOUR)));
            if self.hours.iter().filter(|(other, _)| *other == key).count() < 2 {
                return false;
            }
        }
        if self.rows.len() < self.limit {
            self.rows.push((key, at));
        } else {
            let longest = self.rows.iter_mut().min_by_key(|(_, seen)| *seen);
            let Some(row) = longest.filter(|(_, seen)| at - *seen >= 30 * DAY) else {
                return false;
            };
            *row = (key, at);
        }
        self.hours.retain(|(other, _)| *other != key);
        true
    }
}

fn steps() -> impl Strategy<Value = Vec<(u32, i64)>> {
    let step = prop_oneof![
        4 => Just(0),
        4 => 1..HOUR,
        2 => HOUR..DAY,
        2 => DAY..31 * DAY,
        1 => 31 * DAY..100 * DAY,
        1 => -2 * HOUR..0,
        1 => -60 * DAY..0,
    ];
    proptest::collection::vec((0_u32..9, step), 0..200)
}

proptest! {
    #[test]
    fn table_follows_the_plain_rule(limit in 0_usize..7, steps in steps()) {
        let mut plain = Plain { limit, ..Plain::default() };
        let mut table = Table::new(limit);
        let mut now = 1_000_000_000;
        for (key, step) in steps {
            now += step;
            prop_assert_eq!(see(&mut table, key, now), plain.see(key, now));
            let keys: Vec<_> = table.rows().map(|(_, row)| row.key).collect();
            prop_assert_eq!(keys, plain.rows.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        }
    }

    #[test]
    fn removed_rows_leave_the_others_as_they_were(steps in steps(), removed in 0_u32..9) {
        let mut table = Table::new(6);
        for (key, at) in steps {
            see(&mut table, key, at);
        }
        let before = rows(&table);
        table.retain(|key| *key != removed);
        let kept: Vec<_> = before.into_iter().filter(|(key, _)| *key != removed).collect();
        prop_assert_eq!(rows(&table), kept.clone());
        for (key, _) in kept {
            let slot = table.find(&key, Second::new(0));
            prop_assert_eq!(slot.map(|slot| table.row(slot).key), Some(key));
        }
        prop_assert!(table.find(&removed, Second::new(0)).is_none());
        prop_assert_eq!(table.is_full(), table.rows().len() >= 6);
    }
}
