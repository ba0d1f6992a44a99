//! Which files go.

use std::time::SystemTime;

use jiff::civil::Date;

use crate::config::Retain;
use crate::names::listing::Found;

/// The closed files that are too old or too much, oldest first. A file is as old as its last line.
pub(crate) fn expired(
    mut files: Vec<Found>,
    retain: Retain,
    latest: Option<Date>,
    now: SystemTime,
) -> Vec<Found> {
    files.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    let mut total: u64 = files.iter().map(|found| found.len).sum();
    files.retain(|found| {
        let age = now.duration_since(found.modified).unwrap_or_default();
        let is_old = retain.max_age.is_some_and(|max_age| age > max_age);
        let is_much = retain.max_total_size.is_some_and(|max_total_size| total > max_total_size);
        let goes = found.is_closed(latest) && (is_old || is_much);
        if goes {
            total -= found.len;
        }
        goes
    });
    files
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::civil::date;

    use super::*;
    use crate::compression::Compression;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Ten bytes each, the n-th last written on day n.
    fn files() -> Vec<Found> {
        let found = |day: i8, index| Found {
            path: format!("{day}-{index:?}").into(),
            date: Some(date(2026, 11, day)),
            index,
            compression: Compression::None,
            len: 10,
            modified: SystemTime::UNIX_EPOCH + DAY * u32::try_from(day).unwrap(),
        };
        vec![found(5, None), found(3, None), found(1, None), found(4, Some(1)), found(2, None)]
    }

    #[track_caller]
    fn check(retain: Retain, latest: i8, expected: &[&str]) {
        let now = SystemTime::UNIX_EPOCH + DAY * 6;
        let gone = expired(files(), retain, Some(date(2026, 11, latest)), now);
        let gone: Vec<_> = gone.iter().map(|found| found.path.to_str().unwrap()).collect();
        assert_eq!(gone, expected);
    }

    #[test]
    fn the_oldest_closed_files_go_first() {
        let age = |days| Retain { max_age: Some(DAY * days), ..Retain::default() };
        let size = |bytes| Retain { max_total_size: Some(bytes), ..Retain::default() };
        check(Retain::default(), 5, &[]);
        check(age(3), 5, &["1-None", "2-None"]);
        check(size(50), 5, &[]);
        check(size(25), 5, &["1-None", "2-None", "3-None"]);
        check(size(0), 5, &["1-None", "2-None", "3-None", "4-Some(1)"]);
        check(
            Retain { max_age: Some(DAY * 4), max_total_size: Some(30) },
            5,
            &["1-None", "2-None"],
        );
    }

    #[test]
    fn active_files_stay_whatever_their_age() {
        check(
            Retain { max_age: Some(Duration::ZERO), max_total_size: Some(0) },
            2,
            &["1-None", "4-Some(1)"],
        );
    }
}
