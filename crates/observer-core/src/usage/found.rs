//! What a JSON value holds, and how the members of an object or the items of an array add up.

use super::names::Rank;
use super::tokens::Tokens;
use crate::ServiceTier;

/// Tokens and cost of a value and everything in it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Found {
    pub(super) tokens: Option<Tokens>,
    /// Cost in US dollars.
    pub(super) cost: Option<f64>,
    /// True if the cost is that of some of the tokens.
    pub(super) is_cost_partial: bool,
    pub(super) service_tier: Option<ServiceTier>,
    /// True if a number beside `tokens` looks like tokens and was not understood.
    pub(super) has_unread_tokens: bool,
    /// True if a number that is not beside any tokens looks like tokens and was not understood.
    pub(super) has_stray_tokens: bool,
    /// True if a number looks like a cost and was not understood.
    pub(super) has_stray_cost: bool,
    /// True for the last event of Claude Code's stream, which sums up all others.
    pub(super) is_result: bool,
}

impl Found {
    /// Adds what the next best place holds. Its tokens count only if they say more than these.
    pub(super) fn or(mut self, next: Self) -> Self {
        if Tokens::is_better(next.tokens.as_ref(), self.tokens.as_ref()) {
            let partial = self.tokens;
            self.tokens = next.tokens;
            self.has_unread_tokens = next.has_unread_tokens;
            if let (Some(tokens), Some(partial)) = (&mut self.tokens, &partial) {
                tokens.take_parts(partial);
            }
        }
        if let (Some(tokens), Some(next)) = (&mut self.tokens, &next.tokens) {
            // A copy in Ollama's shape tells where the tokens come from.
            tokens.is_local |=
                next.is_local && (tokens.input, tokens.output) == (next.input, next.output);
        }
        if self.cost.is_none() {
            (self.cost, self.is_cost_partial) = (next.cost, next.is_cost_partial);
        }
        self.service_tier = self.service_tier.or(next.service_tier);
        self.has_stray_tokens |= next.has_stray_tokens;
        self.has_stray_cost |= next.has_stray_cost;
        self
    }

    /// Returns whether there are tokens of both input and output.
    pub(super) fn has_complete_tokens(&self) -> bool {
        self.tokens.is_some_and(|tokens| tokens.is_complete && tokens.is_used())
    }

    /// Returns whether numbers that look like tokens or cost were not understood, although the
    /// value lacks such numbers.
    pub(super) fn is_unread(&self) -> bool {
        self.has_unread_tokens
            || (self.has_stray_tokens && self.tokens.is_none())
            || (self.has_stray_cost && self.cost.is_none())
            || self.is_cost_partial
    }

    /// Adds a sibling: an item of an array, or usage by model or agent.
    fn add(&mut self, other: &Self) {
        let is_used = |found: &Self| found.tokens.is_some_and(|tokens| tokens.is_used());
        let is_partial = (is_used(self) && self.cost.is_none() && other.cost.is_some())
            || (is_used(other) && other.cost.is_none() && self.cost.is_some());
        self.is_cost_partial |= other.is_cost_partial || is_partial;
        match (&mut self.tokens, &other.tokens) {
            (Some(sum), Some(tokens)) => sum.add(tokens),
            (None, tokens) => self.tokens = *tokens,
            (Some(_), None) => {}
        }
        self.cost = match (self.cost, other.cost) {
            (Some(sum), Some(cost)) => Some(sum + cost),
            (sum, cost) => sum.or(cost),
        };
        self.service_tier = match (self.service_tier, other.service_tier) {
            (Some(tier), Some(other)) if tier != other => Some(ServiceTier::Standard),
            (tier, other) => tier.or(other),
        };
        self.has_unread_tokens |= other.has_unread_tokens;
        self.has_stray_tokens |= other.has_stray_tokens;
        self.has_stray_cost |= other.has_stray_cost;
    }
}

/// Members of an object, or items of an array, by their [`Rank`].
#[derive(Debug, Default)]
pub(super) struct Siblings {
    groups: [Option<Found>; Rank::NUMBER],
    /// Input and output of the first members, among which repetitions are recognised.
    seen: [Option<(u64, u64)>; 4],
}

impl Siblings {
    /// Adds a value.
    pub(super) fn add(&mut self, rank: Rank, found: Found) {
        let group = &mut self.groups[rank as usize];
        *group = Some(match (*group, rank) {
            (None, _) => found,
            (Some(group), Rank::Total | Rank::Usage | Rank::Fallback) => {
                // The last one takes precedence, unless it says less.
                if Tokens::is_better(group.tokens.as_ref(), found.tokens.as_ref()) {
                    group.or(found)
                } else {
                    found.or(group)
                }
            }
            (Some(mut group), Rank::Breakdown | Rank::Other) => {
                group.add(&found);
                group
            }
        });
    }

    /// Adds a member that may repeat an earlier one, such as a response that is given both parsed
    /// and raw. Equal tokens under two names of one object are the same tokens.
    pub(super) fn add_once(&mut self, rank: Rank, found: Found) {
        if let Some(tokens) = found.tokens.filter(Tokens::is_used)
            && matches!(rank, Rank::Breakdown | Rank::Other)
        {
            let counts = Some((tokens.input, tokens.output));
            let group = &mut self.groups[rank as usize];
            if self.seen.contains(&counts)
                && let Some(group) = group
            {
                *group = group.or(found);
                return;
            }
            if let Some(free) = self.seen.iter_mut().find(|seen| seen.is_none()) {
                *free = counts;
            }
        }
        self.add(rank, found);
    }

    /// Returns what the siblings hold, each kind of number from the highest rank that has it.
    pub(super) fn finish(self) -> Found {
        self.groups.into_iter().flatten().fold(Found::default(), Found::or)
    }
}
