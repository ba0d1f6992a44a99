//! What the person at the terminal sees meanwhile, and in the end.

use std::fmt;

use indicatif::{ProgressBar, ProgressStyle};

/// What became of the events so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    pub(super) duplicate: u64,
    pub(super) rejected: u64,
    /// Read from the inputs.
    pub(super) bytes: u64,
}

impl Tally {
    /// One line of JSON; `complete` says whether every event was tried.
    pub(super) fn to_json(&self, complete: bool) -> String {
        let Self { accepted, duplicate, rejected, bytes: _ } = self;
        let summary = serde_json::json!({
            "accepted": accepted, "duplicate": duplicate, "rejected": rejected, "complete": complete,
        });
        format!("{summary}\n")
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, duplicate, rejected, bytes: _ } = self;
        let all = accepted + duplicate + rejected;
        let events = if all == 1 { "event" } else { "events" };
        write!(f, "{all} {events}: {accepted} accepted, {duplicate} duplicate, {rejected} rejected")
    }
}

/// Where notes and progress go.
pub(super) trait Screen {
    /// A line that stays.
    fn note(&mut self, line: &str);

    /// How far it has come.
    fn progress(&mut self, tally: &Tally);
}

/// Standard error, with a bar if it is a terminal.
pub(super) struct Terminal(ProgressBar);

impl Terminal {
    /// `total` in bytes, if it is known.
    pub(super) fn new(total: Option<u64>) -> Self {
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{bar:30} {binary_bytes}/{binary_total_bytes} {msg} ({eta} left)",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {msg} ({elapsed})"),
        };
        let style =
            ProgressStyle::with_template(template).expect("the template is one of the two above");
        Self(bar.with_style(style))
    }

    /// Take the bar away.
    pub(super) fn finish(self) {
        self.0.finish_and_clear();
    }
}

impl Screen for Terminal {
    fn note(&mut self, line: &str) {
        self.0.suspend(|| eprintln!("{line}"));
    }

    fn progress(&mut self, tally: &Tally) {
        if !self.0.is_hidden() {
            self.0.set_position(tally.bytes);
            self.0.set_message(tally.to_string());
        }
    }
}
