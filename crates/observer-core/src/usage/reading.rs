//! The places of an event in which usage may stand.

use super::Usage;
use super::found::Found;
use super::names::Context;
use super::walk::{self, Walked};

/// JSON texts of an event in which usage may stand, in the order of precedence.
#[derive(Default)]
pub(crate) struct Places<'a> {
    /// Value of the field `usage`.
    pub(crate) usage: Option<&'a str>,
    /// Members of the event that are no fields, if there are any.
    pub(crate) others: Option<Others<'a>>,
    /// Value of the field `extra`.
    pub(crate) extra: Option<&'a str>,
}

/// Some of the members of an object.
pub(crate) struct Others<'a> {
    /// Text of the object.
    pub(crate) object: &'a str,
    /// Returns whether a member of this name is one of them.
    pub(crate) is_other: fn(&[u8]) -> bool,
}

/// Everything that an event says about its usage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UsageReading {
    pub(crate) usage: Option<Usage>,
    /// False if `usage` has nothing but the cost of the field `cost_usd`.
    pub(crate) is_reported: bool,
    /// True if numbers under names like those of tokens or cost were not understood.
    pub(crate) is_unread: bool,
}

impl UsageReading {
    /// Reads the usage of an event from its places and the field `cost_usd`.
    pub(crate) fn of(places: &Places<'_>, cost_usd: Option<f64>) -> Self {
        let mut reading = Walked { found: Found::default(), is_partial: false };
        if let Some(usage) = places.usage {
            reading.or(walk::value(usage, Context::Usage));
        }
        if let Some(Others { object, is_other }) = places.others {
            reading.or(walk::members(object, is_other));
        }
        if let Some(extra) = places.extra {
            let has_cost = cost_usd.or(reading.found.whole_cost()).is_some();
            if !(has_cost && reading.found.has_complete_tokens()) {
                reading.or(walk::value(extra, Context::Plain));
            }
        }
        let Walked { mut found, is_partial } = reading;
        let is_reported = found.tokens.is_some() || found.whole_cost().is_some();
        if cost_usd.is_some() {
            (found.cost, found.is_cost_partial) = (cost_usd, false);
        }
        let cost_usd = found.whole_cost();
        let tokens = found.tokens.unwrap_or_default();
        let usage = Usage {
            input: tokens.input,
            cached_input: tokens.cached,
            cache_creation_input: tokens.written,
            cache_creation_1h_input: tokens.written_1h,
            output: tokens.output,
            reasoning: tokens.reasoning,
            unsplit: if found.tokens.is_none() { found.unsplit } else { 0 },
            cost_usd,
            service_tier: found.service_tier.unwrap_or_default(),
            local: tokens.is_local,
        };
        Self {
            usage: (found.tokens.is_some() || cost_usd.is_some() || found.unsplit > 0)
                .then_some(usage),
            is_reported,
            is_unread: is_partial || found.is_unread(),
        }
    }
}

impl Walked {
    /// Adds the next place. What could not be read of it is missed only if no place before has
    /// tokens.
    fn or(&mut self, next: Self) {
        self.is_partial |= next.is_partial && !self.found.has_complete_tokens();
        self.found = self.found.or(next.found);
    }
}
