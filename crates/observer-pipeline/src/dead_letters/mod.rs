//! Dead letters: events that a sink rejected permanently.
//!
//! Each sink has a folder with numbered files of JSON Lines, which an operator can read:
//! `{"reason":…,"attempts":…,"dead_at":…,"envelope":{…}}`. The file with the highest number is
//! written to; a new process begins a new file. When the files reach their size limit, the sink is
//! parked: a dead letter is removed only by an operator, or after a redelivery.
//!
//! [`store`] writes the files, [`index`] finds, loads and removes dead letters, and [`redeliver`]
//! sends them to their sink again. [`undecided`] stores events that may become dead letters.
//! [`divert`] makes an event a dead letter on the order of an operator. [`handle`] is the API of
//! the pipeline for all of that.

pub(crate) mod divert;
pub(crate) mod handle;
pub(crate) mod index;
mod redeliver;
pub(crate) mod store;
pub(crate) mod undecided;
