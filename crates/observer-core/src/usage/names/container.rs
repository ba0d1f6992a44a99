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
        b"pricing" | b"prices" | b"rates" | b"modelinfo" | b"limits" | b"ratelimit"
        | b"ratelimits" | b"budget" | b"budgets" | b"quota" | b"quotas" | b"config"
        | b"settings" | b"params" | b"parameters" | b"generationconfig" => Container::Ignored,
        b"billedunits" => Container::Usage(Rank::Fallback, Context::Usage),
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
            ("modelUsage", Container::Usage(Rank::Breakdown, Context::Part)),
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
    fn cache_is_one_of_tokens_in_usage_alone() {
        let cache = key("cache").unwrap();
        assert_eq!(container(&cache, Context::Usage), Container::Details(Context::Cache));
        assert_eq!(container(&cache, Context::Part), Container::Details(Context::Cache));
    }
}
