//! Places in which a short name has a meaning that it does not have elsewhere.

use super::key::Key;
use super::table::{self, CostName, CostPart, Count, Meaning};

/// Kind of the object in which a name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Context {
    /// Any object.
    Plain,
    /// Object under a name such as `usage` or `tokens`.
    Usage,
    /// Part of usage, such as that of one model. It may also be the usage of anything else, such as
    /// of a disk.
    Part,
    /// Details of the input, such as `prompt_tokens_details`.
    Input,
    /// Details of the output.
    Output,
    /// Tokens read from a cache and written to it.
    Cache,
    /// Details of everything. They give way to what the object outside says.
    Details,
    /// Cost and its parts.
    Cost,
}

impl Context {
    /// Returns the context of a member that holds more of the same.
    pub(in super::super) fn of_part(self) -> Self {
        if matches!(self, Self::Usage | Self::Part) { Self::Part } else { Self::Plain }
    }
}

/// Prefixes of flattened names, such as `usage.prompt_tokens` and `tokens_input`.
const USAGE_PREFIXES: [&[u8]; 6] =
    [b"usage", b"tokenusage", b"genaiusage", b"llmusage", b"llm", b"tokens"];
/// Prefixes of flattened names of a cost.
const COST_PREFIXES: [&[u8]; 3] = [b"cost", b"genaicost", b"llmcost"];

/// Returns the meaning of a number under a key.
pub(in super::super) fn meaning(key: &Key, context: Context) -> Option<Meaning> {
    match context {
        Context::Plain | Context::Details => named(key),
        Context::Usage => named(key).or_else(|| bare(key)),
        Context::Part => named(key).or_else(|| {
            let is_usual = !matches!(key.as_bytes(), b"in" | b"out" | b"sent" | b"received");
            bare(key).filter(|_| is_usual)
        }),
        Context::Input => input_detail(key),
        Context::Output => output_detail(key),
        Context::Cache => cached(key),
        Context::Cost => Some(cost(key)),
    }
}

/// Returns the meaning of a name that needs no context.
fn named(key: &Key) -> Option<Meaning> {
    table::meaning(key).or_else(|| {
        // Most keys are of anything else.
        if !matches!(key.as_bytes()[0], b'u' | b't' | b'g' | b'l' | b'c') {
            return None;
        }
        let usage = USAGE_PREFIXES.iter().find_map(|prefix| {
            let rest = key.without_prefix(prefix)?;
            table::meaning(&rest).or_else(|| bare(&rest))
        });
        usage.or_else(|| {
            let rest = COST_PREFIXES.iter().find_map(|prefix| key.without_prefix(prefix))?;
            short_cost(&rest)
        })
    })
}

/// Short names in an object of usage: of Gemini CLI, Langfuse, OpenCode and many loggers.
fn bare(key: &Key) -> Option<Meaning> {
    Some(Meaning::Count(match key.as_bytes() {
        b"prompt" => Count::Prompt,
        b"input" | b"in" | b"sent" => Count::BareInput,
        b"completion" | b"candidates" => Count::Completion,
        b"output" | b"out" | b"received" => Count::Output,
        b"cached" => Count::ReadWithin,
        b"cacheread" => Count::ReadBeside,
        b"cachewrite" | b"cachecreation" => Count::WriteBeside,
        b"thoughts" | b"reasoning" | b"thinking" => Count::ReasoningBeside,
        b"tool" => Count::ToolInput,
        b"total" => Count::BareTotal,
        _ => return None,
    }))
}

fn input_detail(key: &Key) -> Option<Meaning> {
    let short = match key.as_bytes() {
        b"cached" | b"cacheread" | b"read" => Count::ReadWithin,
        b"cachewrite" | b"cachecreation" | b"write" => Count::WriteWithin,
        b"nocache" => Count::Fresh,
        b"total" => Count::Prompt,
        _ => {
            return match table::meaning(key).or_else(|| of_tier(key, input_detail))? {
                Meaning::Count(Count::ReadBeside) => Some(Meaning::Count(Count::ReadWithin)),
                Meaning::Count(Count::WriteBeside) => Some(Meaning::Count(Count::WriteWithin)),
                other => Some(other),
            };
        }
    };
    Some(Meaning::Count(short))
}

fn output_detail(key: &Key) -> Option<Meaning> {
    let short = match key.as_bytes() {
        b"reasoning" | b"thinking" => Count::ReasoningWithin,
        b"total" => Count::Output,
        _ => return table::meaning(key).or_else(|| of_tier(key, output_detail)),
    };
    Some(Meaning::Count(short))
}

/// Details to which LangChain prefixes the service tier.
fn of_tier(key: &Key, detail: fn(&Key) -> Option<Meaning>) -> Option<Meaning> {
    [&b"flex"[..], b"priority"].iter().find_map(|tier| detail(&key.without_prefix(tier)?))
}

fn cached(key: &Key) -> Option<Meaning> {
    Some(Meaning::Count(match key.as_bytes() {
        b"read" => Count::ReadBeside,
        b"write" | b"creation" => Count::WriteBeside,
        _ => return table::meaning(key),
    }))
}

/// Returns the meaning of a number in an object of costs. All of them are costs.
fn cost(key: &Key) -> Meaning {
    let rest = COST_PREFIXES.iter().find_map(|prefix| key.without_prefix(prefix));
    short_cost(&rest.unwrap_or(*key))
        .or_else(|| {
            table::meaning(key)
                .filter(|meaning| matches!(meaning, Meaning::Cost(_) | Meaning::CostPart(_)))
        })
        .unwrap_or(Meaning::CostPart(CostPart::Other))
}

fn short_cost(key: &Key) -> Option<Meaning> {
    Some(match key.as_bytes() {
        b"usd" | b"totalusd" => CostName::usd(2),
        b"total" | b"totaltokens" | b"amount" => CostName::bare(2),
        b"input" | b"prompt" | b"inputtokens" | b"prompttokens" => {
            Meaning::CostPart(CostPart::Input)
        }
        b"output" | b"completion" | b"outputtokens" | b"completiontokens" => {
            Meaning::CostPart(CostPart::Output)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::key;
    use super::*;

    fn found(name: &str, context: Context) -> Option<Meaning> {
        meaning(&key(name).unwrap(), context)
    }

    #[test]
    fn short_names_mean_something_in_their_context_only() {
        for (key, context, expected) in [
            ("input", Context::Usage, Count::BareInput),
            ("cache_read", Context::Input, Count::ReadWithin),
            ("cacheReadInputTokens", Context::Input, Count::ReadWithin),
            ("flex_cache_read", Context::Input, Count::ReadWithin),
            ("reasoning", Context::Output, Count::ReasoningWithin),
            ("priority_reasoning", Context::Output, Count::ReasoningWithin),
            ("reasoning", Context::Usage, Count::ReasoningBeside),
            ("reasoning", Context::Part, Count::ReasoningBeside),
            ("in", Context::Usage, Count::BareInput),
            ("write", Context::Cache, Count::WriteBeside),
        ] {
            assert_eq!(found(key, context), Some(Meaning::Count(expected)), "{key}");
            assert_eq!(found(key, Context::Plain).is_some(), key == "cacheReadInputTokens");
        }
        assert_eq!(found("total", Context::Cost), Some(CostName::bare(2)));
        assert_eq!(found("input_tokens", Context::Cost), Some(Meaning::CostPart(CostPart::Input)));
        assert_eq!(found("cache_read", Context::Cost), Some(Meaning::CostPart(CostPart::Other)));
    }

    #[test]
    fn flattened_names_are_those_of_the_objects() {
        for (key, expected) in [
            ("usage.prompt_tokens", Meaning::Count(Count::Prompt)),
            ("usage_input", Meaning::Count(Count::BareInput)),
            ("tokenUsage.total", Meaning::Count(Count::BareTotal)),
            ("tokens/output", Meaning::Count(Count::Output)),
            ("gen_ai.usage.cache_creation_input_tokens", Meaning::Count(Count::WriteWithin)),
            ("llm_prompt_tokens", Meaning::Count(Count::Prompt)),
            ("cost.total", CostName::bare(2)),
            ("llm.cost.completion", Meaning::CostPart(CostPart::Output)),
        ] {
            assert_eq!(found(key, Context::Plain), Some(expected), "{key}");
        }
        assert_eq!(found("usage_percent", Context::Plain), None);
    }
}
