//! Selection of the closed files that exceed the limits on age and size.

use crate::config::Retain;

/// File with what its age and size depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aged {
    pub(crate) key: String,
    pub(crate) len: u64,
    /// Date of the newest event by the trusted time, in seconds since 1970.
    pub(crate) newest: i64,
    pub(crate) is_closed: bool,
}

/// Returns the closed files that exceed the limits, oldest first. Without a trusted time no file
/// exceeds the limit on age.
pub(crate) fn expired(mut files: Vec<Aged>, retain: Retain, trusted: Option<i64>) -> Vec<Aged> {
    files.sort_by(|a, b| (a.newest, &a.key).cmp(&(b.newest, &b.key)));
    let mut total: u64 = files.iter().map(|found| found.len).sum();
    files.retain(|found| {
        let age = trusted.map(|trusted| trusted.saturating_sub(found.newest));
        let is_old = retain.max_age.zip(age).is_some_and(|(max_age, age)| {
            u64::try_from(age).is_ok_and(|age| age > max_age.as_secs())
        });
        let is_excess = retain.max_total_size.is_some_and(|max_total_size| total > max_total_size);
        let is_expired = found.is_closed && (is_old || is_excess);
        if is_expired {
            total -= found.len;
        }
        is_expired
    });
    files
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Files of ten bytes; the n-th one holds events of day n, and the last one is open.
    fn files() -> Vec<Aged> {
        [5, 3, 1, 4, 2]
            .map(|day| Aged {
                key: day.to_string(),
                len: 10,
                newest: day * 86_400,
                is_closed: day < 5,
            })
            .into()
    }

    #[track_caller]
    fn check(retain: Retain, trusted: Option<i64>, expected: &[&str]) {
        let gone = expired(files(), retain, trusted.map(|day| day * 86_400));
        let gone: Vec<_> = gone.iter().map(|found| &*found.key).collect();
        assert_eq!(gone, expected);
    }

    #[test]
    fn oldest_closed_files_expire_first() {
        let age = |days| Retain { max_age: Some(DAY * days), ..Retain::default() };
        let size = |bytes| Retain { max_total_size: Some(bytes), ..Retain::default() };
        check(Retain::default(), Some(6), &[]);
        check(age(3), Some(6), &["1", "2"]);
        check(age(0), Some(6), &["1", "2", "3", "4"]);
        check(age(1), Some(-9999), &[]);
        check(size(50), Some(6), &[]);
        check(size(25), Some(6), &["1", "2", "3"]);
        check(size(0), Some(6), &["1", "2", "3", "4"]);
        let both = Retain { max_age: Some(DAY * 4), max_total_size: Some(30) };
        check(both, Some(6), &["1", "2"]);
    }

    #[test]
    fn only_the_limit_on_age_waits_for_a_trusted_time() {
        let both = Retain { max_age: Some(DAY), max_total_size: Some(40) };
        check(both, None, &["1"]);
        check(both, Some(9), &["1", "2", "3", "4"]);
    }
}
