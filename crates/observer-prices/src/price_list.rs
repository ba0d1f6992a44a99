//! Rates of one entry, by size of the context and service tier.

use std::collections::BTreeMap;

use observer_core::{Rates, ServiceTier};

/// Kind of tokens with a rate of its own, in the order in which missing rates are derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Input,
    Output,
    CacheRead,
    CacheWrite,
    CacheWrite1h,
    Reasoning,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheWrite,
        Self::CacheWrite1h,
        Self::Reasoning,
    ];

    /// Returns the kind whose rate this one's is a multiple of.
    const fn leader(self) -> Option<Self> {
        match self {
            Self::CacheWrite1h => Some(Self::CacheWrite),
            Self::Reasoning => Some(Self::Output),
            Self::Input | Self::Output | Self::CacheRead | Self::CacheWrite => None,
        }
    }
}

/// Rates by kind, in US dollars per token.
type Row = [f64; Kind::ALL.len()];
/// Rates by service tier and kind.
type Rows = [Row; ServiceTier::ALL.len()];

const STANDARD: usize = 0;

/// Returns the index of a tier. One that is unknown here has the standard prices.
fn index(tier: ServiceTier) -> usize {
    ServiceTier::ALL.iter().position(|known| *known == tier).unwrap_or(STANDARD)
}

/// Rates that a source states, with gaps.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StatedRates {
    /// By threshold of the context, tier and kind.
    cells: BTreeMap<u64, [[Option<f64>; Kind::ALL.len()]; ServiceTier::ALL.len()]>,
}

impl StatedRates {
    /// Sets the rate of contexts above a threshold, in US dollars per token.
    pub(crate) fn set(&mut self, above: u64, tier: ServiceTier, kind: Kind, rate: f64) {
        self.cells.entry(above).or_default()[index(tier)][kind as usize] = Some(rate);
    }

    pub(crate) fn standard(&self, kind: Kind) -> Option<f64> {
        self.get(0, STANDARD, kind)
    }

    fn get(&self, above: u64, tier: usize, kind: Kind) -> Option<f64> {
        self.cells.get(&above)?[tier][kind as usize]
    }

    /// Returns whether a tier has a rate for a kind in contexts up to a threshold.
    fn has(&self, tier: usize, kind: Kind, up_to: u64) -> bool {
        let mut cells = self.cells.range(..=up_to);
        cells.any(|(_, tiers)| tiers[tier][kind as usize].is_some())
    }

    /// Derives the missing rates. Returns `None` if input or output has no rate.
    ///
    /// - A rate of a large context that is not stated is that of a smaller one.
    /// - A rate of a tier that is not stated is the standard one. If it is stated for small
    ///   contexts alone, the same discount holds for large ones, but no surcharge is added to
    ///   theirs.
    /// - Reading from a cache and writing to it cost as much as input.
    /// - Writing for an hour costs as much as writing, and reasoning as much as output. If their
    ///   standard rates differ, so they do in other tiers and contexts, by the same factor.
    pub(crate) fn complete(&self) -> Option<PriceList> {
        self.standard(Kind::Input)?;
        self.standard(Kind::Output)?;
        let mut steps: Vec<(u64, Rows)> = Vec::with_capacity(self.cells.len());
        for above in self.cells.keys().copied() {
            let mut rows = Rows::default();
            for tier in 0..rows.len() {
                for kind in Kind::ALL {
                    rows[tier][kind as usize] = self.get(above, tier, kind).unwrap_or_else(|| {
                        let first = steps.first().map_or(&rows, |(_, rows)| rows);
                        match kind.leader() {
                            Some(leader) => self.following(kind, leader, &rows[tier], first),
                            None => self.derived((above, tier, kind), &rows, steps.last()),
                        }
                    });
                }
            }
            steps.push((above, rows));
        }
        let steps = steps.into_iter().map(|(above, rows)| Step { above, tiers: rows.map(rates) });
        Some(PriceList { steps: steps.collect() })
    }

    /// Returns the rate of a kind that follows another one.
    fn following(&self, kind: Kind, leader: Kind, row: &Row, first: &Rows) -> f64 {
        let (leading, standard) = (row[leader as usize], first[STANDARD][leader as usize]);
        match self.standard(kind) {
            Some(stated) if standard > 0.0 => stated * (leading / standard),
            Some(stated) => stated,
            None => leading,
        }
    }

    /// Returns the rate of a kind that follows no other one. `rows` are the rates that are known
    /// for the same context, `smaller` those for the next smaller one.
    fn derived(
        &self,
        (above, tier, kind): (u64, usize, Kind),
        rows: &Rows,
        smaller: Option<&(u64, Rows)>,
    ) -> f64 {
        let at = kind as usize;
        let has = |tier| self.has(tier, kind, above);
        match smaller {
            Some((_, smaller)) if tier == STANDARD && has(STANDARD) => smaller[STANDARD][at],
            Some((_, smaller)) if has(tier) && smaller[tier][at] < smaller[STANDARD][at] => {
                rows[STANDARD][at] * (smaller[tier][at] / smaller[STANDARD][at])
            }
            Some((_, smaller)) if has(tier) => smaller[tier][at].max(rows[STANDARD][at]),
            _ if tier != STANDARD && has(STANDARD) => rows[STANDARD][at],
            _ => rows[tier][Kind::Input as usize],
        }
    }
}

fn rates(row: Row) -> Rates {
    let mut rates = Rates::default();
    rates.input = row[Kind::Input as usize];
    rates.output = row[Kind::Output as usize];
    rates.cached_input = row[Kind::CacheRead as usize];
    rates.cache_creation_input = row[Kind::CacheWrite as usize];
    rates.cache_creation_1h_input = row[Kind::CacheWrite1h as usize];
    rates.reasoning = row[Kind::Reasoning as usize];
    rates
}

/// Complete rates of one entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PriceList {
    /// In ascending order of the context; the first one applies to every context.
    steps: Box<[Step]>,
}

/// Rates of contexts above a threshold.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    above: u64,
    tiers: [Rates; ServiceTier::ALL.len()],
}

impl PriceList {
    /// Returns a list in which everything is free.
    pub(crate) fn free() -> Self {
        let step = Step { above: 0, tiers: Default::default() };
        Self { steps: Box::new([step]) }
    }

    pub(crate) fn rates(&self, context: u64, tier: ServiceTier) -> Rates {
        let passed = self.steps.iter().rposition(|step| step.above < context).unwrap_or(0);
        self.steps[passed].tiers[index(tier)]
    }
}

#[cfg(test)]
mod tests;
