//! What figures need from an event.

use observer_core::{
    CONTEXT_THRESHOLDS, Envelope, Event, RateQuery, Rates, ServiceTier, Timestamp, Usage,
    context_bucket,
};
use observer_figures::fingerprint::{ErrorSummary, summarize};
use observer_figures::state::event_time;

/// Label with the version of what was tried.
const VERSION: &str = "version";
/// Label with the id of the summary that the producer was given.
const HINT: &str = "hint_id";

/// Values of an outcome that figures are computed from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) source: String,
    pub(crate) kind: String,
    pub(crate) ok: bool,
    pub(crate) signature: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) ms: Option<f64>,
    pub(crate) turns: Option<u64>,
    pub(crate) usage: Option<Usage>,
    pub(crate) hinted: bool,
    /// Fingerprint of a failure; 0 for a success.
    pub(crate) failure: u64,
    /// Error line of a failure.
    pub(crate) error: Option<Box<str>>,
    /// Labels other than the one of hints.
    pub(crate) labels: Vec<(String, String)>,
}

impl Outcome {
    /// Returns the values of an outcome event, or `None` for a phase.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let ok = event.ok()?;
        let owned = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let summary = (!ok).then(|| error_summary(event));
        let label = |name: &str| event.labels().find(|label| label.0 == name).map(|label| label.1);
        Some(Self {
            source: event.source().to_owned(),
            kind: event.event_kind().to_owned(),
            ok,
            signature: owned(event.sig_hash()),
            model: owned(event.staffer_id()),
            version: owned(label(VERSION)),
            ms: event.duration_ms(),
            turns: event.turns(),
            usage: event.usage().copied(),
            hinted: label(HINT).is_some(),
            failure: summary.as_ref().map_or(0, |summary| summary.fingerprint.to_u64()),
            error: summary.and_then(|summary| summary.text).map(String::into_boxed_str),
            labels: event
                .labels()
                .filter(|(name, _)| *name != HINT)
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    }

    /// Returns this outcome with the values of a correction. What the correction does not mention
    /// stays; a reported cost without tokens leaves the tokens.
    pub(crate) fn corrected(&self, by: &Self) -> Self {
        Self {
            source: self.source.clone(),
            kind: by.kind.clone(),
            ok: by.ok,
            signature: by.signature.clone().or_else(|| self.signature.clone()),
            model: by.model.clone().or_else(|| self.model.clone()),
            version: by.version.clone().or_else(|| self.version.clone()),
            ms: by.ms.or(self.ms),
            turns: by.turns.or(self.turns),
            usage: corrected_usage(self.usage, by.usage),
            hinted: by.hinted || self.hinted,
            failure: by.failure,
            error: by.error.clone(),
            labels: if by.labels.is_empty() { self.labels.clone() } else { by.labels.clone() },
        }
    }
}

fn error_summary(event: &Event) -> ErrorSummary {
    summarize(event.event_kind(), event.extra().unwrap_or("{}"))
}

fn corrected_usage(old: Option<Usage>, new: Option<Usage>) -> Option<Usage> {
    let (Some(old), Some(new)) = (old, new) else { return new.or(old) };
    let cost_usd = new.cost_usd.or(old.cost_usd);
    let has_tokens = new.input > 0 || new.output > 0;
    let mut usage = if has_tokens { new } else { old };
    usage.cost_usd = cost_usd;
    Some(usage)
}

/// Returns the time of an event by which figures go.
pub(crate) fn time_of(envelope: &Envelope) -> Timestamp {
    event_time(envelope.event.timestamp(), envelope.received_at)
}

/// What decides about the price of tokens besides the model and the time, and whether the attempt
/// had a hint, as one small number. Sums by class can be priced as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Class(pub(crate) i64);

/// Where the cost of an attempt comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// Neither tokens nor a cost.
    None = 0,
    /// A reported cost.
    Reported = 1,
    /// Tokens, to be priced.
    Tokens = 2,
}

impl Class {
    /// Bit of tokens of which only the total is known, which have no price.
    const UNSPLIT: i64 = 1 << 10;

    /// Returns the class of an attempt.
    ///
    /// Bits from the lowest: hint (1), basis (2), local (1), tier (3), context (3), unsplit (1).
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let hint = i64::from(outcome.hinted);
        let Some(usage) = &outcome.usage else { return Self(hint) };
        if usage.cost_usd.is_some() {
            return Self(hint | (Basis::Reported as i64) << 1);
        }
        if usage.unsplit > 0 {
            return Self(hint | (Basis::Tokens as i64) << 1 | Self::UNSPLIT);
        }
        if usage.input == 0 && usage.output == 0 {
            return Self(hint);
        }
        let context = if outcome.turns == Some(1) { usage.input } else { 0 };
        let bucket = CONTEXT_THRESHOLDS.iter().filter(|&&limit| context > limit).count() as i64;
        let tier = usage.service_tier;
        let tier = ServiceTier::ALL.iter().position(|&each| each == tier).unwrap_or(0) as i64;
        let local = i64::from(usage.local);
        Self(hint | (Basis::Tokens as i64) << 1 | local << 3 | tier << 4 | bucket << 7)
    }

    pub(crate) fn hinted(self) -> bool {
        self.0 & 1 == 1
    }

    pub(crate) fn basis(self) -> Basis {
        match self.0 >> 1 & 3 {
            0 => Basis::None,
            1 => Basis::Reported,
            _ => Basis::Tokens,
        }
    }

    pub(crate) fn local(self) -> bool {
        self.0 >> 3 & 1 == 1
    }

    fn tier(self) -> ServiceTier {
        ServiceTier::ALL.get((self.0 >> 4 & 7) as usize).copied().unwrap_or_default()
    }

    /// Returns the question to a price table about tokens of this class. The context is the
    /// smallest of its bucket; no price changes within one.
    pub(crate) fn rate_query(self, model: &str, at: Timestamp) -> RateQuery<'_> {
        let context = match (self.0 >> 7 & 7) as usize {
            0 => 0,
            bucket => context_bucket(CONTEXT_THRESHOLDS[bucket - 1] + 1),
        };
        RateQuery { model, at, context, service_tier: self.tier(), local: self.local() }
    }

    /// Returns the cost of tokens of this class, given the rates that apply.
    pub(crate) fn cost(self, rates: Option<Rates>, usage: &Usage) -> Option<f64> {
        match rates {
            _ if self.0 & Self::UNSPLIT != 0 => None,
            Some(rates) => Some(rates.cost(usage)),
            None => self.local().then_some(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(json: &str) -> Outcome {
        Outcome::of(&Event::parse(json.to_owned()).unwrap()).unwrap()
    }

    #[test]
    fn correction_keeps_what_it_does_not_mention() {
        let original = outcome(concat!(
            r#"{"source":"s","event_kind":"ok","ok":true,"staffer_id":"m","sig_hash":"p","#,
            r#""turns":2,"usage":{"input_tokens":5,"output_tokens":1},"labels":{"version":"2"}}"#,
        ));
        let verdict = outcome(
            r#"{"source":"s","event_kind":"wrong","ok":false,"cost_usd":0.5,"replaces":"x"}"#,
        );
        let corrected = original.corrected(&verdict);
        assert_eq!((corrected.ok, corrected.kind.as_str()), (false, "wrong"));
        assert_eq!(corrected.model.as_deref(), Some("m"));
        assert_eq!(corrected.version.as_deref(), Some("2"));
        let usage = corrected.usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.cost_usd), (5, 1, Some(0.5)));
        assert_eq!(Class::of(&corrected).basis(), Basis::Reported);
    }

    #[test]
    fn total_alone_is_unpriced_whatever_the_price() {
        let json = r#"{"source":"s","event_kind":"ok","ok":true,"usage":{"total_tokens":9}}"#;
        let outcome = outcome(json);
        let class = Class::of(&outcome);
        assert_eq!(class.basis(), Basis::Tokens);
        assert_eq!(class.cost(Some(Rates::default()), &outcome.usage.unwrap()), None);
    }

    #[test]
    fn class_asks_for_a_context_in_the_same_bucket() {
        for input in [10, 32_000, 32_001, 200_000, 200_001, 600_000] {
            let json = format!(
                concat!(
                    r#"{{"source":"s","event_kind":"ok","ok":true,"turns":1,"#,
                    r#""usage":{{"prompt_tokens":{}}}}}"#
                ),
                input
            );
            let class = Class::of(&outcome(&json));
            assert_eq!(class.basis(), Basis::Tokens);
            let context = class.rate_query("m", Timestamp::UNIX_EPOCH).context;
            assert_eq!(context, context_bucket(input), "{input}");
            let class = Class::of(&outcome(&json.replace("\"turns\":1", "\"turns\":9")));
            assert_eq!(class.rate_query("m", Timestamp::UNIX_EPOCH).context, 0);
        }
    }
}
