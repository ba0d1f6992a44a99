//! Table of prices: lookup by name and date.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use observer_core::{Pricing, RateQuery, Rates, Timestamp};

use crate::entry::{self, Entry, EntryTerms, ParseError};
use crate::error::{EntryProblem, PriceError};
use crate::litellm::{self, Model, Terms};
use crate::memo::Memo;
use crate::name::{MAX_LEN, Pattern, derived, is_free, spelling};
use crate::price_list::PriceList;

/// Largest number of aliases that lead from one to the next.
const MAX_ALIASES: usize = 8;

/// Prices of models from several sources, of which later ones take precedence.
#[derive(Default)]
pub struct Table {
    sources: Vec<Source>,
    resolved: Memo<Arc<[Candidate]>>,
}

/// Tables are equal if they have the same entries in the same order.
impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.sources == other.sources
    }
}

/// Entries of one file, or those that are in no file.
#[derive(Default, PartialEq)]
struct Source {
    /// True for LiteLLM's map, whose names are no patterns and may have two spellings, and whose
    /// aliases may lead nowhere.
    is_map: bool,
    items: Vec<Item>,
    /// Indices of items by the spelling of their names, those with the latest dates first.
    exact: HashMap<String, Vec<usize>>,
    /// Patterns with the indices of their items, the most specific ones first, and of the same one
    /// those with the latest dates first.
    patterns: Vec<(Pattern, usize)>,
}

/// Entry in whatever format it was written.
#[derive(PartialEq)]
struct Item {
    name: String,
    from: Option<Timestamp>,
    is_hosted: bool,
    terms: ItemTerms,
}

#[derive(PartialEq)]
enum ItemTerms {
    Prices(Arc<PriceList>),
    AliasOf(String),
    Unpriced,
}

/// Price that applies to a name from a time on.
#[derive(Clone)]
struct Candidate {
    from: Option<Timestamp>,
    /// True if the entry is for the very name, and not for a hosted model alone.
    is_own: bool,
    prices: Arc<PriceList>,
}

impl Table {
    /// Reads price files, and adds entries that are in no file, as the last source.
    ///
    /// # Errors
    /// A file can't be read, or an entry is invalid. The first problem is returned.
    pub fn read<P: AsRef<Path>>(files: &[P], own: &[Entry]) -> Result<Self, PriceError> {
        let mut sources = Vec::with_capacity(files.len() + 1);
        for path in files {
            sources.push(read(path.as_ref())?);
        }
        let own: Vec<_> = own.iter().cloned().map(Item::from).collect();
        let own = Source::new(own, false);
        sources.push(own.map_err(|(index, problem)| own_problem(index, problem))?);
        let table = Self { sources, resolved: Memo::default() };
        table.check_aliases(files)?;
        Ok(table)
    }

    /// Returns the number of entries with a price in each source, in the order in which they were
    /// read; the entries that are in no file are the last source.
    #[must_use]
    pub fn counts(&self) -> Vec<usize> {
        self.sources.iter().map(Source::count).collect()
    }

    /// Returns an error if an alias of a TOML table leads to no price. LiteLLM drops such entries
    /// of its map, and here they have no price.
    fn check_aliases<P: AsRef<Path>>(&self, files: &[P]) -> Result<(), PriceError> {
        let sources = self.sources.iter().enumerate().filter(|(_, source)| !source.is_map);
        for (source_at, source) in sources {
            for (at, item) in source.items.iter().enumerate() {
                let ItemTerms::AliasOf(target) = &item.terms else { continue };
                if !self.collect(target, &mut vec![(source_at, at)]).is_empty() {
                    continue;
                }
                let problem = EntryProblem::new(
                    place(at, &item.name),
                    "alias_of",
                    format!("no entry with a price is named {target:?}"),
                );
                return Err(match files.get(source_at) {
                    Some(path) => PriceError::Invalid { path: path.as_ref().to_owned(), problem },
                    None => own_problem(at, problem),
                });
            }
        }
        Ok(())
    }

    /// Returns every price for a name, in the order of precedence. `path` has the items whose
    /// aliases lead to the name.
    fn collect(&self, model: &str, path: &mut Vec<(usize, usize)>) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = Vec::new();
        let own = spelling(model).into_owned();
        let derived = derived(&own);
        for (form_at, form) in [&own].into_iter().chain(&derived).enumerate() {
            let mut is_unpriced = false;
            for (source_at, source) in self.sources.iter().enumerate().rev() {
                for (at, is_exact) in source.matches(form, model) {
                    let item = &source.items[at];
                    is_unpriced |= is_exact && matches!(item.terms, ItemTerms::Unpriced);
                    let is_own = form_at == 0 && is_exact && !item.is_hosted;
                    let of_item = self.candidates(item, (source_at, at), is_exact, path);
                    found.extend(of_item.into_iter().map(|found| Candidate { is_own, ..found }));
                }
            }
            // What follows is never reached, or the price of this very name is known to be none.
            if is_unpriced || found.iter().any(|candidate| candidate.from.is_none()) {
                return found;
            }
        }
        if is_free(&own) {
            found.push(Candidate::new(None, Arc::new(PriceList::free())));
        }
        found
    }

    /// Returns the prices that an item leads to. An alias in a circle leads to nothing, nor does a
    /// pattern that is an alias if another alias led to it.
    fn candidates(
        &self,
        item: &Item,
        at: (usize, usize),
        is_exact: bool,
        path: &mut Vec<(usize, usize)>,
    ) -> Vec<Candidate> {
        let target = match &item.terms {
            ItemTerms::Prices(prices) => return vec![Candidate::new(item.from, prices.clone())],
            ItemTerms::AliasOf(target) => target,
            ItemTerms::Unpriced => return Vec::new(),
        };
        let may_follow = is_exact || path.is_empty();
        if !may_follow || path.len() >= MAX_ALIASES || path.contains(&at) {
            return Vec::new();
        }
        path.push(at);
        let mut found = self.collect(target, path);
        path.pop();
        for candidate in &mut found {
            candidate.from = candidate.from.max(item.from);
        }
        found
    }

    fn is_empty(&self) -> bool {
        self.sources.iter().all(|source| source.items.is_empty())
    }
}

impl Pricing for Table {
    fn rates(&self, query: &RateQuery<'_>) -> Option<Rates> {
        let RateQuery { model, at, context, service_tier, local } = *query;
        if model.is_empty() || model.len() > MAX_LEN || self.is_empty() {
            return None;
        }
        let candidates =
            self.resolved.get_or_insert(model, || self.collect(model, &mut Vec::new()).into());
        let applies = |candidate: &&Candidate| {
            (candidate.is_own || !local) && candidate.from.is_none_or(|from| from <= at)
        };
        let found = candidates.iter().find(applies)?;
        Some(found.prices.rates(context, service_tier))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Candidate {
    fn new(from: Option<Timestamp>, prices: Arc<PriceList>) -> Self {
        Self { from, is_own: false, prices }
    }
}

impl Source {
    /// Creates a source.
    ///
    /// # Errors
    /// Two entries have the same name and date; the error holds the index of the second one.
    fn new(items: Vec<Item>, is_map: bool) -> Result<Self, (usize, EntryProblem)> {
        let mut exact: HashMap<String, Vec<usize>> = HashMap::new();
        let mut patterns: HashMap<Pattern, Vec<usize>> = HashMap::new();
        for (at, item) in items.iter().enumerate() {
            let name = spelling(&item.name);
            match Pattern::parse(&name).filter(|_| !is_map) {
                Some(pattern) => patterns.entry(pattern).or_default().push(at),
                None => exact.entry(name.into_owned()).or_default().push(at),
            }
        }
        if !is_map {
            for same in exact.values_mut().chain(patterns.values_mut()) {
                same.sort_by_key(|at| Reverse(items[*at].from));
                check_dates(&items, same)?;
            }
        }
        let mut patterns: Vec<_> = patterns.into_iter().collect();
        // Of equally specific patterns the one that was written last comes first.
        patterns.sort_by_key(|(pattern, same)| {
            (Reverse(pattern.specificity()), Reverse(same.iter().max().copied()))
        });
        let patterns = patterns
            .into_iter()
            .flat_map(|(pattern, same)| same.into_iter().map(move |at| (pattern.clone(), at)));
        Ok(Self { is_map, patterns: patterns.collect(), items, exact })
    }

    /// Returns the items that match a form of a name, in the order of precedence, and whether their
    /// names are exact. `written` is the name as it was written.
    fn matches(&self, form: &str, written: &str) -> impl Iterator<Item = (usize, bool)> {
        let mut exact = self.exact.get(form).cloned().unwrap_or_default();
        if self.is_map {
            exact.sort_by_key(|at| self.items[*at].name != written);
        }
        let patterns = self.patterns.iter().filter(move |(pattern, _)| pattern.matches(form));
        exact.into_iter().map(|at| (at, true)).chain(patterns.map(|(_, at)| (*at, false)))
    }

    fn count(&self) -> usize {
        let is_priced = |item: &&Item| !matches!(item.terms, ItemTerms::Unpriced);
        self.items.iter().filter(is_priced).count()
    }
}

/// Returns an error if two items for the same name have the same date.
fn check_dates(items: &[Item], same: &[usize]) -> Result<(), (usize, EntryProblem)> {
    for pair in same.windows(2) {
        let (first, second) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        let (one, other) = (&items[first], &items[second]);
        if one.from == other.from {
            let message = format!("is for the same name and date as {}", place(first, &one.name));
            return Err((second, EntryProblem::new(place(second, &other.name), "", message)));
        }
    }
    Ok(())
}

fn place(index: usize, name: &str) -> String {
    format!("models[{index}] ({name:?})")
}

fn own_problem(index: usize, problem: EntryProblem) -> PriceError {
    PriceError::InvalidOwn { index, problem }
}

impl From<Entry> for Item {
    fn from(Entry { name, from, terms }: Entry) -> Self {
        let terms = match terms {
            EntryTerms::Prices(prices) => ItemTerms::Prices(Arc::new(prices)),
            EntryTerms::AliasOf(target) => ItemTerms::AliasOf(target),
        };
        Self { name, from, is_hosted: false, terms }
    }
}

impl From<Model> for Item {
    fn from(Model { name, is_hosted, terms }: Model) -> Self {
        let terms = match terms {
            Terms::Prices(prices) => ItemTerms::Prices(Arc::new(prices)),
            Terms::AliasOf(target) => ItemTerms::AliasOf(target),
            Terms::Unpriced => ItemTerms::Unpriced,
        };
        Self { name, from: None, is_hosted, terms }
    }
}

/// Reads a file in the format that its name tells.
fn read(path: &Path) -> Result<Source, PriceError> {
    let is_map = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => false,
        Some("json") => true,
        _ => return Err(PriceError::UnknownFormat { path: path.to_owned() }),
    };
    let text = fs::read_to_string(path)
        .map_err(|source| PriceError::Unreadable { path: path.to_owned(), source })?;
    let items = if is_map {
        litellm::parse(&text).map(|models| models.into_iter().map(Item::from).collect())
    } else {
        entry::parse(&text).map(|entries| entries.into_iter().map(Item::from).collect())
    };
    let invalid = |problem| PriceError::Invalid { path: path.to_owned(), problem };
    let items = items.map_err(|error| match error {
        ParseError::Malformed(message) => PriceError::Malformed { path: path.to_owned(), message },
        ParseError::Invalid(problem) => invalid(problem),
    })?;
    Source::new(items, is_map).map_err(|(_, problem)| invalid(problem))
}

#[cfg(test)]
mod tests;
