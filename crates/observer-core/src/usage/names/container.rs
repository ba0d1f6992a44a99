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

/// Returns what a value under this key holds.
pub(in super::super) fn container(key: &Key) -> Container {
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
        b"cache" | b"cachecreation" | b"cachetokens" | b"cacheusage" => {
            Container::Details(Context::Cache)
        }
        b"details" => Container::Details(Context::Details),
        b"cachedetails" => Container::CacheDetails,
        b"pricing" | b"prices" | b"rates" | b"modelinfo" | b"limits" | b"ratelimit"
        | b"ratelimits" | b"budget" | b"budgets" | b"quota" | b"quotas" | b"config"
        | b"settings" | b"params" | b"parameters" | b"generationconfig" => Container::Ignored,
        b"billedunits" => Container::Usage(Rank::Fallback),
        name if key.has(b"usage") || name.ends_with(b"tokens") || USAGE.contains(&name) => {
            Container::Usage(rank(key))
        }
        _ if key.has_cost => Container::Details(Context::Cost),
        _ => Container::Other,
    }
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
            assert_eq!(container(&key(name).unwrap()), expected, "{name}");
        }
    }
}
