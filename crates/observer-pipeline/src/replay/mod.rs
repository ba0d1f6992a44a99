//! ReplayStatus: a second pass of one sink over retained events of the journal.
//!
//! [`state`] is what is stored and reported of a replay, [`run`] its execution by the worker of the
//! sink, and [`handle`] the API of the pipeline.

pub(crate) mod handle;
mod run;
pub(crate) mod state;
