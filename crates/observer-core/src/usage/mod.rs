//! Tokens and cost of a cycle, in one shape for every model API.
//!
//! | module | content |
//! |---|---|
//! | `reading` | the places of an event in which usage may stand, and their precedence |
//! | `walk` | one pass over a place, in bounded work and without a tree |
//! | `deep` | tokens in objects that are too deep for the walk |
//! | `frame` | the object that the walk is in |
//! | `list` | the items of a list: calls, or chunks of a stream |
//! | `names` | the names of tokens and cost, and what they mean |
//! | `tokens` | from the counts of one object to tokens with the same inclusions for every API |
//! | `found` | which of several usages count, and which are added up |

mod deep;
mod found;
mod frame;
mod list;
mod names;
mod reading;
#[cfg(test)]
mod tests;
mod tokens;
mod walk;

pub(crate) use self::reading::{Others, Places, UsageReading};
use crate::ServiceTier;

/// Tokens and cost of a cycle, normalised over the APIs and tools that report them.
///
/// | | input | output | cached input |
/// |---|---|---|---|
/// | OpenAI Chat | `prompt_tokens` | `completion_tokens` | `cached_tokens` |
/// | OpenAI Responses | `input_tokens` | `output_tokens` | `cached_tokens` |
/// | Anthropic | `input_tokens` | `output_tokens` | `cache_read_input_tokens` |
/// | Gemini | `promptTokenCount` | `candidatesTokenCount` | `cachedContentTokenCount` |
/// | Bedrock | `inputTokens` | `outputTokens` | `cacheReadInputTokens` |
/// | Ollama | `prompt_eval_count` | `eval_count` | `prompt_eval_cached_count` |
///
/// These and many other names are read in any case and with any separator. Some APIs count cached
/// tokens as part of the input and reasoning as part of the output, others in addition to them.
/// Here they are parts always. `total_tokens` decides where the names leave it open.
///
/// ```
/// use observer_core::Usage;
///
/// let anthropic = Usage::parse(
///     r#"{"input_tokens":10,"cache_read_input_tokens":90,"output_tokens":5}"#,
/// ).unwrap();
/// assert_eq!((anthropic.input, anthropic.cached_input), (100, 90));
///
/// let openai = Usage::parse(concat!(
///     r#"{"prompt_tokens":100,"completion_tokens":5,"#,
///     r#""prompt_tokens_details":{"cached_tokens":90}}"#,
/// )).unwrap();
/// assert_eq!((openai.input, openai.cached_input), (100, 90));
///
/// let total = Usage::parse(concat!(
///     r#"{"input_tokens":100,"cache_read_input_tokens":90,"output_tokens":5,"#,
///     r#""total_tokens":105}"#,
/// )).unwrap();
/// assert_eq!((total.input, total.cached_input), (100, 90));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens that the model read, cached ones included.
    pub input: u64,
    /// Part of `input` that was read from a cache.
    pub cached_input: u64,
    /// Part of `input` that was written to a cache.
    pub cache_creation_input: u64,
    /// Part of `cache_creation_input` that was written for an hour.
    pub cache_creation_1h_input: u64,
    /// Tokens that the model wrote, reasoning included.
    pub output: u64,
    /// Part of `output` that is reasoning.
    pub reasoning: u64,
    /// Tokens of which only the total was reported. They have no price, and are part of neither
    /// `input` nor `output`; 0 if there are others.
    pub unsplit: u64,
    /// Cost in US dollars, if the producer reported it.
    pub cost_usd: Option<f64>,
    /// Tier in which the requests were served.
    pub service_tier: ServiceTier,
    /// True for usage in Ollama's own shape, whose tokens cost nothing unless a price says
    /// otherwise.
    pub local: bool,
}

impl Usage {
    /// Parses a usage object, or anything that holds one. Returns `None` if it has neither tokens
    /// nor a cost.
    ///
    /// The text must be valid JSON; of other text, the result is that of its valid beginning.
    /// Values of the wrong type are ignored, since `extra` may hold anything. The last value of a
    /// repeated key counts.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        let places = Places { usage: Some(json.trim_ascii()), ..Places::default() };
        UsageReading::of(&places, None).usage
    }
}
