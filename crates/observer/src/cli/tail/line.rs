//! Line of an event for people.

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use observer_core::Event;
use observer_figures::{clean, format};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::grid::Terminal;

/// Limit of a name in characters.
const MAX_NAME: usize = 64;
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// Format of lines.
#[derive(Debug)]
pub(super) struct Lines {
    zone: TimeZone,
    has_color: bool,
}

impl Lines {
    /// Creates the format of standard output and of the time zone of the system.
    pub(super) fn new() -> Self {
        Self { zone: TimeZone::system(), has_color: Terminal::of_stdout().has_color }
    }

    /// Returns the line of an envelope. Its parts are clean.
    ///
    /// # Errors
    /// If the data is no envelope of an event.
    pub(super) fn of(&self, data: &str) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            received_at: Timestamp,
            #[serde(borrow)]
            event: &'a RawValue,
        }
        const UNEXPECTED: &str = "unexpected event of the observer";
        let Envelope { received_at, event } = serde_json::from_str(data).context(UNEXPECTED)?;
        let event = Event::parse(event.get().to_owned()).context(UNEXPECTED)?;
        let time = received_at.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string();
        let name = |text: &str| clean::line(text, MAX_NAME);
        let optional = |text: Option<&str>| text.map_or_else(|| "–".to_owned(), name);
        let (result, tone) = match event.ok() {
            Some(true) => ("ok", GREEN),
            Some(false) => ("failed", RED),
            None => ("–", DIM),
        };
        let cost = event.usage().and_then(|usage| usage.cost_usd);
        let cost = cost.map_or_else(|| "–".to_owned(), format::usd);
        Ok(format!(
            "{}  {:<12}  {}  {}  {:<20}  {cost:>8}  {}\n",
            self.painted(DIM, &time),
            name(event.source()),
            self.painted(tone, &format!("{:<16}", name(event.event_kind()))),
            self.painted(tone, &format!("{result:<6}")),
            optional(event.staffer_id()),
            self.painted(DIM, &optional(event.sig_hash())),
        ))
    }

    fn painted(&self, color: &str, text: &str) -> String {
        if self.has_color { format!("{color}{text}{RESET}") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: &str, has_color: bool) -> String {
        let data = format!(
            r#"{{"id":"0f8e4c1a-7f1e-5f0c-9a52-3f6f2b1f7a10","seq":1,"received_at":"2026-11-28T14:47:38Z","event":{event}}}"#
        );
        Lines { zone: TimeZone::UTC, has_color }.of(&data).unwrap()
    }

    #[test]
    fn line_has_the_fields_of_the_event() {
        let event = r#"{"source":"bot","event_kind":"tests_failed","ok":false,
            "staffer_id":"gpt-oss:120b","cost_usd":0.25,"sig_hash":"03f203cc93b17365"}"#;
        assert_eq!(
            line(event, false),
            "14:47:38  bot           tests_failed      failed  gpt-oss:120b             $0.25  \
             03f203cc93b17365\n"
        );
        assert!(line(event, true).contains("\x1b[31mtests_failed    \x1b[0m"));
        assert_eq!(
            line(r#"{"source":"bot","event_kind":"started"}"#, false),
            "14:47:38  bot           started           –       –                            –  –\n"
        );
    }

    #[test]
    fn line_controls_no_terminal() {
        let event =
            r#"{"source":"a\u001b]52;c;bm8=\u0007b\nc","event_kind":"k\u009b2J","ok":true}"#;
        let line = line(event, false);
        assert!(line.trim_end().chars().all(|c| !c.is_control()), "{line:?}");
        assert!(line.contains("  ab c "), "{line:?}");
    }

    #[test]
    fn other_data_is_an_error() {
        let lines = Lines { zone: TimeZone::UTC, has_color: false };
        assert!(lines.of("{}").is_err() && lines.of("x").is_err());
    }
}
