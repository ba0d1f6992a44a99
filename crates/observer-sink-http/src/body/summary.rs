//! Outcomes in words, each in one line.

use std::fmt::Write;
use std::sync::Arc;

use observer_core::{Envelope, Event};

/// Largest number of outcomes that a summary lists.
const MAX_LINES: usize = 50;
/// Largest part of a field in a line, in characters.
const MAX_FIELD: usize = 80;

/// Returns the outcomes of a batch, one in each line, after a line with their number.
pub(super) fn of_batch(events: &[&Arc<Envelope>]) -> String {
    if let [envelope] = events {
        return of_event(&envelope.event);
    }
    let failed = events.iter().filter(|envelope| envelope.event.ok() == Some(false)).count();
    let mut text = format!("{} events, {failed} failed", events.len());
    for envelope in events.iter().take(MAX_LINES) {
        text.push('\n');
        text.push_str(&of_event(&envelope.event));
    }
    if events.len() > MAX_LINES {
        // Writing to a string can't fail.
        let _ = write!(text, "\nand {} more", events.len() - MAX_LINES);
    }
    text
}

/// Returns one outcome in one line: `bot failed: tests_failed · cycle c-1 · gpt-5 · 12.3 s · $0.42`.
pub(super) fn of_event(event: &Event) -> String {
    let outcome = match event.ok() {
        Some(true) => " succeeded",
        Some(false) => " failed",
        None => "",
    };
    let mut text = format!("{}{outcome}: {}", field(event.source()), field(event.event_kind()));
    let mut add = |part: String| {
        text.push_str(" · ");
        text.push_str(&part);
    };
    if let Some(cycle_id) = event.cycle_id() {
        add(format!("cycle {}", field(cycle_id)));
    }
    if let Some(sig_hash) = event.sig_hash() {
        add(format!("problem {}", field(sig_hash)));
    }
    if let Some(model) = event.staffer_id() {
        add(field(model));
    }
    if let Some(duration) = event.duration_ms() {
        add(format!("{:.1} s", duration / 1000.0));
    }
    if let Some(cost) = event.usage().and_then(|usage| usage.cost_usd) {
        add(format!("${cost:.2}"));
    }
    text
}

/// Returns a field in one line of bounded length.
fn field(text: &str) -> String {
    let cleaned = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut text: String = cleaned.take(MAX_FIELD + 1).collect();
    if let Some((end, _)) = text.char_indices().nth(MAX_FIELD) {
        text.truncate(end);
        text.push('…');
    }
    text
}
