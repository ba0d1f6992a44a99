//! Names of objects and arrays.

use super::context::Context;
use super::key::Key;

/// What an object or array holds, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Container {
    /// Usage of its own.
    Usage(Rank),
    /// Parts of the numbers of the object outside.
    Details(Context),
    /// Bedrock's list of cache writes by time to live.
    CacheDetails,
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
    /// Usage by model, agent or step, which is added up.
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
const USAGE: [&str; 15] = [
    "usage",
    "usagemetadata",
    "usagedetails",
    "usageinfo",
    "usagestats",
    "usagemetrics",
    "tokenusage",
    "llmusage",
    "modelusagemetadata",
    "tokens",
    "tokencount",
    "tokencounts",
    "tokenstats",
    "amazonbedrockinvocationmetrics",
    "usageexcludingcachedinference",
];

/// Returns what a value under this key holds.
pub(in super::super) fn container(key: &Key) -> Container {
    match key.as_str() {
        "prompttokensdetails"
        | "inputtokensdetails"
        | "inputtokendetails"
        | "inputdetails"
        | "prompttokendetails"
        | "promptdetails"
        | "inputtokens" => Container::Details(Context::Input),
        "completiontokensdetails"
        | "outputtokensdetails"
        | "outputtokendetails"
        | "completiontokendetails"
        | "outputdetails"
        | "completiondetails"
        | "outputtokens" => Container::Details(Context::Output),
        "cache" | "cachecreation" | "cachetokens" | "cacheusage" => {
            Container::Details(Context::Cache)
        }
        "details" => Container::Details(Context::Details),
        "cachedetails" => Container::CacheDetails,
        "pricing" | "prices" | "rates" | "modelinfo" | "limits" | "ratelimit" | "ratelimits"
        | "budget" | "budgets" | "quota" | "quotas" | "config" | "settings" | "params"
        | "parameters" | "generationconfig" => Container::Ignored,
        name if has(name, "usage") || name.ends_with("tokens") || USAGE.contains(&name) => {
            Container::Usage(rank(name))
        }
        "billedunits" => Container::Usage(Rank::Fallback),
        name if has(name, "cost") => Container::Details(Context::Cost),
        _ => Container::Other,
    }
}

fn rank(name: &str) -> Rank {
    let has_any = |words: &[&str]| words.iter().any(|word| has(name, word));
    if USAGE.contains(&name) {
        Rank::Usage
    } else if has_any(&["last", "previous", "delta", "billed", "including"]) {
        Rank::Fallback
    } else if has_any(&["total", "accumulated", "cumulative", "overall", "aggregate"]) {
        Rank::Total
    } else {
        Rank::Breakdown
    }
}

fn has(name: &str, word: &str) -> bool {
    name.contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_recognised_by_their_names() {
        for (name, expected) in [
            ("usage", Container::Usage(Rank::Usage)),
            ("usageMetadata", Container::Usage(Rank::Usage)),
            ("totalUsage", Container::Usage(Rank::Total)),
            ("accumulated_token_usage", Container::Usage(Rank::Total)),
            ("last_token_usage", Container::Usage(Rank::Fallback)),
            ("billed_units", Container::Usage(Rank::Fallback)),
            ("modelUsage", Container::Usage(Rank::Breakdown)),
            ("token_usages", Container::Usage(Rank::Breakdown)),
            ("prompt_tokens_details", Container::Details(Context::Input)),
            ("outputTokenDetails", Container::Details(Context::Output)),
            ("cost_details", Container::Details(Context::Cost)),
            ("rate_limits", Container::Ignored),
            ("response", Container::Other),
        ] {
            assert_eq!(container(&Key::of(name).unwrap()), expected, "{name}");
        }
    }
}
