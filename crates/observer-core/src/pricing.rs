//! Cost of tokens: rates of models, and the basis of an event's cost.

use std::fmt::Debug;

use jiff::Timestamp;

use crate::{Envelope, Usage};

/// Prices of models.
///
/// Sinks that sum costs look prices up here. The price table of the program implements it; an
/// embedder may supply another one.
pub trait Pricing: Debug + Send + Sync {
    /// Returns the rates that apply, or `None` if the model has no known price.
    fn rates(&self, query: &RateQuery<'_>) -> Option<Rates>;
}

/// Pricing without a price for any model.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPrices;

impl Pricing for NoPrices {
    fn rates(&self, _: &RateQuery<'_>) -> Option<Rates> {
        None
    }
}

/// Everything that decides about the rates of a model.
#[derive(Debug, Clone, Copy)]
pub struct RateQuery<'a> {
    /// Model as the producer names it.
    pub model: &'a str,
    /// Time of the event. Prices have effective dates.
    pub at: Timestamp,
    /// Input tokens of the one request, for prices that depend on the size of the context; 0 if
    /// the usage is that of several requests.
    pub context: u64,
    /// Tier in which the requests were served.
    pub service_tier: ServiceTier,
}

/// Tier in which a provider serves a request, with prices of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ServiceTier {
    /// Price list without a discount or a surcharge.
    #[default]
    Standard,
    /// Results within hours, at a discount.
    Batch,
    /// Lower priority, at a discount.
    Flex,
    /// Higher priority, at a surcharge.
    Priority,
}

/// Rates of a model in US dollars per token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// Rate of input that is neither read from a cache nor written to it.
    pub input: f64,
    /// Rate of input that is read from a cache.
    pub cached_input: f64,
    /// Rate of input that is written to a cache for the provider's default time.
    pub cache_creation_input: f64,
    /// Rate of input that is written to a cache for an hour.
    pub cache_creation_1h_input: f64,
    /// Rate of output that is not reasoning.
    pub output: f64,
    /// Rate of reasoning tokens.
    pub reasoning: f64,
}

impl Rates {
    /// Returns the cost of tokens in US dollars. Works for sums of usages, too, as long as the
    /// same rates apply to each.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> f64 {
        let short_lived = usage.cache_creation_input.saturating_sub(usage.cache_creation_1h_input);
        let fresh = usage
            .input
            .saturating_sub(usage.cached_input)
            .saturating_sub(usage.cache_creation_input);
        let written = usage.output.saturating_sub(usage.reasoning);
        fresh as f64 * self.input
            + usage.cached_input as f64 * self.cached_input
            + short_lived as f64 * self.cache_creation_input
            + usage.cache_creation_1h_input as f64 * self.cache_creation_1h_input
            + written as f64 * self.output
            + usage.reasoning as f64 * self.reasoning
    }
}

/// Cost of one event, by its basis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cost {
    /// Reported by the producer or the provider, in US dollars. It takes precedence over prices.
    Reported(f64),
    /// Computed from tokens and a price, in US dollars.
    Priced(f64),
    /// Tokens without a known price.
    Unpriced,
}

impl Cost {
    /// Returns the cost of an event, or `None` if the event reports neither tokens nor a cost.
    #[must_use]
    pub fn of(envelope: &Envelope, pricing: &dyn Pricing) -> Option<Self> {
        let event = &envelope.event;
        let usage = event.usage()?;
        if let Some(cost) = usage.cost_usd {
            return Some(Self::Reported(cost));
        }
        let query = RateQuery {
            model: event.staffer_id().unwrap_or_default(),
            at: event.timestamp().unwrap_or(envelope.received_at),
            context: if event.turns().unwrap_or(0) <= 1 { usage.input } else { 0 },
            service_tier: usage.service_tier,
        };
        Some(match pricing.rates(&query) {
            Some(rates) => Self::Priced(rates.cost(usage)),
            None if usage.local => Self::Priced(0.0),
            None => Self::Unpriced,
        })
    }
}
