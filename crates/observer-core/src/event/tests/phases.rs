//! Phases: events that need no `ok` and never have one.

use super::*;
use crate::Filter;

const OUTCOME: Option<(bool, Option<bool>)> = Some((false, Some(true)));
const PHASE: Option<(bool, Option<bool>)> = Some((true, None));
const REJECTED: Option<(bool, Option<bool>)> = None;

/// Returns whether an event is a phase, and its `ok`; `None` if it is rejected.
fn parsed(phases: &Phases, kind: &str, ok: &str) -> Option<(bool, Option<bool>)> {
    let options = ParseOptions { phases: phases.clone(), strict: true, ..ParseOptions::default() };
    let json = format!(r#"{{"source":"bot","event_kind":"{kind}"{ok}}}"#);
    let submission = Submission::parse_with(json, &options).ok()?;
    assert_eq!(submission.warnings, []);
    let event = submission.event;
    let again = Event::from_parsed(event.raw().clone()).with_phase(event.is_phase());
    assert_eq!((again.is_phase(), again.ok()), (event.is_phase(), event.ok()));
    Some((event.is_phase(), event.ok()))
}

#[test]
fn phase_has_no_ok_whatever_was_sent() {
    let (default, own, none) = (Phases::default(), Phases::new(["queued"]), Phases::none());
    let rows = [
        (&default, "started", "", PHASE),
        (&default, "heartbeat", "", PHASE),
        (&default, "progress", "", PHASE),
        (&default, r"st\u0061rted", "", PHASE),
        (&default, "started", r#","ok":null"#, PHASE),
        (&default, "started", r#","ok":true"#, PHASE),
        (&default, "started", r#","ok":false"#, PHASE),
        (&default, "started", r#","ok":"yes""#, PHASE),
        (&default, "started", r#","ok":[1]"#, PHASE),
        (&default, "started", r#","ok":true,"ok":true"#, REJECTED),
        (&default, "Started", "", REJECTED),
        (&default, "ok", r#","ok":true"#, OUTCOME),
        (&default, "ok", r#","ok":null"#, REJECTED),
        (&default, "ok", r#","ok":"yes""#, REJECTED),
        (&default, "queued", "", REJECTED),
        (&own, "queued", "", PHASE),
        (&own, "queued", r#","ok":true"#, PHASE),
        (&own, "started", "", REJECTED),
        (&own, "started", r#","ok":true"#, OUTCOME),
        (&none, "started", "", REJECTED),
        (&none, "started", r#","ok":true"#, OUTCOME),
    ];
    for (phases, kind, ok, expected) in rows {
        assert_eq!(parsed(phases, kind, ok), expected, "{phases:?} {kind} {ok}");
    }
}

#[test]
fn default_phases_decide_for_bytes_without_a_tag() {
    let started = Bytes::from(r#"{"source":"bot","event_kind":"started","ok":true}"#);
    let event = Event::from_parsed(started.clone());
    assert!(event.is_phase() && event.ok().is_none());
    assert_eq!(event.with_phase(false).ok(), Some(true));
    let outcome = Event::from_parsed(started).with_phase(false);
    assert_eq!((outcome.is_phase(), outcome.ok()), (false, Some(true)));
    assert_eq!(outcome.unparsed().ok(), Some(true));
    assert_eq!(outcome.trimmed(100).unwrap().ok(), Some(true));

    let queued = Event::from_parsed(r#"{"source":"bot","event_kind":"queued","turns":2}"#.into());
    assert_eq!((queued.is_phase(), queued.ok(), queued.turns()), (false, None, Some(2)));
    assert!(queued.with_phase(true).is_phase());
}

#[test]
fn condition_on_ok_never_matches_a_phase() {
    let phase = Event::parse(r#"{"source":"bot","event_kind":"started","ok":true}"#).unwrap();
    for (filter, expected) in [
        (r#"{"ok":true}"#, false),
        (r#"{"ok":false}"#, false),
        ("{}", true),
        (r#"{"event_kind":"started"}"#, true),
        (r#"{"event_kind":"started","ok":true}"#, false),
    ] {
        let filter: Filter = serde_json::from_str(filter).unwrap();
        assert_eq!(filter.matches(&phase), expected, "{filter:?}");
    }
}
