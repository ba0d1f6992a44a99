//! What is held against what was sent.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use observer_core::Envelope;

use super::destination::{Contents, StoredEvent};
use super::violation::Broken;

/// Each event once, in order.
pub(crate) fn exactly(held: &Contents, sent: &[Arc<Envelope>]) -> Result<(), Broken> {
    compare(held, sent, "", <[usize]>::to_vec)
}

/// Each event, the first appearances in order; repeats may stand anywhere after them.
pub(crate) fn with_repeats(held: &Contents, sent: &[Arc<Envelope>]) -> Result<(), Broken> {
    compare(held, sent, " when each is counted where it first appears", first_appearances)
}

/// At least the first `sent` of what was delivered; more may have come through.
pub(crate) fn at_least(
    held: &Contents,
    delivered: &[Arc<Envelope>],
    sent: usize,
) -> Result<(), Broken> {
    let expected = format!("at least events {}", ranges(&(1..=sent).collect::<Vec<_>>()));
    let (enough, found) = match held {
        Contents::Count(count) => {
            (*count >= sent as u64 && *count <= delivered.len() as u64, format!("{count} events"))
        }
        Contents::Events(_) => {
            let places = places(held, delivered)?;
            let first = first_appearances(&places);
            (first.len() >= sent && first.iter().copied().eq(1..=first.len()), told(&places, sent))
        }
    };
    if enough { Ok(()) } else { Err(Broken::new(expected, found)) }
}

fn compare(
    held: &Contents,
    sent: &[Arc<Envelope>],
    how: &str,
    counted: impl Fn(&[usize]) -> Vec<usize>,
) -> Result<(), Broken> {
    if let Contents::Count(count) = held {
        return if *count == sent.len() as u64 {
            Ok(())
        } else {
            Err(Broken::new(format!("{} different events", sent.len()), format!("{count}")))
        };
    }
    let places = places(held, sent)?;
    if counted(&places).into_iter().eq(1..=sent.len()) {
        return Ok(());
    }
    let found = told(&places, sent.len());
    Err(Broken::new(
        format!("events {}, in this order{how}", ranges(&(1..=sent.len()).collect::<Vec<_>>())),
        found,
    ))
}

fn told(places: &[usize], sent: usize) -> String {
    let missing: Vec<_> = (1..=sent).filter(|place| !places.contains(place)).collect();
    if missing.is_empty() {
        format!("events {}", ranges(places))
    } else {
        format!("events {}; missing: {}", ranges(places), ranges(&missing))
    }
}

/// Where each held event stands among those that were sent, from 1.
fn places(held: &Contents, sent: &[Arc<Envelope>]) -> Result<Vec<usize>, Broken> {
    let Contents::Events(held) = held else { return Ok(Vec::new()) };
    let known: HashMap<_, _> =
        (1..).zip(sent).map(|(place, envelope)| (envelope.id, (place, envelope))).collect();
    let place = |event: &StoredEvent| {
        let Some((place, envelope)) = known.get(&event.id) else {
            let found = format!(
                "one with the id {}: {}",
                event.id,
                excerpt(event.raw.as_deref().unwrap_or(""))
            );
            return Err(Broken::new("no event but those that were delivered", found));
        };
        let sent = String::from_utf8_lossy(envelope.event.raw()).replace(['\n', '\r'], " ");
        match &event.raw {
            Some(raw) if raw.replace(['\n', '\r'], " ") != sent => Err(Broken::new(
                format!("event {place} as it was sent: {}", excerpt(&sent)),
                excerpt(raw),
            )),
            _ => Ok(*place),
        }
    };
    held.iter().map(place).collect()
}

fn first_appearances(places: &[usize]) -> Vec<usize> {
    let mut seen = HashSet::new();
    places.iter().copied().filter(|place| seen.insert(*place)).collect()
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

/// `1-3 5 4`, and `none`.
fn ranges(places: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &place in places {
        match runs.last_mut() {
            Some((_, end)) if place == *end + 1 => *end = place,
            _ => runs.push((place, place)),
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

    fn held(places: &[usize]) -> Contents {
        let sent = events(1..=9);
        Contents::Events(
            places.iter().map(|place| StoredEvent { id: sent[place - 1].id, raw: None }).collect(),
        )
    }

    #[test]
    fn what_is_missing_doubled_or_out_of_order_is_told_in_runs() {
        let sent = events(1..=5);
        let check = |places: &[usize], expected: Option<&str>| {
            let found = exactly(&held(places), &sent).err().map(|broken| broken.found);
            assert_eq!(found.as_deref(), expected);
        };
        check(&[1, 2, 3, 4, 5], None);
        check(&[1, 2, 4, 3, 5], Some("events 1-2 4 3 5"));
        check(&[1, 2, 3, 4, 5, 5], Some("events 1-5 5"));
        check(&[1, 5], Some("events 1 5; missing: 2-4"));
        check(&[], Some("events none; missing: 1-5"));
        with_repeats(&held(&[1, 2, 1, 2, 3, 2, 4, 5]), &sent).unwrap();
        with_repeats(&held(&[1, 3, 2, 3, 4, 5]), &sent).unwrap_err();
    }

    #[test]
    fn an_event_that_nobody_sent_and_one_that_was_altered_are_told() {
        let sent = events(1..=5);
        let foreign = exactly(&held(&[1, 9]), &sent).unwrap_err();
        assert_eq!(foreign.expected, "no event but those that were delivered");
        let altered =
            Contents::Events(vec![StoredEvent { id: sent[0].id, raw: Some("{}".to_owned()) }]);
        assert_eq!(with_repeats(&altered, &sent).unwrap_err().found, "{}");
        exactly(&Contents::Count(5), &sent).unwrap();
        exactly(&Contents::Count(6), &sent).unwrap_err();
    }
}
