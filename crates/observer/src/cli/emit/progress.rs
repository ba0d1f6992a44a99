//! Progress and summary of `observer emit`.

use std::fmt;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::output::print_error;

/// Number of events by result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    pub(super) duplicate: u64,
    pub(super) rejected: u64,
    /// Number of warnings about fields of stored events.
    pub(super) warnings: u64,
    /// The warnings that were reported.
    pub(super) first_warnings: Vec<ReportedWarning>,
    /// Bytes read from the inputs.
    pub(super) bytes: u64,
}

/// Warning about a field of a stored event, with the file and line of the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ReportedWarning {
    pub(super) location: String,
    pub(super) field: String,
    pub(super) detail: String,
}

impl Tally {
    /// Returns one line of JSON. `complete` states that every event was sent.
    pub(super) fn to_json(&self, complete: bool) -> String {
        let Self { accepted, duplicate, rejected, warnings, first_warnings, bytes: _ } = self;
        let summary = serde_json::json!({
            "accepted": accepted,
            "duplicate": duplicate,
            "rejected": rejected,
            "warnings_total": warnings,
            "warnings": first_warnings,
            "complete": complete,
        });
        format!("{summary}\n")
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, duplicate, rejected, warnings, .. } = self;
        let total = accepted + duplicate + rejected;
        let events = if total == 1 { "event" } else { "events" };
        write!(
            f,
            "{total} {events}: {accepted} accepted, {duplicate} duplicate, {rejected} rejected"
        )?;
        match warnings {
            0 => Ok(()),
            1 => f.write_str("; 1 warning"),
            warnings => write!(f, "; {warnings} warnings"),
        }
    }
}

/// Destination of messages and progress.
pub(super) trait Reporter {
    /// Prints a line.
    fn message(&mut self, line: &str);

    /// Updates the progress.
    fn progress(&mut self, tally: &Tally);
}

/// Standard error, with a progress bar if it is a terminal.
pub(super) struct Terminal(ProgressBar);

impl Terminal {
    /// Creates a progress bar; `total` is the size of the inputs in bytes, if known.
    pub(super) fn new(total: Option<u64>) -> Self {
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{bar:30} {binary_bytes}/{binary_total_bytes} {msg} ({eta} left)",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {msg} ({elapsed})"),
        };
        let style = ProgressStyle::with_template(template).expect("both templates above are valid");
        Self(bar.with_style(style))
    }

    /// Removes the progress bar.
    pub(super) fn finish(self) {
        self.0.finish_and_clear();
    }
}

impl Reporter for Terminal {
    fn message(&mut self, line: &str) {
        self.0.suspend(|| print_error(line));
    }

    fn progress(&mut self, tally: &Tally) {
        if !self.0.is_hidden() {
            self.0.set_position(tally.bytes);
            self.0.set_message(tally.to_string());
        }
    }
}
