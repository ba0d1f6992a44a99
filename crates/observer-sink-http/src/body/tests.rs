use serde_json::{Value as Json, json};

use super::*;
use crate::testing::envelope;

fn vars() -> BTreeMap<String, Secret> {
    BTreeMap::from([("routing_key".to_owned(), Secret::from("R0UT1NG"))])
}

fn template(source: &str) -> BodyTemplate {
    BodyTemplate::parse(source, &vars(), true).unwrap()
}

fn rendered(source: &str, events: &[&str]) -> Json {
    let events: Vec<_> = (1..).zip(events).map(|(seq, event)| envelope(seq, event)).collect();
    let body = template(source).render(&events.iter().collect::<Vec<_>>()).unwrap();
    serde_json::from_slice(&body).unwrap()
}

const FAILED: &str = r#"{"source":"bot","event_kind":"tests_failed","ok":false,"cycle_id":"c-1",
    "sig_hash":"s-1","staffer_id":"gpt-5","duration_ms":12345,"turns":3,"cost_usd":0.42}"#;
const OK: &str = r#"{"source":"ci","event_kind":"ok","ok":true}"#;
const FAILED_LINE: &str =
    "bot failed: tests_failed · cycle c-1 · problem s-1 · gpt-5 · 12.3 s · $0.42";

/// Returns an event whose fields have `count` characters of the longest kind.
fn huge(count: usize) -> String {
    let text = "\u{1F600}\\\"".repeat(count);
    format!(
        r#"{{"source":"{text}","event_kind":"{text}","ok":false,"cycle_id":"{text}",
            "sig_hash":"{text}","staffer_id":"{text}"}}"#
    )
}

#[test]
fn slack_message_is_a_text_without_markup() {
    assert_eq!(rendered(SLACK, &[FAILED]), json!({ "text": FAILED_LINE }));
    let digest = format!("2 events, 1 failed\n{FAILED_LINE}\nci succeeded: ok");
    assert_eq!(rendered(SLACK, &[FAILED, OK]), json!({ "text": digest }));
    let mention = r#"{"source":"<!channel>","event_kind":"a&b","ok":true}"#;
    assert_eq!(
        rendered(SLACK, &[mention]),
        json!({ "text": "&lt;!channel&gt; succeeded: a&amp;b" })
    );
}

#[test]
fn discord_message_mentions_nobody() {
    let expected = json!({ "content": FAILED_LINE, "allowed_mentions": { "parse": [] } });
    assert_eq!(rendered(DISCORD, &[FAILED]), expected);
}

#[test]
fn teams_message_is_an_adaptive_card_with_a_block_per_line() {
    let message = rendered(TEAMS, &[FAILED, OK]);
    let [attachment] = message["attachments"].as_array().unwrap().as_slice() else {
        panic!("{message}")
    };
    assert_eq!(message["type"], "message");
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    let card = &attachment["content"];
    assert_eq!((&card["type"], &card["version"]), (&json!("AdaptiveCard"), &json!("1.4")));
    let block = |text: &str| json!({ "type": "TextBlock", "wrap": true, "text": text });
    let blocks = ["2 events, 1 failed", FAILED_LINE, "ci succeeded: ok"].map(block);
    assert_eq!(card["body"], json!(blocks));
}

#[test]
fn pagerduty_alert_is_triggered_by_a_failure_and_resolved_by_a_success() {
    let alert = rendered(PAGERDUTY, &[FAILED]);
    let expected = json!({
        "routing_key": "R0UT1NG",
        "event_action": "trigger",
        "dedup_key": "bot/s-1",
        "client": "observer",
        "payload": {
            "summary": FAILED_LINE,
            "source": "bot",
            "severity": "error",
            "timestamp": "2026-01-01T00:00:00.000001Z",
            "class": "tests_failed",
            "custom_details": {
                "id": "00000000-0000-0000-0000-000000000001",
                "cycle_id": "c-1",
                "sig_hash": "s-1",
                "model": "gpt-5",
                "turns": 3,
                "duration_ms": 12345.0,
                "cost_usd": 0.42,
            },
        },
    });
    assert_eq!(alert, expected);
    let solved = FAILED.replace(r#""ok":false"#, r#""ok":true"#);
    let resolved = rendered(PAGERDUTY, &[&solved]);
    assert_eq!(
        (&resolved["event_action"], &resolved["dedup_key"]),
        (&json!("resolve"), &json!("bot/s-1"))
    );
    let error = BodyTemplate::parse(PAGERDUTY, &BTreeMap::new(), true).unwrap_err();
    assert!(error.contains("undefined value in line 2"), "{error}");
}

#[test]
fn presets_stay_within_the_limits_of_their_destinations() {
    let (huge, count) = (huge(5000), 200);
    let events = vec![huge.as_str(); count];
    let characters = |text: &Json| text.as_str().unwrap().chars().count();
    assert!(characters(&rendered(SLACK, &events)["text"]) <= 4000);
    assert!(characters(&rendered(DISCORD, &events)["content"]) <= 2000);
    assert!(rendered(TEAMS, &events).to_string().len() <= 28 << 10);
    let alert = rendered(PAGERDUTY, &events[..1]);
    assert!(characters(&alert["payload"]["summary"]) <= 1024);
    assert!(characters(&alert["dedup_key"]) <= 255);
    assert!(alert.to_string().len() <= 512 << 10);
}

#[test]
fn event_cannot_change_the_structure_of_a_body() {
    let source = r#"{"text": {{ event.event_kind }}, "all": {{ events | map(attribute="ok") }}}"#;
    let event = r#"{"source":"s","event_kind":"\",\"x\":{{ 7 }}\n<\u0000","ok":true}"#;
    assert_eq!(
        rendered(source, &[event]),
        json!({ "text": "\",\"x\":{{ 7 }}\n<\0", "all": [true] })
    );
}

#[test]
fn every_field_can_be_printed() {
    let event = r#"{"source":"s","event_kind":"k","ok":true,"team":"red","labels":{"branch":"main"},
        "extra":{"error":{"code":7}},"usage":{"input_tokens":10,"output_tokens":5}}"#;
    let source = r#"[{{ event.team }}, {{ event.labels.branch }}, {{ event.extra.error.code }},
        {{ event.usage.input }}, {{ event.cycle_id }}, {{ count }}, {{ failed }}, {{ event.id }},
        {{ vars.routing_key }}]"#;
    let defaults = source
        .replace("event.team", r#"event.team | default("")"#)
        .replace("event.labels.branch", r#"event.labels.branch | default("")"#)
        .replace("event.extra.error.code", r#"(event.extra or {}).error | default("")"#)
        .replace("event.usage.input", r#"(event.usage or {}).input | default(0)"#);
    assert_eq!(
        rendered(&defaults, &[event]),
        json!([
            "red",
            "main",
            { "code": 7 },
            10,
            null,
            1,
            0,
            "00000000-0000-0000-0000-000000000001",
            "R0UT1NG"
        ])
    );
    let error = BodyTemplate::parse(source, &vars(), true).unwrap_err();
    assert!(error.starts_with("fails with a sample event: undefined value in line 1"), "{error}");
}

#[test]
fn invalid_template_is_rejected_with_its_line() {
    let check = |source: &str, expected: &str| {
        let error = BodyTemplate::parse(source, &vars(), true).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    };
    check("{\n{{ event. }}\n}", "is not a template: syntax error in line 2");
    check("{\n\n{{ event.nope }}\n}", "fails with a sample event: undefined value in line 3");
    check("{{ event.source | nope }}", "fails with a sample event: unknown filter in line 1");
    check(
        "{\n\"text\": {{ event.source }}\n\"ok\": true}",
        "fails with a sample event: the body is not JSON: expected `,` or `}` at line 3",
    );
    check("{\"text\": \"{{ event.source }}\"}", "fails with a sample event: the body is not JSON");
}

#[test]
fn body_that_is_not_json_is_printed_as_it_is() {
    let source = "{{ event.source }}: {{ event.event_kind }}";
    let template = BodyTemplate::parse(source, &vars(), false).unwrap();
    let body =
        template.render(&[&envelope(1, r#"{"source":"a\"b","event_kind":"<k>","ok":true}"#)]);
    assert_eq!(body.unwrap(), b"a\"b: <k>");
}
