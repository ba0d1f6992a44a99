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

/// Prefixes of flattened names, such as `usage.prompt_tokens` and `tokens_input`.
const USAGE_PREFIXES: [&str; 6] =
    ["usage", "tokenusage", "genaiusage", "llmusage", "llm", "tokens"];
/// Prefixes of flattened names of a cost.
const COST_PREFIXES: [&str; 3] = ["cost", "genaicost", "llmcost"];

/// Returns the meaning of a number under a key.
pub(in super::super) fn meaning(key: &Key, context: Context) -> Option<Meaning> {
    match context {
        Context::Plain | Context::Details => named(key),
        Context::Usage => named(key).or_else(|| bare(key)),
        Context::Input => input_detail(key),
        Context::Output => output_detail(key),
        Context::Cache => cached(key),
        Context::Cost => Some(cost(key)),
    }
}

/// Returns the meaning of a name that needs no context.
fn named(key: &Key) -> Option<Meaning> {
    table::meaning(key).or_else(|| {
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
    Some(Meaning::Count(match key.as_str() {
        "prompt" => Count::Prompt,
        "input" | "in" | "sent" => Count::BareInput,
        "completion" | "candidates" => Count::Completion,
        "output" | "out" | "received" => Count::Output,
        "cached" => Count::ReadWithin,
        "cacheread" => Count::ReadBeside,
        "cachewrite" | "cachecreation" => Count::WriteBeside,
        "thoughts" | "reasoning" | "thinking" => Count::ReasoningBeside,
        "tool" => Count::ToolInput,
        "total" => Count::Total,
        _ => return None,
    }))
}

fn input_detail(key: &Key) -> Option<Meaning> {
    let short = match key.as_str() {
        "cached" | "cacheread" | "read" => Count::ReadWithin,
        "cachewrite" | "cachecreation" | "write" => Count::WriteWithin,
        "nocache" => Count::Fresh,
        "total" => Count::Prompt,
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
    let short = match key.as_str() {
        "reasoning" | "thinking" => Count::ReasoningWithin,
        "total" => Count::Output,
        _ => return table::meaning(key).or_else(|| of_tier(key, output_detail)),
    };
    Some(Meaning::Count(short))
}

/// Details to which LangChain prefixes the service tier.
fn of_tier(key: &Key, detail: fn(&Key) -> Option<Meaning>) -> Option<Meaning> {
    ["flex", "priority"].iter().find_map(|tier| detail(&key.without_prefix(tier)?))
}

fn cached(key: &Key) -> Option<Meaning> {
    Some(Meaning::Count(match key.as_str() {
        "read" | "reads" | "hit" | "hits" => Count::ReadBeside,
        "write" | "writes" | "creation" | "created" => Count::WriteBeside,
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
    Some(match key.as_str() {
        "total" | "totaltokens" | "usd" | "totalusd" | "amount" => CostName::usd(2),
        "input" | "prompt" | "inputtokens" | "prompttokens" => Meaning::CostPart(CostPart::Input),
        "output" | "completion" | "outputtokens" | "completiontokens" => {
            Meaning::CostPart(CostPart::Output)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: &str, context: Context) -> Option<Meaning> {
        meaning(&Key::of(key).unwrap(), context)
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
            ("write", Context::Cache, Count::WriteBeside),
        ] {
            assert_eq!(found(key, context), Some(Meaning::Count(expected)), "{key}");
            assert_eq!(found(key, Context::Plain).is_some(), key == "cacheReadInputTokens");
        }
        assert_eq!(found("total", Context::Cost), Some(CostName::usd(2)));
        assert_eq!(found("input_tokens", Context::Cost), Some(Meaning::CostPart(CostPart::Input)));
        assert_eq!(found("cache_read", Context::Cost), Some(Meaning::CostPart(CostPart::Other)));
    }

    #[test]
    fn flattened_names_are_those_of_the_objects() {
        for (key, expected) in [
            ("usage.prompt_tokens", Meaning::Count(Count::Prompt)),
            ("usage_input", Meaning::Count(Count::BareInput)),
            ("tokenUsage.total", Meaning::Count(Count::Total)),
            ("tokens/output", Meaning::Count(Count::Output)),
            ("gen_ai.usage.cache_creation_input_tokens", Meaning::Count(Count::WriteWithin)),
            ("llm_prompt_tokens", Meaning::Count(Count::Prompt)),
            ("cost.total", CostName::usd(2)),
            ("llm.cost.completion", Meaning::CostPart(CostPart::Output)),
        ] {
            assert_eq!(found(key, Context::Plain), Some(expected), "{key}");
        }
        assert_eq!(found("usage_percent", Context::Plain), None);
    }
}
