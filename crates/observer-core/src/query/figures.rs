//! Parts that several results share.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::Usage;

/// Interval within which a ratio lies with a probability of 95 %, from 0 to 1. In JSON, an array of
/// the lower and the upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl From<[f64; 2]> for Interval {
    fn from([low, high]: [f64; 2]) -> Self {
        Self { low, high }
    }
}

impl From<Interval> for [f64; 2] {
    fn from(Interval { low, high }: Interval) -> Self {
        [low, high]
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Interval {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};

        let bound =
            ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0)).maximum(Some(1));
        ArrayBuilder::new()
            .items(bound)
            .min_items(Some(2))
            .max_items(Some(2))
            .description(Some("Lower and upper bound of the 95 % interval of a ratio."))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Interval {}

/// Sums of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tokens {
    /// Tokens that the models read, cached ones included.
    pub input: u64,
    /// Part of `input` that was read from a cache.
    pub cached_input: u64,
    /// Part of `input` that was written to a cache.
    pub cache_creation_input: u64,
    /// Tokens that the models wrote, reasoning included.
    pub output: u64,
    /// Part of `output` that is reasoning.
    pub reasoning: u64,
}

impl From<&Usage> for Tokens {
    fn from(usage: &Usage) -> Self {
        Self {
            input: usage.input,
            cached_input: usage.cached_input,
            cache_creation_input: usage.cache_creation_input,
            output: usage.output,
            reasoning: usage.reasoning,
        }
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.cached_input = self.cached_input.saturating_add(other.cached_input);
        self.cache_creation_input =
            self.cache_creation_input.saturating_add(other.cache_creation_input);
        self.output = self.output.saturating_add(other.output);
        self.reasoning = self.reasoning.saturating_add(other.reasoning);
    }
}

/// Returns whether a count is 0, for counts that JSON omits then.
pub(super) fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_is_an_array_in_json() {
        let interval = Interval { low: 0.25, high: 0.5 };
        let json = serde_json::to_string(&interval).unwrap();
        assert_eq!(json, "[0.25,0.5]");
        assert_eq!(serde_json::from_str::<Interval>(&json).unwrap(), interval);
    }
}
