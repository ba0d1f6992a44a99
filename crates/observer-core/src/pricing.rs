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
    /// Time of the event. Prices have effective dates, each from 00:00 UTC.
    pub at: Timestamp,
    /// Input tokens of the one request, for prices that depend on the size of the context; 0 if
    /// the usage is that of several requests, for which the price of a small context applies. A
    /// [`context_bucket`] stands for all its contexts.
    pub context: u64,
    /// Tier in which the requests were served.
    pub service_tier: ServiceTier,
    /// True if the model runs locally. Then only a price for this very name applies, not that of a
    /// hosted model with a similar one.
    pub local: bool,
}

impl<'a> RateQuery<'a> {
    /// Returns the query for an event and its usage. The usage is known to be that of one request
    /// if `turns` is 1. A time that lies after the receipt counts as that of the receipt, as in
    /// every figure.
    #[must_use]
    pub fn of(envelope: &'a Envelope, usage: &Usage) -> Self {
        let event = &envelope.event;
        Self {
            model: event.staffer_id().unwrap_or_default(),
            at: event
                .timestamp()
                .map_or(envelope.received_at, |time| time.min(envelope.received_at)),
            context: if event.turns() == Some(1) { usage.input } else { 0 },
            service_tier: usage.service_tier,
            local: usage.local,
        }
    }
}

/// Numbers of input tokens above which some model has another price, in ascending order.
///
/// Sums of tokens that are to be priced later are split at these. They are the thresholds of
/// LiteLLM's price map.
pub const CONTEXT_THRESHOLDS: [u64; 7] =
    [32_000, 100_000, 128_000, 200_000, 256_000, 272_000, 512_000];

/// Returns the smallest context that has the same price as this one for every model, given that
/// prices change at [`CONTEXT_THRESHOLDS`] only.
///
/// ```
/// use observer_core::context_bucket;
///
/// assert_eq!([0, 5, 32_000].map(context_bucket), [0, 0, 0]);
/// assert_eq!([200_000, 200_001, 256_000].map(context_bucket), [128_001, 200_001, 200_001]);
/// ```
#[must_use]
pub fn context_bucket(context: u64) -> u64 {
    let passed = CONTEXT_THRESHOLDS.iter().rev().find(|threshold| **threshold < context);
    passed.map_or(0, |threshold| threshold + 1)
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

impl ServiceTier {
    /// Every tier, in the order of the definition.
    pub const ALL: [Self; 4] = [Self::Standard, Self::Batch, Self::Flex, Self::Priority];

    /// Returns the name of the tier.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Batch => "batch",
            Self::Flex => "flex",
            Self::Priority => "priority",
        }
    }
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
    /// Returns the cost of tokens in US dollars.
    ///
    /// The cost of a sum of usages is the sum of their costs, as long as the same rates apply to
    /// each and no part of a usage exceeds its whole.
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
        let usage = envelope.event.usage()?;
        if let Some(cost) = usage.cost_usd {
            return Some(Self::Reported(cost));
        }
        if usage.unsplit > 0 {
            // Input and output have different prices.
            return Some(Self::Unpriced);
        }
        let has_tokens = usage.input > 0 || usage.output > 0;
        Some(match pricing.rates(&RateQuery::of(envelope, usage)) {
            Some(rates) => Self::Priced(rates.cost(usage)),
            None if usage.local || !has_tokens => Self::Priced(0.0),
            None => Self::Unpriced,
        })
    }

    /// Returns the cost in US dollars, or `None` if it is unknown.
    #[must_use]
    pub const fn usd(self) -> Option<f64> {
        match self {
            Self::Reported(cost) | Self::Priced(cost) => Some(cost),
            Self::Unpriced => None,
        }
    }

    /// Returns the name of the basis: `reported`, `priced` or `unpriced`.
    #[must_use]
    pub const fn basis(self) -> &'static str {
        match self {
            Self::Reported(_) => "reported",
            Self::Priced(_) => "priced",
            Self::Unpriced => "unpriced",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Event, Uuid};

    /// Prices one model, and keeps nothing of the query but its context.
    #[derive(Debug)]
    struct OneModel;

    impl Pricing for OneModel {
        fn rates(&self, query: &RateQuery<'_>) -> Option<Rates> {
            let input = if query.context > 200_000 { 2.0 } else { 1.0 };
            (query.model == "m").then_some(Rates { input, output: 10.0, ..Rates::default() })
        }
    }

    #[track_caller]
    fn check(fields: &str, expected: Option<Cost>) {
        let event = format!(r#"{{"source":"ci","event_kind":"ok","ok":true,{fields}}}"#);
        let event = Event::parse(event).unwrap();
        let envelope =
            Envelope { id: Uuid::nil(), seq: 1, received_at: Timestamp::UNIX_EPOCH, event };
        assert_eq!(Cost::of(&envelope, &OneModel), expected, "{fields}");
    }

    #[test]
    fn reported_cost_takes_precedence_over_a_price_and_a_price_over_none() {
        let usage = r#""usage":{"prompt_tokens":3,"completion_tokens":2}"#;
        check(r#""staffer_id":"m""#, None);
        check(&format!(r#""staffer_id":"m",{usage}"#), Some(Cost::Priced(23.0)));
        check(&format!(r#""staffer_id":"m","cost_usd":0,{usage}"#), Some(Cost::Reported(0.0)));
        check(&format!(r#""staffer_id":"n","cost_usd":5,{usage}"#), Some(Cost::Reported(5.0)));
        check(&format!(r#""staffer_id":"n",{usage}"#), Some(Cost::Unpriced));
        check(usage, Some(Cost::Unpriced));
    }

    #[test]
    fn tokens_without_a_price_cost_nothing_if_there_are_none() {
        let nothing = r#""staffer_id":"n","usage":{"prompt_tokens":0,"completion_tokens":0}"#;
        check(nothing, Some(Cost::Priced(0.0)));
    }

    #[test]
    fn total_alone_has_no_price() {
        check(r#""staffer_id":"m","usage":{"total_tokens":9}"#, Some(Cost::Unpriced));
        check(r#""staffer_id":"m","extra":{"tokens_used":9}"#, Some(Cost::Unpriced));
        let reported = r#""staffer_id":"m","cost_usd":2,"usage":{"total_tokens":9}"#;
        check(reported, Some(Cost::Reported(2.0)));
        check(r#""staffer_id":"m","usage":{"total_tokens":0}"#, None);
    }

    #[test]
    fn context_is_the_input_of_a_single_request() {
        let usage = r#""staffer_id":"m","usage":{"prompt_tokens":200001}"#;
        check(&format!(r#""turns":1,{usage}"#), Some(Cost::Priced(400_002.0)));
        check(&format!(r#""turns":2,{usage}"#), Some(Cost::Priced(200_001.0)));
        check(usage, Some(Cost::Priced(200_001.0)));
    }

    #[test]
    fn price_is_that_of_the_event_time_but_not_of_the_future() {
        let received: Timestamp = "2026-06-15T12:00:00Z".parse().unwrap();
        for (timestamp, expected) in [
            ("\"2026-06-01T00:00:00Z\"", "2026-06-01T00:00:00Z"),
            ("\"2027-02-01T00:00:00Z\"", "2026-06-15T12:00:00Z"),
            ("1801440000", "2026-06-15T12:00:00Z"),
            ("null", "2026-06-15T12:00:00Z"),
        ] {
            let event =
                format!(r#"{{"source":"ci","event_kind":"ok","ok":true,"timestamp":{timestamp}}}"#);
            let event = Event::parse(event).unwrap();
            let envelope = Envelope { id: Uuid::nil(), seq: 1, received_at: received, event };
            let query = RateQuery::of(&envelope, &Usage::default());
            assert_eq!(query.at, expected.parse().unwrap(), "{timestamp}");
        }
    }

    #[test]
    fn service_tiers_have_different_names() {
        let names = ServiceTier::ALL.map(ServiceTier::as_str);
        assert_eq!(names, ["standard", "batch", "flex", "priority"]);
        assert!(ServiceTier::ALL.is_sorted());
    }

    prop_compose! {
        /// A usage whose parts don't exceed their wholes.
        fn usages()(
            parts in prop::array::uniform6(0..1u64 << 40),
        ) -> Usage {
            let [fresh, cached, short, long, written, reasoning] = parts;
            Usage {
                input: fresh + cached + short + long,
                cached_input: cached,
                cache_creation_input: short + long,
                cache_creation_1h_input: long,
                output: written + reasoning,
                reasoning,
                ..Usage::default()
            }
        }
    }

    fn sum(a: &Usage, b: &Usage) -> Usage {
        Usage {
            input: a.input + b.input,
            cached_input: a.cached_input + b.cached_input,
            cache_creation_input: a.cache_creation_input + b.cache_creation_input,
            cache_creation_1h_input: a.cache_creation_1h_input + b.cache_creation_1h_input,
            output: a.output + b.output,
            reasoning: a.reasoning + b.reasoning,
            ..Usage::default()
        }
    }

    proptest! {
        #[test]
        fn cost_of_a_sum_is_the_sum_of_the_costs(
            a in usages(),
            b in usages(),
            rates in prop::array::uniform6(0.0..1e-3),
        ) {
            let [input, cached_input, cache_creation_input, cache_creation_1h_input, output,
                reasoning] = rates;
            let rates = Rates {
                input, cached_input, cache_creation_input, cache_creation_1h_input, output, reasoning,
            };
            let (together, apart) = (rates.cost(&sum(&a, &b)), rates.cost(&a) + rates.cost(&b));
            prop_assert!((together - apart).abs() <= together * 1e-12, "{together} {apart}");
        }

        #[test]
        fn bucket_is_the_smallest_context_between_the_same_thresholds(context in 0..1_000_000u64) {
            let passed = |context: u64| CONTEXT_THRESHOLDS.iter().filter(|t| context > **t).count();
            let bucket = context_bucket(context);
            prop_assert!(bucket <= context && passed(bucket) == passed(context));
            prop_assert!(bucket == 0 || passed(bucket - 1) < passed(context));
        }
    }
}
