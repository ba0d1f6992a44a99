//! Names of objects and arrays.

use super::context::Context;
use super::key::Key;

/// What an object or array holds, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Container {
    /// Usage of its own, with the context of its names.
    Usage(Rank, Context),
    /// Parts of the numbers of the object outside.
    Details(Context),
    /// Bedrock's list of cache writes by time to live.
    CacheDetails,
    /// Anthropic's list of the iterations of one request.
    Iterations,
    /// Nothing that was used: prices, limits, settings.
    Ignored,
    /// Anything.
    Other,
}

/// Precedence among the members of one object that hold usage. Only the highest that there is
/// counts, so that a sum and its parts are not counted twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Rank {
    /// Usage of the whole, such as `total_usage`.
    Total,
    /// `usage` and its synonyms. The last one counts.
    Usage,
    /// All usage split by model or by agent. The largest one counts. It precedes `usage` if it has
    /// more tokens, since `usage` is that of the last turn then.
    Split,
    /// Usage of one part of the work, which is added up.
    Breakdown,
    /// Any other member, which is added up.
    Other,
    /// Usage of the last call, or billed units. They count if there is nothing else.
    Fallback,
}

impl Rank {
    /// Number of ranks, each of which has its discriminant as an index.
    pub(in super::super) const NUMBER: usize = Self::Fallback as usize + 1;
}

/// Synonyms of `usage`.
const USAGE: [&[u8]; 15] = [
    b"usage",
    b"usagemetadata",
    b"usagedetails",
    b"usageinfo",
    b"usagestats",
    b"usagemetrics",
    b"tokenusage",
    b"llmusage",
    b"modelusagemetadata",
    b"tokens",
    b"tokencount",
    b"tokencounts",
    b"tokenstats",
    b"amazonbedrockinvocationmetrics",
    b"usageexcludingcachedinference",
];

/// Returns what a value under this key holds, if the object outside has this context.
pub(in super::super) fn container(key: &Key, outside: Context) -> Container {
    match key.as_bytes() {
        b"prompttokensdetails"
        | b"inputtokensdetails"
        | b"inputtokendetails"
        | b"inputdetails"
        | b"prompttokendetails"
        | b"promptdetails"
        | b"inputtokens" => Container::Details(Context::Input),
        b"completiontokensdetails"
        | b"outputtokensdetails"
        | b"outputtokendetails"
        | b"completiontokendetails"
        | b"outputdetails"
        | b"completiondetails"
        | b"outputtokens" => Container::Details(Context::Output),
        b"cache" | b"cachetokens" if matches!(outside, Context::Usage | Context::Part) => {
            Container::Details(Context::Cache)
        }
        b"cachecreation" => Container::Details(Context::Details),
        b"details" => Container::Details(Context::Details),
        b"cachedetails" => Container::CacheDetails,
        b"iterations" => Container::Iterations,
        b"pricing" | b"prices" | b"rates" | b"modelinfo" | b"limits" | b"ratelimit"
        | b"ratelimits" | b"budget" | b"budgets" | b"quota" | b"quotas" | b"config"
        | b"settings" | b"params" | b"parameters" | b"generationconfig" => Container::Ignored,
        b"billedunits" => Container::Usage(Rank::Fallback, Context::Usage),
        b"total" | b"totals" | b"grandtotal" | b"sum" | b"summary" | b"overall" | b"aggregate"
        | b"aggregated" | b"combined" | b"cumulative" | b"accumulated" | b"all" => {
            Container::Usage(Rank::Total, outside.of_part())
        }
        b"models" | b"agents" | b"breakdown"
            if matches!(outside, Context::Usage | Context::Part) =>
        {
            Container::Usage(Rank::Split, Context::Part)
        }
        _ if is_split(key) => {
            let is_usage = key.has_token || key.has(b"usage");
            let context = if is_usage { Context::Part } else { outside.of_part() };
            Container::Usage(Rank::Split, context)
        }
        name if key.has(b"usage") || name.ends_with(b"tokens") || USAGE.contains(&name) => {
            match rank(key) {
                Rank::Breakdown if !key.has_token => {
                    Container::Usage(Rank::Breakdown, Context::Part)
                }
                rank => Container::Usage(rank, Context::Usage),
            }
        }
        _ if key.has_cost => Container::Details(Context::Cost),
        _ => Container::Other,
    }
}

/// Returns whether the name is one of all usage by model, agent or the like.
fn is_split(key: &Key) -> bool {
    match key.as_bytes() {
        b"modelusage" | b"modelsusage" | b"modelusages" | b"agentusage" | b"agentsusage"
        | b"usagebreakdown" => true,
        name => [&b"bymodel"[..], b"byagent", b"byprovider", b"byrole", b"permodel", b"peragent"]
            .iter()
            .any(|end| name.ends_with(end) || (key.has(b"usage") && name.starts_with(end))),
    }
}

/// Returns whether the name is one of a running total, which in a list includes those before it.
pub(in super::super) fn is_running(key: &Key) -> bool {
    key.as_bytes() == b"totaltokenusage" || key.has(b"cumulative") || key.has(b"accumulated")
}

/// Returns whether a value of this name may be a copy of what stands beside it, such as a response
/// that is given both parsed and raw.
pub(in super::super) fn is_copy(key: &Key) -> bool {
    let name = key.as_bytes();
    let is_response = |rest: &[u8]| {
        matches!(
            rest,
            b"response"
                | b"result"
                | b"reply"
                | b"message"
                | b"output"
                | b"body"
                | b"data"
                | b"payload"
                | b"completion"
                | b"generation"
                | b"answer"
                | b"request"
                | b"run"
                | b"metadata"
                | b"meta"
                | b"details"
                | b"info"
                | b"stats"
                | b"metrics"
                | b"llm"
                | b"span"
                | b"trace"
                | b"attributes"
                | b"event"
                | b"events"
                | b"messages"
                | b"calls"
                | b"steps"
                | b"turns"
                | b"requests"
                | b"history"
                | b"trajectory"
                | b"transcript"
                | b"log"
                | b"logs"
                | b"llmoutput"
                | b"xgroq"
        )
    };
    let prefixes: [&[u8]; 9] =
        [b"raw", b"original", b"parsed", b"http", b"final", b"last", b"full", b"provider", b"llm"];
    is_response(name)
        || name.starts_with(b"raw")
        || name.ends_with(b"raw")
        || name.ends_with(b"copy")
        || prefixes.iter().any(|prefix| name.strip_prefix(*prefix).is_some_and(is_response))
        || name.strip_prefix(b"response").is_some_and(is_response)
}

fn rank(key: &Key) -> Rank {
    let has_any = |parts: &[&[u8]]| parts.iter().any(|part| key.has(part));
    if USAGE.contains(&key.as_bytes()) {
        Rank::Usage
    } else if has_any(&[b"last", b"previous", b"delta", b"billed", b"including"]) {
        Rank::Fallback
    } else if has_any(&[b"total", b"accumulated", b"cumulative", b"overall", b"aggregate"]) {
        Rank::Total
    } else {
        Rank::Breakdown
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::key;
    use super::*;

    #[test]
    fn containers_are_recognised_by_their_names() {
        for (name, expected) in [
            ("usage", Container::Usage(Rank::Usage, Context::Usage)),
            ("usageMetadata", Container::Usage(Rank::Usage, Context::Usage)),
            ("totalUsage", Container::Usage(Rank::Total, Context::Usage)),
            ("accumulated_token_usage", Container::Usage(Rank::Total, Context::Usage)),
            ("last_token_usage", Container::Usage(Rank::Fallback, Context::Usage)),
            ("billed_units", Container::Usage(Rank::Fallback, Context::Usage)),
            ("modelUsage", Container::Usage(Rank::Split, Context::Part)),
            ("usage_by_model", Container::Usage(Rank::Split, Context::Part)),
            ("usagePerAgent", Container::Usage(Rank::Split, Context::Part)),
            ("by_model", Container::Usage(Rank::Split, Context::Plain)),
            ("totals", Container::Usage(Rank::Total, Context::Plain)),
            ("planner_usage", Container::Usage(Rank::Breakdown, Context::Part)),
            ("token_usages", Container::Usage(Rank::Breakdown, Context::Usage)),
            ("prompt_tokens_details", Container::Details(Context::Input)),
            ("outputTokenDetails", Container::Details(Context::Output)),
            ("cost_details", Container::Details(Context::Cost)),
            ("rate_limits", Container::Ignored),
            ("response", Container::Other),
            ("cache", Container::Other),
        ] {
            assert_eq!(container(&key(name).unwrap(), Context::Plain), expected, "{name}");
        }
    }

    #[test]
    fn copies_are_recognised_by_their_names() {
        let is_copy = |name: &str| is_copy(&key(name).unwrap());
        for name in ["response", "raw", "rawResponse", "response_raw", "http_body", "calls"] {
            assert!(is_copy(name), "{name}");
        }
        for name in ["planner", "coder", "response_1", "planner_result", "drawer", "gpt-5"] {
            assert!(!is_copy(name), "{name}");
        }
    }

    #[test]
    fn cache_is_one_of_tokens_in_usage_alone() {
        let cache = key("cache").unwrap();
        assert_eq!(container(&cache, Context::Usage), Container::Details(Context::Cache));
        assert_eq!(container(&cache, Context::Part), Container::Details(Context::Cache));
    }
}
