//! Names that look like tokens or cost.

use super::key::Key;

/// What a name looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Lookalike {
    Tokens,
    Cost,
}

/// Words that make a name one of something else: a limit, a rate, a time, a place in an account.
const OTHER_WORDS: [&str; 49] = [
    "age",
    "allowance",
    "allowed",
    "available",
    "average",
    "avg",
    "budget",
    "cap",
    "category",
    "center",
    "centre",
    "code",
    "duration",
    "expires",
    "expiry",
    "factor",
    "index",
    "latency",
    "left",
    "length",
    "limit",
    "limits",
    "max",
    "maximum",
    "min",
    "minimum",
    "ms",
    "multiplier",
    "name",
    "pct",
    "per",
    "percent",
    "position",
    "quota",
    "rate",
    "ratio",
    "remaining",
    "reserve",
    "reserved",
    "score",
    "seconds",
    "size",
    "speed",
    "target",
    "threshold",
    "ttl",
    "type",
    "weight",
    "window",
];

/// Parts of names without separators that make them one of something else.
const OTHER_PARTS: [&str; 8] =
    ["maxtoken", "maxcost", "limit", "budget", "quota", "remaining", "threshold", "costcent"];

/// Words that make `token` a count of tokens. Alone it is mostly a credential.
const COUNT_WORDS: [&str; 7] = ["count", "counts", "num", "sum", "total", "usage", "used"];

/// Returns what a name looks like, if a number under it may be a count of used tokens or a cost.
/// `key` is the same name as a key.
pub(in super::super) fn lookalike(name: &str, key: &Key) -> Option<Lookalike> {
    let key = key.as_str();
    let found = if key.contains("token") {
        Lookalike::Tokens
    } else if key.contains("cost") {
        Lookalike::Cost
    } else {
        return None;
    };
    let is_any = |word: &str, of: &[&str]| of.iter().any(|other| word.eq_ignore_ascii_case(other));
    if OTHER_PARTS.iter().any(|part| key.contains(part))
        || words(name).any(|word| is_any(word, &OTHER_WORDS))
    {
        return None;
    }
    let is_noun = match found {
        Lookalike::Tokens if words(name).any(|word| ends_with(word, "token")) => {
            words(name).any(|word| is_any(word, &COUNT_WORDS))
        }
        Lookalike::Tokens => words(name).any(|word| ends_with(word, "tokens")),
        Lookalike::Cost => {
            words(name).any(|word| ends_with(word, "cost") || ends_with(word, "costs"))
        }
    };
    is_noun.then_some(found)
}

fn ends_with(word: &str, end: &str) -> bool {
    word.len() >= end.len()
        && word.as_bytes()[word.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
}

/// Returns the words of a name in any case.
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|character: char| !character.is_ascii_alphanumeric()).flat_map(camel_words)
}

/// Splits a name before each capital that follows a small letter or a digit.
fn camel_words(name: &str) -> impl Iterator<Item = &str> {
    let bytes = name.as_bytes();
    let is_start = move |at: usize| {
        at == 0 || bytes[at].is_ascii_uppercase() && !bytes[at - 1].is_ascii_uppercase()
    };
    (0..name.len()).filter(move |at| is_start(*at)).map(move |start| {
        let end = (start + 1..name.len()).find(|at| is_start(*at)).unwrap_or(name.len());
        &name[start..end]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_tokens_and_costs_are_told_from_limits_and_rates() {
        for (name, expected) in [
            ("planning_tokens", Some(Lookalike::Tokens)),
            ("planningTokens", Some(Lookalike::Tokens)),
            ("PLANNING-TOKENS", Some(Lookalike::Tokens)),
            ("planningtokens", Some(Lookalike::Tokens)),
            ("tokens", Some(Lookalike::Tokens)),
            ("planning_token_count", Some(Lookalike::Tokens)),
            ("cost_eur", Some(Lookalike::Cost)),
            ("judgeCost", Some(Lookalike::Cost)),
            ("costs", Some(Lookalike::Cost)),
            ("max_tokens", None),
            ("maxOutputTokens", None),
            ("maxtokens", None),
            ("token_budget", None),
            ("tokensRemaining", None),
            ("context_tokens_limit", None),
            ("thinking_budget_tokens", None),
            ("tokens_per_second", None),
            ("input_cost_per_token", None),
            ("time_to_first_token_ms", None),
            ("token", None),
            ("access_token", None),
            ("apiToken", None),
            ("token_type", None),
            ("tokenizer_version", None),
            ("cost_center", None),
            ("costCentre", None),
            ("costcenter", None),
            ("costume_fees", None),
            ("cost_of_plan", Some(Lookalike::Cost)),
            ("token_usage", Some(Lookalike::Tokens)),
            ("accosted", None),
            ("turns", None),
        ] {
            assert_eq!(lookalike(name, &Key::of(name).unwrap()), expected, "{name}");
        }
    }
}
