//! Replay: the delivery of retained events to a sink once more, or to a sink that was added later.
//!
//! A replay is a second stream through the journal, up to the sink's position at the start of the
//! replay; later events reach the sink by its live stream. The two streams take turns, batch by
//! batch, each in the order of the journal. The progress of a replay is the position of a separate
//! reader of the journal. So the journal retains the events that the replay still needs, and the
//! replay continues after a restart. A replay has its own account; position and account of the sink
//! don't change.
//!
//! [`state`] is the stored and the reported state of a replay, [`run`] its execution by the sink's
//! worker, and [`handle`] the API of the pipeline.

pub(crate) mod handle;
mod run;
pub(crate) mod state;
