//! What a JSON value holds, and how the members of an object or the items of an array add up.

use super::list::Part;
use super::names::Rank;
use super::tokens::Tokens;
use crate::ServiceTier;

/// Tokens and cost of a value and everything in it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Found {
    pub(super) tokens: Option<Tokens>,
    /// Total of objects that have no other tokens.
    pub(super) unsplit: u64,
    /// Cost in US dollars.
    pub(super) cost: Option<f64>,
    /// Cost of the whole event under a name that is one of tokens only if the event has tokens.
    pub(super) bare_cost: Option<f64>,
    /// True if the cost is that of some of the tokens.
    pub(super) is_cost_partial: bool,
    pub(super) service_tier: Option<ServiceTier>,
    /// True if a number beside `tokens` looks like tokens and was not understood.
    pub(super) has_unread_tokens: bool,
    /// True if a number that is not beside any tokens looks like tokens and was not understood.
    pub(super) has_stray_tokens: bool,
    /// True if a number looks like a cost and was not understood.
    pub(super) has_stray_cost: bool,
    /// True for an item that sums up all others of its list, such as the last event of Claude
    /// Code's stream.
    pub(super) is_total: bool,
    /// Relation of the tokens to those before them in a list.
    pub(super) part: Part,
}

impl Found {
    /// Adds what the next best place holds. Its tokens count only if they say more than these.
    pub(super) fn or(mut self, next: Self) -> Self {
        if Tokens::is_better(next.tokens.as_ref(), self.tokens.as_ref()) {
            let partial = self.tokens;
            self.tokens = next.tokens;
            self.has_unread_tokens = next.has_unread_tokens;
            self.part = next.part;
            if let (Some(tokens), Some(partial)) = (&mut self.tokens, &partial) {
                tokens.take_parts(partial);
            }
        }
        if let (Some(tokens), Some(next)) = (&mut self.tokens, &next.tokens) {
            // A copy in Ollama's shape tells where the tokens come from.
            tokens.is_local |=
                next.is_local && (tokens.input, tokens.output) == (next.input, next.output);
        }
        let is_whole = next.cost.is_some() && !next.is_cost_partial;
        if self.cost.is_none() || (self.is_cost_partial && is_whole) {
            (self.cost, self.is_cost_partial) = (next.cost, next.is_cost_partial);
        }
        self.bare_cost = self.bare_cost.or(next.bare_cost);
        if self.unsplit == 0 {
            self.unsplit = next.unsplit;
        }
        self.service_tier = self.service_tier.or(next.service_tier);
        self.has_stray_tokens |= next.has_stray_tokens;
        self.has_stray_cost |= next.has_stray_cost;
        self
    }

    /// Returns whether this may be the same response as an earlier item, at a later time.
    pub(super) fn continues(&self, earlier: &Self) -> bool {
        match (&self.tokens, &earlier.tokens) {
            (Some(later), Some(earlier)) => later.continues(earlier),
            _ => true,
        }
    }

    /// Takes a later usage of the same response.
    pub(super) fn advance(&mut self, later: &Self) {
        match (&mut self.tokens, &later.tokens) {
            (Some(tokens), Some(later)) => tokens.advance(later),
            (tokens, later) => *tokens = tokens.or(*later),
        }
        self.unsplit = later.unsplit.max(self.unsplit);
        self.cost = match (self.cost, later.cost) {
            (Some(cost), Some(later)) => Some(cost.max(later)),
            (cost, later) => cost.or(later),
        };
        self.service_tier = later.service_tier.or(self.service_tier);
        self.note_unread(later);
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
            || ((self.has_stray_cost || self.bare_cost.is_some_and(|cost| cost > 0.0))
                && self.whole_cost().is_none())
            || self.is_cost_partial
    }

    /// Returns the cost of everything. That of some of the tokens is none: it would make the rest
    /// cost nothing.
    pub(super) fn whole_cost(&self) -> Option<f64> {
        let bare = self.bare_cost.filter(|_| self.tokens.is_some());
        self.cost.or(bare).filter(|_| !self.is_cost_partial)
    }

    /// Adds a sibling: an item of an array, or usage by model or agent.
    fn add(&mut self, other: &Self) {
        let is_used = |found: &Self| found.tokens.is_some_and(|tokens| tokens.is_used());
        let is_partial = (is_used(self) && self.cost.is_none() && other.cost.is_some())
            || (is_used(other) && other.cost.is_none() && self.cost.is_some());
        self.is_cost_partial |= is_partial;
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
        self.unsplit = self.unsplit.saturating_add(other.unsplit);
        self.part = Part::Sum;
        self.note_unread(other);
    }

    fn note_unread(&mut self, other: &Self) {
        self.has_unread_tokens |= other.has_unread_tokens;
        self.has_stray_tokens |= other.has_stray_tokens;
        self.has_stray_cost |= other.has_stray_cost;
        self.is_cost_partial |= other.is_cost_partial;
    }

    /// Adds tokens that these leave out, although they were used too.
    pub(super) fn add_beside(&mut self, other: &Self) {
        if let (Some(sum), Some(tokens)) = (&mut self.tokens, &other.tokens) {
            sum.add(tokens);
        }
    }
}

/// Members of an object, or items of an array, by their [`Rank`].
#[derive(Debug, Default)]
pub(super) struct Siblings {
    groups: [Option<Found>; Rank::NUMBER],
    /// The first members, among which repetitions are recognised.
    seen: [Option<Seen>; 4],
}

/// Member of an object that has tokens.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Input and output.
    counts: (u64, u64),
    /// True if the name is one of a copy.
    is_copy: bool,
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
            (Some(group), Rank::Split) => {
                let is_less = group.tokens.zip(found.tokens);
                if is_less.is_some_and(|(tokens, other)| tokens.is_exceeded_by(&other)) {
                    found.or(group)
                } else {
                    group.or(found)
                }
            }
            (Some(mut group), Rank::Breakdown | Rank::Other) => {
                group.add(&found);
                group
            }
        });
    }

    /// Adds a member that may repeat an earlier one, such as a response that is given both parsed
    /// and raw. Equal tokens under two names of one object are the same tokens if one of the names
    /// is that of a copy.
    pub(super) fn add_once(&mut self, rank: Rank, found: Found, is_copy: bool) {
        if let Some(tokens) = found.tokens.filter(Tokens::is_used)
            && matches!(rank, Rank::Breakdown | Rank::Other)
        {
            let counts = (tokens.input, tokens.output);
            let is_same = |seen: &Seen| seen.counts == counts && (is_copy || seen.is_copy);
            let group = &mut self.groups[rank as usize];
            if self.seen.iter().flatten().any(is_same)
                && let Some(group) = group
            {
                *group = group.or(found);
                return;
            }
            if let Some(free) = self.seen.iter_mut().find(|seen| seen.is_none()) {
                *free = Some(Seen { counts, is_copy });
            }
        }
        self.add(rank, found);
    }

    /// Returns what the siblings hold, each kind of number from the highest rank that has it.
    pub(super) fn finish(mut self) -> Found {
        let tokens = |found: Option<Found>| found.and_then(|found| found.tokens);
        let (usage, split) = (Rank::Usage as usize, Rank::Split as usize);
        if let (Some(whole), Some(parts)) = (tokens(self.groups[usage]), tokens(self.groups[split]))
            && whole.is_exceeded_by(&parts)
        {
            self.groups.swap(usage, split);
        }
        self.groups.into_iter().flatten().fold(Found::default(), Found::or)
    }
}
