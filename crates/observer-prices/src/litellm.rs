//! LiteLLM's price map: `model_prices_and_context_window.json`.
//!
//! An object of models by name, each an object. Prices are US dollars per token under keys such as
//! `input_cost_per_token`, with suffixes for contexts above a threshold (`_above_200k_tokens`) and
//! for service tiers (`_batches`, `_flex`, `_priority`). `tiered_pricing` is a list of the same
//! prices by range of the context. `alias_of` names another entry. Everything else is ignored, such
//! as prices per image, per second and by time of day.

use std::collections::BTreeMap;

use observer_core::ServiceTier;
use serde_json::value::RawValue;

use crate::entry::{MAX_RATE, ParseError};
use crate::error::EntryProblem;
use crate::price_list::{Kind, PriceList, StatedRates};

/// Keys of the file that are no models.
const NO_MODELS: [&str; 2] = ["sample_spec", "fallback_generalizations"];

/// Value of `litellm_provider` for models that run locally.
const LOCAL: &str = "ollama";

/// Model of the map.
#[derive(Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) name: String,
    /// True unless the model runs locally.
    pub(crate) is_hosted: bool,
    pub(crate) terms: Terms,
}

/// What the map states about a model.
#[derive(Debug, PartialEq)]
pub(crate) enum Terms {
    Prices(PriceList),
    AliasOf(String),
    /// No price of tokens, which is not the price 0.
    Unpriced,
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Parses the map.
pub(crate) fn parse(text: &str) -> Result<Vec<Model>, ParseError> {
    let models: Members<'_> =
        serde_json::from_str(text).map_err(|error| ParseError::Malformed(error.to_string()))?;
    let models = models.into_iter().filter(|(name, _)| !NO_MODELS.contains(&name.as_str()));
    models.map(|(name, model)| parse_model(name, model).map_err(ParseError::Invalid)).collect()
}

fn parse_model(name: String, model: &RawValue) -> Result<Model, EntryProblem> {
    let reader = Reader { model: &name };
    let members: Members<'_> = reader.read("", model, "an object")?;
    let text = |key: &str| {
        let value = members.get(key).filter(|value| value.get() != "null");
        value.map(|value| reader.read::<String>(key, value, "a string")).transpose()
    };
    let is_hosted = text("litellm_provider")?.is_none_or(|provider| provider != LOCAL);
    let terms = match text("alias_of")? {
        Some(target) => Terms::AliasOf(target),
        None => reader.prices(&members, text("mode")?.as_deref())?,
    };
    Ok(Model { name, is_hosted, terms })
}

/// Reader of the values of one model.
#[derive(Clone, Copy)]
struct Reader<'a> {
    model: &'a str,
}

impl Reader<'_> {
    fn read<'v, T: serde::Deserialize<'v>>(
        self,
        key: &str,
        value: &'v RawValue,
        expected: &str,
    ) -> Result<T, EntryProblem> {
        serde_json::from_str(value.get()).map_err(|_| {
            let found: String = value.get().chars().take(40).collect();
            self.problem(key, format!("expected {expected}, found {found}"))
        })
    }

    fn problem(self, key: &str, message: String) -> EntryProblem {
        EntryProblem::new(format!("{:?}", self.model), key, message)
    }

    /// Reads the prices of tokens. Those of models that are priced by anything else too, such as
    /// images or seconds of audio, don't tell the cost.
    fn prices(self, members: &Members<'_>, mode: Option<&str>) -> Result<Terms, EntryProblem> {
        if !matches!(mode, None | Some("chat" | "completion" | "responses" | "embedding")) {
            return Ok(Terms::Unpriced);
        }
        let mut rates = StatedRates::default();
        // The second name of a price is a fallback.
        for pass in [KeyNames::Fallback, KeyNames::Usual] {
            for (key, value) in members {
                if let Some(key_of) = PriceKey::parse(key, pass) {
                    self.state(&mut rates, key_of, key, value)?;
                }
            }
        }
        if let Some(steps) = members.get("tiered_pricing") {
            self.steps(&mut rates, steps)?;
        }
        if mode == Some("embedding") && rates.standard(Kind::Output).is_none() {
            rates.set(0, ServiceTier::Standard, Kind::Output, 0.0);
        }
        Ok(rates.complete().map_or(Terms::Unpriced, Terms::Prices))
    }

    /// Reads `tiered_pricing`: prices of contexts above the start of a range. Steps by something
    /// else have no range.
    fn steps(self, rates: &mut StatedRates, steps: &RawValue) -> Result<(), EntryProblem> {
        let at = "tiered_pricing";
        let steps: Vec<Members<'_>> = self.read(at, steps, "a list of objects")?;
        for step in steps {
            let Some(range) = step.get("range") else { continue };
            let [start, _]: [f64; 2] = self.read(at, range, "a range of two numbers")?;
            for (key, value) in &step {
                if let Some(price) = PriceKey::parse(key, KeyNames::Usual) {
                    let price = PriceKey { above: start.max(0.0) as u64, ..price };
                    self.state(rates, price, key, value)?;
                }
            }
        }
        Ok(())
    }

    fn state(
        self,
        rates: &mut StatedRates,
        price: PriceKey,
        key: &str,
        value: &RawValue,
    ) -> Result<(), EntryProblem> {
        let Some(rate): Option<f64> = self.read(key, value, "a number")? else { return Ok(()) };
        if !(rate.is_finite() && rate >= 0.0) {
            return Err(self.problem(key, format!("must be at least 0, not {rate}")));
        }
        if rate > MAX_RATE / 1e6 {
            let problem = format!("must be at most 1 US dollar per token, not {rate:e}");
            return Err(self.problem(key, problem));
        }
        rates.set(price.above, price.tier, price.kind, rate);
        Ok(())
    }
}

/// Names of prices that are recognised.
#[derive(Debug, Clone, Copy, PartialEq)]
enum KeyNames {
    Usual,
    /// Names that stand for another one in some entries.
    Fallback,
}

/// Meaning of the key of a price.
#[derive(Debug, Clone, Copy, PartialEq)]
struct PriceKey {
    kind: Kind,
    /// Context in tokens above which the price applies.
    above: u64,
    tier: ServiceTier,
}

impl PriceKey {
    fn parse(key: &str, names: KeyNames) -> Option<Self> {
        let (key, tier) = split_tier(key);
        let (key, above) = split_threshold(key)?;
        // Either suffix may be the last one.
        let (key, tier) = if tier == ServiceTier::Standard { split_tier(key) } else { (key, tier) };
        let kind = match (names, key) {
            (KeyNames::Usual, "input_cost_per_token") => Kind::Input,
            (KeyNames::Usual, "output_cost_per_token") => Kind::Output,
            (KeyNames::Usual, "cache_read_input_token_cost")
            | (KeyNames::Fallback, "input_cost_per_token_cache_hit") => Kind::CacheRead,
            (KeyNames::Usual, "cache_creation_input_token_cost") => Kind::CacheWrite,
            (KeyNames::Usual, "cache_creation_input_token_cost_above_1hr") => Kind::CacheWrite1h,
            (KeyNames::Usual, "output_cost_per_reasoning_token") => Kind::Reasoning,
            _ => return None,
        };
        Some(Self { kind, above, tier })
    }
}

fn split_tier(key: &str) -> (&str, ServiceTier) {
    let suffixes = [
        ("_batches", ServiceTier::Batch),
        ("_flex", ServiceTier::Flex),
        ("_priority", ServiceTier::Priority),
    ];
    let found = suffixes.iter().find_map(|(suffix, tier)| Some((key.strip_suffix(suffix)?, *tier)));
    found.unwrap_or((key, ServiceTier::Standard))
}

/// Splits `_above_200k_tokens` off a key. Returns `None` if the threshold is no number.
fn split_threshold(key: &str) -> Option<(&str, u64)> {
    let Some(stem) = key.strip_suffix("_tokens") else { return Some((key, 0)) };
    let (stem, number) = stem.rsplit_once("_above_")?;
    let above = match number.strip_suffix('k') {
        Some(thousands) => thousands.parse::<u64>().ok()?.checked_mul(1_000)?,
        None => number.parse().ok()?,
    };
    Some((stem, above))
}

#[cfg(test)]
mod tests;
