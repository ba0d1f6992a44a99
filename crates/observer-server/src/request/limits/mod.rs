//! Limits of what clients hold at the same time.
//!
//! A [`budget`] is the memory of bodies and responses, with a share for each [`peer`] and token,
//! and [`in_flight`] the number of requests.

pub(crate) mod budget;
pub(crate) mod in_flight;
pub(crate) mod peer;
