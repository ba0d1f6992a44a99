//! Sums by time.
//!
//! A row has the sums of one slot of time, source, model and [`Class`](crate::outcome::Class), and
//! the same for each value of a label. There are slots of a day, of an hour and of a quarter of an
//! hour, all in UTC and all written at once, so that a query reads few large slots and the small
//! ones at its ends. Every time zone in use differs from UTC by a multiple of a quarter.
//!
//! Sums of labels have no quarters. Tokens are priced when they are read.

mod delta;
mod read;
mod slots;

pub(crate) use self::delta::{Deltas, TOLD_APART, Values};
pub(crate) use self::read::{Conditions, Group, Key, Sums, interval, read};
pub(crate) use self::slots::{Level, Slots, cover};
