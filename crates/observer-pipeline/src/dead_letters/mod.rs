//! Dead letters: events that a sink rejected for good.
//!
//! [`store`] writes them, [`index`] finds, loads and removes them, [`redeliver`] sends them to
//! their sink again, and [`handle`] is the API of the pipeline for all of that.

pub(crate) mod handle;
pub(crate) mod index;
mod redeliver;
pub(crate) mod store;
