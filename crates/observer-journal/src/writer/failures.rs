//! What the log is told of commits that fail: that it began, what else it became, and that it is
//! over.

use std::error::Error;
use std::mem::discriminant;

use crate::error::AppendError;

/// It is over when nothing failed for this long, in microseconds: on a disk that is almost full,
/// small commits work between those that don't.
const CALM: u64 = 5_000_000;

/// From the first commit that failed to a calm time.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Option<Since>);

#[derive(Debug)]
struct Since {
    what: AppendError,
    began: u64,
    /// When a commit failed last.
    last: u64,
    /// Records that were not taken; one that comes again counts again.
    refused: u64,
}

impl Trouble {
    /// A commit of so many records failed.
    pub(crate) fn failed(&mut self, error: &AppendError, records: u64, now: u64) {
        let since = self.0.get_or_insert_with(|| {
            tell(error);
            Since { what: error.clone(), began: now, last: now, refused: 0 }
        });
        since.last = now;
        since.refused += records;
        if discriminant(&since.what) != discriminant(error) {
            tell(error);
            since.what = error.clone();
        }
    }

    /// Nothing is wrong at the moment.
    pub(crate) fn none(&mut self, now: u64) {
        if let Some(Since { began, refused, .. }) =
            self.0.take_if(|since| now.saturating_sub(since.last) >= CALM)
        {
            let seconds = now.saturating_sub(began) / 1_000_000;
            tracing::info!(refused, seconds, "the journal takes records again");
        }
    }
}

fn tell(error: &AppendError) {
    let reason =
        error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    tracing::error!(
        reason,
        "the journal takes no records: producers are told to come back, readers go on"
    );
}
