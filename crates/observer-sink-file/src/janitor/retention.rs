//! Selection of the closed files that exceed the limits on age and size.

use std::time::SystemTime;

use jiff::civil::Date;

use crate::config::Retain;
use crate::names::listing::ListedFile;

/// Returns the closed files that exceed the limits, oldest first. The age of a file is that of its
/// last line.
pub(crate) fn expired(
    mut files: Vec<ListedFile>,
    retain: Retain,
    latest: Option<Date>,
    now: SystemTime,
) -> Vec<ListedFile> {
    files.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    let mut total: u64 = files.iter().map(|found| found.len).sum();
    files.retain(|found| {
        let age = now.duration_since(found.modified).unwrap_or_default();
        let is_old = retain.max_age.is_some_and(|max_age| age > max_age);
        let is_excess = retain.max_total_size.is_some_and(|max_total_size| total > max_total_size);
        let is_expired = found.is_closed(latest) && (is_old || is_excess);
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

    use jiff::civil::date;

    use super::*;
    use crate::compression::Compression;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Five files of ten bytes; the n-th one was last written on day n.
    fn files() -> Vec<ListedFile> {
        let found = |day: i8, index| ListedFile {
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
    fn oldest_closed_files_expire_first() {
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
    fn active_files_never_expire() {
        check(
            Retain { max_age: Some(Duration::ZERO), max_total_size: Some(0) },
            2,
            &["1-None", "4-Some(1)"],
        );
    }
}
