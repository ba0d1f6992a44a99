//! Log messages about failed commits: the first failure, each change of the error, and the end.

use std::error::Error;
use std::mem::discriminant;

use crate::error::AppendError;

/// Time without a failure after which a series of failures is over, in microseconds. On a disk that
/// is almost full, small commits succeed between larger ones that fail.
const QUIET_TIME: u64 = 5_000_000;

/// Current series of failed commits.
#[derive(Debug, Default)]
pub(crate) struct FailureLog(Option<Series>);

#[derive(Debug)]
struct Series {
    error: AppendError,
    /// Time of the first failure.
    began: u64,
    /// Time of the last failure.
    last: u64,
    /// Number of rejected records; a record that is sent again counts again.
    rejected: u64,
}

impl FailureLog {
    /// Reports a failed commit of `records` records.
    pub(crate) fn commit_failed(&mut self, error: &AppendError, records: u64, now: u64) {
        let series = self.0.get_or_insert_with(|| {
            log(error);
            Series { error: error.clone(), began: now, last: now, rejected: 0 }
        });
        series.last = now;
        series.rejected += records;
        if discriminant(&series.error) != discriminant(error) {
            log(error);
            series.error = error.clone();
        }
    }

    /// Reports that commits work at this time.
    pub(crate) fn commits_work(&mut self, now: u64) {
        if let Some(Series { began, rejected, .. }) =
            self.0.take_if(|series| now.saturating_sub(series.last) >= QUIET_TIME)
        {
            let seconds = now.saturating_sub(began) / 1_000_000;
            tracing::info!(rejected, seconds, "the journal accepts records again");
        }
    }
}

fn log(error: &AppendError) {
    let reason =
        error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    tracing::error!(
        reason,
        "the journal accepts no records; producers have to retry, readers continue"
    );
}
