//! Entries of TOML tables.
//!
//! ```toml
//! [[models]]
//! name = "claude-sonnet-4-5"      # or a pattern, "claude-sonnet-4-5*"
//! from = 2025-09-29               # applies from this day on, at 00:00 UTC; unset: always
//! input = 3                       # US dollars per million tokens, as every rate
//! output = 15
//! cache_read = 0.3                # unset: that of input
//! cache_write = 3.75              # unset: that of input
//! cache_write_1h = 6              # unset: that of cache_write
//! reasoning = 15                  # unset: that of output
//! batch = { input = 1.5, output = 7.5 }       # also flex, priority; unset: the standard rates
//! above = [{ context = 200_000, input = 6, output = 22.5 }]
//!
//! [[models]]
//! name = "our-deployment"
//! alias_of = "gpt-5"              # has the price of another name
//! ```

use jiff::civil::Date;
use jiff::tz::TimeZone;
use observer_core::{CONTEXT_THRESHOLDS, ServiceTier, Timestamp};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::error::EntryProblem;
use crate::price_list::{Kind, PriceList, StatedRates};

/// Smallest rate above 0, in US dollars per million tokens. A smaller one is taken for a price per
/// token.
const MIN_RATE: f64 = 0.001;

/// Largest rate, in US dollars per million tokens. It keeps every sum of costs finite.
pub(crate) const MAX_RATE: f64 = 1e6;

/// Price of one model, or of several whose names match a pattern.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "RawEntry")]
pub struct Entry {
    pub(crate) name: String,
    pub(crate) from: Option<Timestamp>,
    pub(crate) terms: EntryTerms,
}

/// What an entry states.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum EntryTerms {
    Prices(PriceList),
    AliasOf(String),
}

/// Entry as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    name: String,
    #[serde(default, deserialize_with = "day")]
    from: Option<Timestamp>,
    alias_of: Option<String>,
    #[serde(default, deserialize_with = "rate")]
    input: Option<f64>,
    #[serde(default, deserialize_with = "rate")]
    output: Option<f64>,
    #[serde(default, deserialize_with = "rate")]
    cache_read: Option<f64>,
    #[serde(default, deserialize_with = "rate")]
    cache_write: Option<f64>,
    #[serde(default, deserialize_with = "rate")]
    cache_write_1h: Option<f64>,
    #[serde(default, deserialize_with = "rate")]
    reasoning: Option<f64>,
    #[serde(default)]
    batch: RawRates,
    #[serde(default)]
    flex: RawRates,
    #[serde(default)]
    priority: RawRates,
    #[serde(default)]
    above: Vec<RawStep>,
}

/// Rates of a context above a threshold, as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    #[serde(deserialize_with = "threshold")]
    context: u64,
    #[serde(default, deserialize_with = "rate")]
    input: Option<f64>,
    #[serde(default, deserialize_with = "rate")]
    output: Option<f64>,
    #[serde(default, deserialize_with = "rate")]
    cache_read: Option<f64>,
    #[serde(default, deserialize_with = "rate")]
    cache_write: Option<f64>,
    #[serde(default, deserialize_with = "rate")]
    cache_write_1h: Option<f64>,
    #[serde(default, deserialize_with = "rate")]
    reasoning: Option<f64>,
    #[serde(default)]
    batch: RawRates,
    #[serde(default)]
    flex: RawRates,
    #[serde(default)]
    priority: RawRates,
}

/// Rates of one service tier, as they are written.
#[derive(Deserialize, Default, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct RawRates {
    #[serde(deserialize_with = "rate")]
    input: Option<f64>,
    #[serde(deserialize_with = "rate")]
    output: Option<f64>,
    #[serde(deserialize_with = "rate")]
    cache_read: Option<f64>,
    #[serde(deserialize_with = "rate")]
    cache_write: Option<f64>,
    #[serde(deserialize_with = "rate")]
    cache_write_1h: Option<f64>,
    #[serde(deserialize_with = "rate")]
    reasoning: Option<f64>,
}

/// Rates in the order of [`Kind::ALL`], in US dollars per million tokens.
type Row = [Option<f64>; Kind::ALL.len()];

impl RawRates {
    fn row(&self) -> Row {
        let Self { input, output, cache_read, cache_write, cache_write_1h, reasoning } = *self;
        [input, output, cache_read, cache_write, cache_write_1h, reasoning]
    }
}

impl RawStep {
    fn rows(&self) -> [Row; ServiceTier::ALL.len()] {
        let Self { input, output, cache_read, cache_write, cache_write_1h, reasoning, .. } = *self;
        let standard = [input, output, cache_read, cache_write, cache_write_1h, reasoning];
        [standard, self.batch.row(), self.flex.row(), self.priority.row()]
    }
}

impl RawEntry {
    fn rows(&self) -> [Row; ServiceTier::ALL.len()] {
        let Self { input, output, cache_read, cache_write, cache_write_1h, reasoning, .. } = *self;
        let standard = [input, output, cache_read, cache_write, cache_write_1h, reasoning];
        [standard, self.batch.row(), self.flex.row(), self.priority.row()]
    }

    fn terms(&self) -> Result<EntryTerms, &'static str> {
        let mut rates = StatedRates::default();
        let mut is_empty = true;
        let steps = self.above.iter().map(|step| (step.context, step.rows()));
        for (above, rows) in [(0, self.rows())].into_iter().chain(steps) {
            for (tier, row) in ServiceTier::ALL.into_iter().zip(rows) {
                for (kind, rate) in Kind::ALL.into_iter().zip(row) {
                    let Some(rate) = rate else { continue };
                    is_empty = false;
                    rates.set(above, tier, kind, rate / 1e6);
                }
            }
        }
        match &self.alias_of {
            Some(target) if is_empty => Ok(EntryTerms::AliasOf(target.clone())),
            Some(_) => Err("states rates beside `alias_of`; remove one of them"),
            None => {
                let prices = rates.complete();
                prices.map(EntryTerms::Prices).ok_or(
                    "needs the keys `input` and `output`, or `alias_of`; what is free has the \
                     rate 0",
                )
            }
        }
    }
}

impl TryFrom<RawEntry> for Entry {
    type Error = &'static str;

    fn try_from(raw: RawEntry) -> Result<Self, &'static str> {
        if raw.name.trim().is_empty() {
            return Err("needs a name that is not empty");
        }
        let mut contexts: Vec<_> = raw.above.iter().map(|step| step.context).collect();
        contexts.sort_unstable();
        if contexts.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("has two steps in `above` with the same `context`");
        }
        let terms = raw.terms()?;
        Ok(Self { name: raw.name, from: raw.from, terms })
    }
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let rate = f64::deserialize(deserializer)?;
    if !(rate.is_finite() && rate >= 0.0) {
        return Err(D::Error::custom(format_args!("must be a number of at least 0, not {rate}")));
    }
    if rate > MAX_RATE {
        return Err(D::Error::custom(format_args!(
            "must be at most {MAX_RATE} US dollars per million tokens, not {rate:e}"
        )));
    }
    if rate > 0.0 && rate < MIN_RATE {
        return Err(D::Error::custom(format_args!(
            "{rate} is a price per token; write US dollars per million tokens"
        )));
    }
    Ok(Some(rate))
}

fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let day = text.parse::<Date>().ok().filter(|day| text == day.to_string());
    let begin = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    begin.map(|begin| Some(begin.timestamp())).ok_or_else(|| {
        D::Error::custom(format_args!("must be a day such as 2026-01-31, not {text:?}"))
    })
}

fn threshold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let threshold = u64::deserialize(deserializer)?;
    if CONTEXT_THRESHOLDS.contains(&threshold) {
        return Ok(threshold);
    }
    let known: Vec<_> = CONTEXT_THRESHOLDS.iter().map(ToString::to_string).collect();
    Err(D::Error::custom(format_args!(
        "must be one of {}, not {threshold}, since stored sums of tokens are split there",
        known.join(", ")
    )))
}

/// Parses the entries of a TOML table.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, ParseError> {
    let file: toml::Table = toml::from_str(text)
        .map_err(|error| ParseError::Malformed(error.to_string().trim_end().to_owned()))?;
    if let Some(key) = file.keys().find(|key| *key != "models") {
        let message = format!("unknown key `{key}`; write each price as [[models]]");
        return Err(ParseError::Malformed(message));
    }
    let models = match file.into_iter().next() {
        None => Vec::new(),
        Some((_, toml::Value::Array(models))) => models,
        Some(_) => {
            let message = "`models` must be a list of tables; write each price as [[models]]";
            return Err(ParseError::Malformed(message.to_owned()));
        }
    };
    models.into_iter().enumerate().map(|(index, entry)| parse_entry(index, entry)).collect()
}

/// Error type for the text of a file.
pub(crate) enum ParseError {
    Malformed(String),
    Invalid(EntryProblem),
}

fn parse_entry(index: usize, mut entry: toml::Value) -> Result<Entry, ParseError> {
    let place = format!("models[{index}]");
    let place = match entry.get("name").and_then(toml::Value::as_str) {
        Some(name) => format!("{place} ({name:?})"),
        None => place,
    };
    // A date of TOML is neither a string nor a number.
    if let Some(from @ toml::Value::Datetime(_)) = entry.get_mut("from") {
        *from = toml::Value::String(from.to_string());
    }
    serde_path_to_error::deserialize(entry).map_err(|error| {
        let path = error.path().to_string();
        let key = if path == "." { String::new() } else { path };
        let message = error.into_inner().message().trim_end().replace('\n', ", ");
        ParseError::Invalid(EntryProblem::new(place, key, message))
    })
}

#[cfg(test)]
mod tests;
