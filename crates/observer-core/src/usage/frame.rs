//! The object that is being read.

use super::found::{Found, Siblings};
use super::list::{Part, ResponseId};
use super::names::{self, Context, CostName, CostPart, Count, Key, Lookalike, Meaning};
use super::tokens::Counts;
use crate::ServiceTier;
use crate::scalar;

/// Numbers of one object and of its details, and what its other members hold.
#[derive(Default)]
pub(super) struct Frame<'a> {
    counts: Counts,
    /// True if the name of a count says by itself that it is one of tokens.
    has_clear_count: bool,
    /// Cost in US dollars and its rank.
    cost: Option<(CostName, f64)>,
    input_cost: Option<f64>,
    output_cost: Option<f64>,
    has_other_cost: bool,
    upstream_cost: Option<f64>,
    /// True if the caller's own key paid the upstream provider (OpenRouter).
    is_own_key: bool,
    is_other_currency: bool,
    service_tier: Option<ServiceTier>,
    is_total: bool,
    part: Part,
    id: Option<&'a str>,
    /// True for an iteration whose usage the request's own counts leave out.
    pub(super) is_left_out: bool,
    /// Usage that the counts of this object leave out.
    pub(super) left_out: Option<Found>,
    has_unread_tokens: bool,
    has_unread_cost: bool,
    /// True if tokens stand deeper than the walk goes.
    pub(super) has_deep_tokens: bool,
    /// Name and value, if the object is an attribute of OpenTelemetry.
    pub(super) attribute: (Option<&'a str>, Option<&'a str>),
    pub(super) siblings: Siblings,
}

impl<'a> Frame<'a> {
    /// Reads a member that is a number, or a string that holds one.
    pub(super) fn number(&mut self, name: &str, key: &Key, value: &str, context: Context) {
        match names::meaning(key, context) {
            Some(Meaning::Count(count)) => {
                let is_clear = key.has_token || matches!(count, Count::PromptEval | Count::Eval);
                match scalar::count(value) {
                    Some(number) if context == Context::Details => {
                        self.counts.set_if_absent(count, number);
                    }
                    Some(number) => self.counts.set(count, number),
                    None => self.has_unread_tokens |= is_clear && is_numeric(value),
                }
                self.has_clear_count |= is_clear;
            }
            Some(Meaning::Cost(cost)) => match dollars(value) {
                Some(number) => self.set_cost(cost, number),
                None => self.has_unread_cost |= is_numeric(value) && cost.rank < CostName::WEAK,
            },
            Some(Meaning::CostPart(part)) => {
                if let Some(number) = dollars(value) {
                    self.set_cost_part(part, number);
                }
            }
            Some(Meaning::Known) => {}
            None => match names::lookalike(name, key) {
                Some(Lookalike::Tokens) => self.has_unread_tokens |= is_not_zero(value),
                Some(Lookalike::Cost) => self.has_unread_cost |= is_not_zero(value),
                None => {}
            },
        }
    }

    fn set_cost(&mut self, name: CostName, number: f64) {
        if self.cost.is_none_or(|(other, _)| name.rank <= other.rank) {
            self.cost = Some((name, number / name.per_usd));
        }
    }

    fn set_cost_part(&mut self, part: CostPart, number: f64) {
        match part {
            CostPart::Input => self.input_cost = Some(number),
            CostPart::Output => self.output_cost = Some(number),
            CostPart::Upstream => self.upstream_cost = Some(number),
            CostPart::Other => self.has_other_cost |= number > 0.0,
        }
    }

    /// Reads a member that is any other string.
    pub(super) fn text(&mut self, key: &Key, text: &str) {
        match key.as_bytes() {
            b"servicetier" | b"traffictype" => {
                self.service_tier = service_tier(text).or(self.service_tier);
            }
            b"currency" | b"costcurrency" => {
                self.is_other_currency = !text.eq_ignore_ascii_case("usd");
            }
            b"type" => match text {
                "result" => self.is_total = true,
                "message_start" => self.part = Part::First,
                "message_delta" => self.part = Part::Later,
                "compaction" | "advisor_message" => self.is_left_out = true,
                _ => {}
            },
            _ => {}
        }
    }

    /// Reads a member that is any string by its exact name and value.
    pub(super) fn label(&mut self, name: &'a str, value: &'a str) {
        match name {
            "id" | "responseId" | "response_id" | "messageId" | "message_id" => {
                self.id = Some(value);
            }
            "key" => self.attribute.0 = value.get(1..value.len() - 1),
            "value" => self.attribute.1 = Some(value),
            _ => self.is_total |= is_total(value),
        }
    }

    /// Returns whether [`text`](Self::text) may read a member of this name.
    pub(super) fn reads_text(name: &str) -> bool {
        matches!(name.as_bytes().first(), Some(b's' | b'S' | b't' | b'T' | b'c' | b'C'))
            && name.len() <= "service_tier".len()
    }

    /// Reads a member that is `true`.
    pub(super) fn truth(&mut self, key: &Key) {
        self.is_own_key |= key.as_bytes() == b"isbyok";
    }

    /// Reads an item of Bedrock's `cacheDetails`.
    pub(super) fn cache_write(&mut self, tokens: u64, is_for_an_hour: bool) {
        let count = if is_for_an_hour { Count::Write1h } else { Count::Write5m };
        self.counts.add(count, tokens);
    }

    /// Returns what the object holds, given the context in which it stands. The root is the object
    /// of the place, which belongs to the event as a whole.
    pub(super) fn finish(mut self, context: Context, is_root: bool) -> Found {
        let siblings = std::mem::take(&mut self.siblings).finish();
        let resolved = self.counts.resolve();
        let tokens = resolved.filter(|_| self.has_tokens(context));
        let is_of_tokens = self.has_clear_count
            || tokens.or(siblings.tokens).is_some()
            || matches!(context, Context::Usage | Context::Part);
        let mut bare_cost = None;
        let is_bare = |(name, _): &mut (CostName, f64)| {
            !is_of_tokens && name.is_bare && name.rank < CostName::WEAK
        };
        if let Some((_, cost)) = self.cost.take_if(is_bare) {
            bare_cost = Some(cost).filter(|_| is_root && !self.is_other_currency);
            self.has_unread_cost |= bare_cost.is_none() && cost > 0.0;
        }
        let (cost, has_stray_cost) = self.own_cost(tokens.is_some());
        let is_total_only = self.has_clear_count && resolved.is_none();
        let unsplit = if is_total_only { self.counts.total() } else { 0 };
        let own = Found {
            tokens,
            unsplit,
            cost,
            bare_cost,
            is_cost_partial: false,
            service_tier: self.service_tier,
            has_unread_tokens: tokens.is_some() && self.has_unread_tokens,
            has_stray_tokens: self.has_deep_tokens
                || (tokens.is_none() && (self.has_unread_tokens || unsplit > 0)),
            has_stray_cost,
            is_total: self.is_total,
            part: Part::Own,
        };
        let mut found = own.or(siblings);
        if let Some(left_out) = self.left_out.filter(|_| tokens.is_some_and(|own| own.is_used())) {
            found.add_beside(&left_out);
        }
        if found.tokens.is_some() && found.part == Part::Own {
            found.part = match (self.part, self.id) {
                (Part::Own | Part::First, Some(id)) => Part::Of(ResponseId::of(id)),
                (part, _) => part,
            };
        }
        found
    }

    /// Returns whether the counts are those of tokens. Short names such as `input` and `cached` may
    /// count anything else.
    fn has_tokens(&self, context: Context) -> bool {
        let (has_input, has_output) = self.counts.has_input_and_output();
        self.has_clear_count
            || (has_input && has_output)
            || (context != Context::Part && (has_input || has_output))
    }

    /// Returns the cost that this object reports, and whether it has one that was not understood.
    fn own_cost(&self, has_tokens: bool) -> (Option<f64>, bool) {
        let parts = self
            .input_cost
            .or(self.output_cost)
            .map(|_| self.input_cost.unwrap_or(0.0) + self.output_cost.unwrap_or(0.0));
        let whole = self
            .cost
            .filter(|(name, _)| name.rank < CostName::WEAK || has_tokens)
            .map(|(_, cost)| cost + self.upstream_cost.filter(|_| self.is_own_key).unwrap_or(0.0));
        // Without tokens beside them, parts may as well be prices.
        let cost = whole.or(parts.filter(|_| has_tokens && !self.has_other_cost));
        if self.is_other_currency {
            return (None, cost.is_some() || self.has_unread_cost);
        }
        let is_unread = self.has_unread_cost
            || (has_tokens && cost.is_none() && (parts.is_some() || self.has_other_cost));
        (cost, is_unread)
    }
}

/// Reads an amount of dollars, which may have the sign before it.
fn dollars(value: &str) -> Option<f64> {
    let number = match value.strip_prefix("\"$") {
        Some(amount) => amount.strip_suffix('"')?.trim().parse().ok()?,
        None => return scalar::amount(value, scalar::MAX_COST_USD),
    };
    (0.0..=scalar::MAX_COST_USD).contains(&number).then_some(number)
}

/// Returns whether a string says that the usage beside it is that of everything.
fn is_total(value: &str) -> bool {
    matches!(value.len(), 7..=9)
        && ["\"total\"", "\"totals\"", "\"overall\""]
            .iter()
            .any(|word| word.eq_ignore_ascii_case(value))
}

/// Returns whether a value is a number, or a string that holds one in whatever notation:
/// `"1,234"`, `"0.25 USD"`, `"NaN"`. Text with a digit in it, such as a name, is none.
pub(super) fn is_numeric(value: &str) -> bool {
    const MAX: usize = 32;
    let Some(text) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return scalar::is_number(value);
    };
    if text.len() > MAX {
        return false;
    }
    let word = text.trim_matches(|character: char| !character.is_ascii_alphabetic());
    if ["nan", "inf", "infinity"].iter().any(|name| name.eq_ignore_ascii_case(word)) {
        return true;
    }
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    let is_unit = |word: &str| {
        ["", "usd", "us$", "eur", "k", "m", "tok", "token", "tokens", "dollars", "cents", "e"]
            .iter()
            .any(|unit| unit.eq_ignore_ascii_case(word))
    };
    has_digit && text.split(|character: char| !character.is_ascii_alphabetic()).all(is_unit)
}

fn is_not_zero(value: &str) -> bool {
    scalar::digits(value)
        .is_some_and(|digits| digits.parse::<f64>().is_ok_and(|number| number != 0.0))
}

/// Returns the tier that a provider names: OpenAI, Anthropic, Groq and Gemini in `service_tier`,
/// Vertex AI in `trafficType`. `auto` says nothing about the tier that served the request.
fn service_tier(text: &str) -> Option<ServiceTier> {
    let has = |word: &str| {
        text.len() >= word.len()
            && text.as_bytes()[text.len() - word.len()..].eq_ignore_ascii_case(word.as_bytes())
    };
    if has("auto") {
        None
    } else if has("batch") {
        Some(ServiceTier::Batch)
    } else if has("flex") {
        Some(ServiceTier::Flex)
    } else if has("priority") {
        Some(ServiceTier::Priority)
    } else {
        Some(ServiceTier::Standard)
    }
}
