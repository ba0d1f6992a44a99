//! Labels: a flat object of strings.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::fields::{Span, Text};
use super::text;
use crate::{scalar, scan};

/// Label of an event.
type Label = (Text, Text);

/// Labels of an event that can't be read.
pub(super) struct UnreadableLabels<'a> {
    /// JSON text of the first one: its name, and its value if that is at fault.
    pub(super) first: &'a str,
    /// Predicate of the first one, such as "occurs twice".
    pub(super) problem: &'static str,
    /// Number of the others.
    pub(super) others: usize,
}

/// Member of the object: the ranges of its name, with quotes, and of its value.
struct Member {
    name: Range<usize>,
    value: Range<usize>,
}

/// Reads the object in a range of `input`. Numbers and booleans are read as their text; a label
/// that is `null` is absent.
pub(super) fn read(input: &str, range: Range<usize>) -> (Vec<Label>, Option<UnreadableLabels<'_>>) {
    let members = members(input, range);
    let names: Vec<_> = members
        .iter()
        .map(|member| text(&input[member.name.clone()], member.name.clone()))
        .collect();
    let is_repeated = repeated(input, &names);
    let (mut labels, mut unreadable) = (Vec::with_capacity(members.len()), None);
    for ((member, name), is_repeated) in members.into_iter().zip(names).zip(is_repeated) {
        let Member { name: name_range, value: value_range } = member;
        let value = &input[value_range.clone()];
        let whole = name_range.start..value_range.end;
        let (first, problem) = match (name, label_text(value, value_range)) {
            (None, _) => (name_range, "has a lone surrogate in its name"),
            (Some(_), _) if is_repeated => (name_range, "occurs twice"),
            (Some(name), Ok(value)) => {
                labels.extend(value.map(|value| (name, value)));
                continue;
            }
            (Some(_), Err(problem)) => (whole, problem),
        };
        unreadable
            .get_or_insert(UnreadableLabels { first: &input[first], problem, others: 0 })
            .others += 1;
    }
    // The first one was counted, too.
    unreadable.iter_mut().for_each(|unreadable| unreadable.others -= 1);
    (labels, unreadable)
}

/// Returns the text of a label's value; `None` for `null`.
fn label_text(value: &str, range: Range<usize>) -> Result<Option<Text>, &'static str> {
    if value == "null" {
        Ok(None)
    } else if scalar::is_number(value) || matches!(value, "true" | "false") {
        Ok(Some(Text::InPlace(Span::new(range))))
    } else if value.starts_with('"') {
        text(value, range).map(Some).ok_or("has a lone surrogate")
    } else {
        Err("is not a string, a number or a boolean")
    }
}

/// Returns for each name whether it occurs more than once.
fn repeated(input: &str, names: &[Option<Text>]) -> Vec<bool> {
    let name = |index: usize| names[index].as_ref().map(|name| name.as_str(input));
    let mut sorted: Vec<_> = (0..names.len()).collect();
    sorted.sort_by_key(|index| name(*index));
    let mut repeated = vec![false; names.len()];
    for pair in sorted.windows(2) {
        if name(pair[0]) == name(pair[1]) {
            repeated[pair[0]] = true;
            repeated[pair[1]] = true;
        }
    }
    repeated
}

fn members(input: &str, range: Range<usize>) -> Vec<Member> {
    let offset = range.start;
    let object = &input[range];
    let mut members = Vec::new();
    let position = |part: &str| part.as_ptr() as usize - input.as_ptr() as usize;
    let scanned = scan::members(object, |key, value| {
        let start = position(key);
        members.push(Member {
            name: start - 1..start + key.len() + 1,
            value: value.start + offset..value.end + offset,
        });
    });
    if scanned.is_none() {
        let pairs =
            serde_json::Deserializer::from_str(object).deserialize_map(Pairs).unwrap_or_default();
        let range = |part: &str| position(part)..position(part) + part.len();
        members = pairs
            .into_iter()
            .map(|(name, value)| Member { name: range(name), value: range(value) })
            .collect();
    }
    members
}

/// Collects the members of an object that [`scan`] does not accept.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(&'de str, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            pairs.push((name.get(), value.get()));
        }
        Ok(pairs)
    }
}
