//! An event with its cost.

use std::sync::Arc;

use observer_core::{Cost, Envelope, Pricing};

/// Event with its cost. The event has read its fields and its usage, which takes most of the time
/// that counting takes, so that counts are locked for a short time only.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) cost: Option<Cost>,
}

impl Reading {
    pub(crate) fn new(envelope: &Arc<Envelope>, prices: &dyn Pricing) -> Self {
        let event = &envelope.event;
        // Phases and corrections count in no sum.
        let is_summed = event.ok().is_some() && event.replaces().is_none();
        let cost = is_summed.then(|| Cost::of(envelope, prices)).flatten();
        Self { envelope: Arc::clone(envelope), cost }
    }
}
