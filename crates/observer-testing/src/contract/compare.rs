//! Comparison of the contents of a destination with the events that were sent.
//!
//! Reports name events by number: the first event that was sent is event 1.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use observer_core::Envelope;

use super::destination::{Contents, StoredEvent};
use super::violation::Failure;

/// Requires each event once, in order.
pub(crate) fn exactly(contents: &Contents, sent: &[Arc<Envelope>]) -> Result<(), Failure> {
    compare(contents, sent, "", <[usize]>::to_vec)
}

/// Requires each event, with the first appearances in order. Repeats may follow anywhere.
pub(crate) fn with_repeats(contents: &Contents, sent: &[Arc<Envelope>]) -> Result<(), Failure> {
    compare(contents, sent, ", each counted at its first appearance", first_appearances)
}

/// Requires at least the first `required` of the delivered events, in order.
pub(crate) fn at_least(
    contents: &Contents,
    delivered: &[Arc<Envelope>],
    required: usize,
) -> Result<(), Failure> {
    let expected = format!("at least events {}", ranges(&(1..=required).collect::<Vec<_>>()));
    let (enough, found) = match contents {
        Contents::Count(count) => {
            let enough = *count >= required as u64 && *count <= delivered.len() as u64;
            (enough, format!("{count} events"))
        }
        Contents::Events(_) => {
            let numbers = numbers(contents, delivered)?;
            let first = first_appearances(&numbers);
            let enough = first.len() >= required && first.iter().copied().eq(1..=first.len());
            (enough, listing(&numbers, required))
        }
    };
    if enough { Ok(()) } else { Err(Failure::new(expected, found)) }
}

fn compare(
    contents: &Contents,
    sent: &[Arc<Envelope>],
    condition: &str,
    counted: impl Fn(&[usize]) -> Vec<usize>,
) -> Result<(), Failure> {
    if let Contents::Count(count) = contents {
        return if *count == sent.len() as u64 {
            Ok(())
        } else {
            Err(Failure::new(format!("{} different events", sent.len()), format!("{count}")))
        };
    }
    let numbers = numbers(contents, sent)?;
    if counted(&numbers).into_iter().eq(1..=sent.len()) {
        return Ok(());
    }
    let all = ranges(&(1..=sent.len()).collect::<Vec<_>>());
    let expected = format!("events {all}, in this order{condition}");
    Err(Failure::new(expected, listing(&numbers, sent.len())))
}

/// Lists the stored events, and those of the first `required` that are missing.
fn listing(numbers: &[usize], required: usize) -> String {
    let missing: Vec<_> = (1..=required).filter(|number| !numbers.contains(number)).collect();
    if missing.is_empty() {
        format!("events {}", ranges(numbers))
    } else {
        format!("events {}; missing: {}", ranges(numbers), ranges(&missing))
    }
}

/// Returns the number of each stored event among the sent ones, from 1.
fn numbers(contents: &Contents, sent: &[Arc<Envelope>]) -> Result<Vec<usize>, Failure> {
    let Contents::Events(stored) = contents else { return Ok(Vec::new()) };
    let known: HashMap<_, _> =
        (1..).zip(sent).map(|(number, envelope)| (envelope.id, (number, envelope))).collect();
    let number = |event: &StoredEvent| {
        let Some((number, envelope)) = known.get(&event.id) else {
            let found = format!(
                "an event with the id {}: {}",
                event.id,
                excerpt(event.raw.as_deref().unwrap_or(""))
            );
            return Err(Failure::new("only events that were delivered", found));
        };
        let sent = String::from_utf8_lossy(envelope.event.raw()).replace(['\n', '\r'], " ");
        match &event.raw {
            Some(raw) if raw.replace(['\n', '\r'], " ") != sent => Err(Failure::new(
                format!("event {number} as it was sent: {}", excerpt(&sent)),
                excerpt(raw),
            )),
            _ => Ok(*number),
        }
    };
    stored.iter().map(number).collect()
}

fn first_appearances(numbers: &[usize]) -> Vec<usize> {
    let mut seen = HashSet::new();
    numbers.iter().copied().filter(|number| seen.insert(*number)).collect()
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

/// Formats numbers as `1-3 5 4`, or as `none`.
fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, end)) if number == *end + 1 => *end = number,
            _ => runs.push((number, number)),
        }
    }
    if runs.is_empty() {
        return "none".to_owned();
    }
    let run = |(start, end): &(usize, usize)| {
        if start == end { start.to_string() } else { format!("{start}-{end}") }
    };
    let shown: Vec<_> = runs.iter().take(40).map(run).collect();
    let more = if runs.len() > 40 { " …" } else { "" };
    shown.join(" ") + more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::events::events;

    fn contents(numbers: &[usize]) -> Contents {
        let sent = events(1..=9);
        let stored = |number: &usize| StoredEvent { id: sent[number - 1].id, raw: None };
        Contents::Events(numbers.iter().map(stored).collect())
    }

    #[test]
    fn missing_repeated_and_reordered_events_are_listed_in_ranges() {
        let sent = events(1..=5);
        let check = |numbers: &[usize], expected: Option<&str>| {
            let found = exactly(&contents(numbers), &sent).err().map(|failure| failure.found);
            assert_eq!(found.as_deref(), expected);
        };
        check(&[1, 2, 3, 4, 5], None);
        check(&[1, 2, 4, 3, 5], Some("events 1-2 4 3 5"));
        check(&[1, 2, 3, 4, 5, 5], Some("events 1-5 5"));
        check(&[1, 5], Some("events 1 5; missing: 2-4"));
        check(&[], Some("events none; missing: 1-5"));
        with_repeats(&contents(&[1, 2, 1, 2, 3, 2, 4, 5]), &sent).unwrap();
        with_repeats(&contents(&[1, 3, 2, 3, 4, 5]), &sent).unwrap_err();
    }

    #[test]
    fn foreign_and_altered_events_are_reported() {
        let sent = events(1..=5);
        let foreign = exactly(&contents(&[1, 9]), &sent).unwrap_err();
        assert_eq!(foreign.expected, "only events that were delivered");
        let altered =
            Contents::Events(vec![StoredEvent { id: sent[0].id, raw: Some("{}".to_owned()) }]);
        assert_eq!(with_repeats(&altered, &sent).unwrap_err().found, "{}");
        exactly(&Contents::Count(5), &sent).unwrap();
        exactly(&Contents::Count(6), &sent).unwrap_err();
    }
}
