//! Names that look like tokens or cost.

use super::key::Key;

/// What a name looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Lookalike {
    Tokens,
    Cost,
}

/// What one word says about a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Tokens,
    /// `token`, which alone is mostly a credential.
    Token,
    /// Word that makes `token` a count of tokens.
    Count,
    Cost,
    /// Word that makes the name one of something else: a limit, a rate, a time, a place in an
    /// account.
    Foreign,
    Plain,
}

impl Word {
    fn of(word: &str) -> Self {
        let mut buffer = [0; 12];
        let lower = match buffer.get_mut(..word.len()) {
            Some(lower) => {
                lower.copy_from_slice(word.as_bytes());
                lower.make_ascii_lowercase();
                &*lower
            }
            None => b"",
        };
        match lower {
            b"count" | b"counts" | b"num" | b"sum" | b"total" | b"usage" | b"used" => Self::Count,
            b"age" | b"allowance" | b"allowed" | b"available" | b"average" | b"avg" | b"budget"
            | b"cap" | b"category" | b"center" | b"centre" | b"code" | b"duration" | b"expires"
            | b"expiry" | b"factor" | b"index" | b"latency" | b"left" | b"length" | b"limit"
            | b"limits" | b"max" | b"maximum" | b"min" | b"minimum" | b"ms" | b"multiplier"
            | b"name" | b"pct" | b"per" | b"percent" | b"position" | b"quota" | b"rate"
            | b"ratio" | b"remaining" | b"reserve" | b"reserved" | b"score" | b"seconds"
            | b"size" | b"speed" | b"target" | b"threshold" | b"ttl" | b"type" | b"weight"
            | b"window" => Self::Foreign,
            _ if ends_with(word, "tokens") => Self::Tokens,
            _ if ends_with(word, "token") => Self::Token,
            _ if ["cost", "costs", "usd"].iter().any(|end| ends_with(word, end)) => Self::Cost,
            _ => Self::Plain,
        }
    }
}

/// Parts of names without separators that make them names of something else.
const FOREIGN_PARTS: [&[u8]; 8] = [
    b"maxtoken",
    b"maxcost",
    b"limit",
    b"budget",
    b"quota",
    b"remaining",
    b"threshold",
    b"costcent",
];

/// Returns what a name looks like, if a number under it may be a count of used tokens or a cost.
/// `key` is the same name as a key.
pub(in super::super) fn lookalike(name: &str, key: &Key) -> Option<Lookalike> {
    if !(key.has_token || key.has_cost || key.has_usd) {
        return None;
    }
    let (mut has_tokens, mut has_token, mut has_count, mut has_cost) = (false, false, false, false);
    for word in words(name) {
        match Word::of(word) {
            Word::Foreign => return None,
            Word::Tokens => has_tokens = true,
            Word::Token => has_token = true,
            Word::Count => has_count = true,
            Word::Cost => has_cost = true,
            Word::Plain => {}
        }
    }
    let found = if has_tokens || has_token {
        ((has_tokens && !has_token) || has_count).then_some(Lookalike::Tokens)
    } else {
        has_cost.then_some(Lookalike::Cost)
    };
    found.filter(|_| !FOREIGN_PARTS.iter().any(|part| key.has(part)))
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
fn camel_words(mut rest: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let bytes = rest.as_bytes();
        let is_end =
            |at: &usize| bytes[*at].is_ascii_uppercase() && !bytes[at - 1].is_ascii_uppercase();
        let end = (1..bytes.len()).find(is_end).unwrap_or(bytes.len());
        let word;
        (word, rest) = rest.split_at(end);
        (!word.is_empty()).then_some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::key;
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
            ("spentUSD", Some(Lookalike::Cost)),
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
            assert_eq!(lookalike(name, &key(name).unwrap()), expected, "{name}");
        }
    }
}
