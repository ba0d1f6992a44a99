//! `observer check --redact`: shows which secrets of a file would be redacted, and not the secrets.

use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;
use observer_core::Submission;
use observer_core::redact::Redactor;
use observer_figures::clean;

/// Returns a line for each secret of a file of events, and a summary. `-` is standard input.
pub(super) fn preview(redactor: &Redactor, path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        return of_lines(redactor, std::io::stdin().lock());
    }
    let unreadable = || format!("{} can't be read", path.display());
    let file = File::open(path).with_context(unreadable)?;
    of_lines(redactor, BufReader::new(file)).with_context(unreadable)
}

fn of_lines(redactor: &Redactor, lines: impl BufRead) -> anyhow::Result<String> {
    let mut text = String::new();
    let (mut secrets, mut changed, mut events, mut others) = (0, 0, 0, 0);
    for (number, line) in (1..).zip(lines.split(b'\n')) {
        let line = line?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let Ok(submission) = Submission::parse(line) else {
            others += 1;
            continue;
        };
        events += 1;
        let Some(redacted) = submission.event.redacted(redactor) else { continue };
        changed += 1;
        secrets += redacted.found.len();
        for found in &redacted.found {
            let action = redactor.rules().find(|(rule, _)| **rule == *found.rule);
            let action = action.map_or("", |(_, action)| action.as_str());
            let _ = writeln!(
                text,
                "line {number}: {} ({}, {action})",
                clean::text(&found.path),
                found.rule
            );
        }
    }
    let _ = writeln!(text, "secrets: {secrets}, in {changed} of {events} events");
    if others > 0 {
        let _ = writeln!(text, "lines that are no events: {others}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preview_names_places_and_rules_and_no_secret() {
        let token = format!("ghp_{}", "16C7e42F292c6912E7710c838347Ae178B4a");
        let event = |more: &str| format!(r#"{{"source":"s","event_kind":"k","ok":true,{more}}}"#);
        let lines = [
            event(r#""extra":{"note":"nothing"}"#),
            event(&format!(r#""extra":{{"log":["a","push {token}"],"password":"hunter2"}}"#)),
            String::new(),
            "no event".to_owned(),
        ];
        let text = of_lines(&Redactor::default(), lines.join("\n").as_bytes()).unwrap();
        assert_eq!(
            text,
            "line 2: extra.log[1] (github, mask)\n\
             line 2: extra.password (password, mask)\n\
             secrets: 2, in 1 of 2 events\n\
             lines that are no events: 1\n"
        );
    }
}
