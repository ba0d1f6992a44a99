//! Attempts by problem.
//!
//! Rows are sorted by problem and time in *runs*, as in a log-structured merge tree: a random page
//! for each event would cost more than everything else. New attempts go into the open run, which is
//! small. A full run is closed; eight runs of a level become one of the next level, in steps of
//! some thousand rows between batches. The attempts at a problem are the rows of all runs; a row
//! replaces that of an older run with the same key, which is how corrections are written.
//!
//! Age: runs of a higher level are older; within a level, those with smaller ids.

mod merge;
mod read;
mod write;

use observer_core::{Pricing, Timestamp, Usage, Uuid};

pub(crate) use self::merge::{drop_runs, merge_step};
pub(crate) use self::read::attempts_of;
pub(crate) use self::write::write;
use crate::outcome::{Basis, Class};

/// State of a run that can be read.
const LIVE: i64 = 0;
/// State of a run that is being merged; it can still be read.
const SOURCE: i64 = 1;
/// State of a run that a merge writes. States from here on are not read.
const TARGET: i64 = 2;
/// State of a run that was merged, and whose rows are being deleted.
const DEAD: i64 = 3;

/// One attempt. Texts are numbers of their dictionaries; times are in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AttemptRow {
    pub(crate) signature: i64,
    pub(crate) at: i64,
    pub(crate) n: i64,
    /// `None` if the attempt no longer belongs to the problem.
    pub(crate) ok: Option<bool>,
    pub(crate) source: i64,
    pub(crate) kind: i64,
    pub(crate) model: i64,
    pub(crate) version: i64,
    pub(crate) class: Class,
    /// Reported cost.
    pub(crate) cost: Option<f64>,
    pub(crate) ms: Option<f64>,
    pub(crate) turns: i64,
    pub(crate) usage: Usage,
    pub(crate) failure: i64,
    /// Values of the event that answers need, so that none of the attempts at a problem has to be
    /// looked up. `None` in rows of versions 1 and 2.
    pub(crate) shown: Option<Shown>,
}

/// Values of an attempt that answers show and figures don't need.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    /// Id of the event.
    pub(crate) id: Uuid,
    /// Error line of a failure.
    pub(crate) text: Option<Box<str>>,
}

impl AttemptRow {
    /// Returns the key of the row within a run.
    pub(crate) fn key(&self) -> (i64, i64, i64) {
        (self.signature, self.at, self.n)
    }

    pub(crate) fn order(&self) -> (i64, i64) {
        (self.at, self.n)
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.ok == Some(true)
    }

    pub(crate) fn time(&self) -> Timestamp {
        time(self.at)
    }

    /// Returns the cost in US dollars, reported or priced; `None` if it is unknown. `model` is the
    /// name of the model.
    pub(crate) fn cost_by(&self, prices: &dyn Pricing, model: &str) -> Option<f64> {
        match self.class.basis() {
            Basis::None => None,
            Basis::Reported => self.cost,
            Basis::Tokens => {
                let rates = prices.rates(&self.class.rate_query(model, self.time()));
                self.class.cost(rates, &self.usage)
            }
        }
    }

    /// Returns whether the attempt has tokens without a price, given its cost.
    pub(crate) fn is_unpriced(&self, cost: Option<f64>) -> bool {
        cost.is_none() && self.class.basis() == Basis::Tokens
    }
}

/// Returns the time of a number of microseconds.
pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}
