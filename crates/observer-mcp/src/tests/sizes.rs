//! Sizes of definitions and answers, with the runs of real agents.

use serde_json::{Value, json};

use super::support::{Kb, id, none, runs};
use super::tokens;
use crate::handler::INSTRUCTIONS;
use crate::tools::Tool;

/// Largest number of tokens of all definitions.
const MAX_DEFINITIONS: usize = 1_500;
/// Largest number of tokens of an answer by default.
const MAX_DEFAULT: usize = 300;
/// Largest number of tokens of any answer.
const MAX_ANSWER: usize = 2_000;

fn field(run: &str, name: &str) -> String {
    let run: Value = serde_json::from_str(run).unwrap();
    run[name].as_str().unwrap().to_owned()
}

#[test]
fn definitions_are_short() {
    let tools: Vec<_> = Tool::ALL.into_iter().map(|tool| tool.definition().tool()).collect();
    let json = serde_json::to_string(&tools).unwrap();
    let count = tokens(&json) + tokens(INSTRUCTIONS);
    assert!(count <= MAX_DEFINITIONS, "{count} tokens: {json}");
    for tool in &tools {
        assert_eq!(tool.annotations.as_ref().unwrap().read_only_hint, Some(true), "{}", tool.name);
    }
}

#[tokio::test]
async fn answers_about_real_runs_are_short() {
    let runs = runs();
    let kb = Kb::of(&runs).await;
    let mut calls = vec![
        ("problems", none()),
        ("problems", json!({"sort": "recent", "state": "broken"})),
        ("models", none()),
        ("usage", none()),
        ("usage", json!({"by": "day"})),
        ("search", none()),
        ("search", json!({"ok": false, "source": "bot"})),
        ("history", json!({"sig_hash": "unknown"})),
    ];
    for run in runs.iter().step_by(runs.len() / 40) {
        calls.push(("history", json!({"sig_hash": field(run, "sig_hash")})));
    }
    for (tool, arguments) in calls {
        let text = kb.answer(tool, arguments.clone()).await;
        let count = tokens(&text);
        assert!(count <= MAX_DEFAULT, "{tool} {arguments}: {count} tokens: {text}");
    }
}

#[tokio::test]
async fn no_answer_exceeds_the_hard_cap() {
    // Random letters, and characters of several tokens each, are the worst for a tokenizer.
    let mut random = random_letters(7);
    let mut events = Vec::new();
    for n in 0..120 {
        let log: String = (0..3_000).map(|_| random()).collect();
        let event = json!({
            "source": "job", "event_kind": format!("kind {n} 𒀀𒁂𒂷 {}", &log[..40]), "ok": false,
            "sig_hash": format!("{n} {}", &log[..60]), "staffer_id": format!("{n} {}", &log[..60]),
            "extra": {"error": &log[..300], "log": log, "signs": "𒀀𒁂𒂷𒃻𒄿".repeat(300)},
        });
        events.push(event.to_string());
    }
    // Its cursor would hold the whole signature.
    let long = json!({"source": "job", "event_kind": "k", "ok": false, "cost_usd": 1e6,
                      "sig_hash": "s".repeat(20_000)});
    events.push(long.to_string());
    let kb = Kb::of(&events).await;
    let all = |more: Value| {
        let mut arguments = json!({"max_chars": 6_000});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    let sig_hash = field(&events[3], "sig_hash");
    for (tool, arguments) in [
        ("problems", json!({"limit": 50})),
        ("problems", json!({"limit": 1})),
        ("models", none()),
        ("usage", json!({"limit": 100})),
        ("search", json!({"limit": 50})),
        ("history", json!({"sig_hash": sig_hash, "detail": "full"})),
        ("search", json!({"id": id(6)})),
    ] {
        let text = kb.answer(tool, all(arguments.clone())).await;
        let count = tokens(&text);
        assert!(count <= MAX_ANSWER, "{tool} {arguments}: {count} tokens: {text}");
        assert!(text.chars().count() <= 6_000);
        let shorter = json!({"max_chars": 500});
        let Value::Object(mut arguments) = arguments else { unreachable!() };
        arguments.extend(shorter.as_object().unwrap().clone());
        let text = kb.answer(tool, arguments.into()).await;
        assert!(text.chars().count() <= 500, "{tool}: {text}");
    }
}

/// Returns a generator of letters.
fn random_letters(mut state: u32) -> impl FnMut() -> char {
    move || {
        // A linear congruential generator (Numerical Recipes, 7.1).
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    }
}

#[tokio::test]
async fn pages_of_short_answers_have_every_row_once() {
    let runs = runs();
    let kb = Kb::of(&runs).await;
    for (tool, key) in [("search", "id"), ("problems", "sig")] {
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut arguments = json!({"limit": 40, "max_chars": 1_500});
            if let Some(cursor) = &cursor {
                arguments["cursor"] = cursor.clone().into();
            }
            let text = kb.answer(tool, arguments).await;
            let rows = text.lines().skip_while(|line| !line.starts_with(key)).skip(1);
            let rows: Vec<_> = rows.filter(|line| !line.starts_with("More: ")).collect();
            seen.extend(rows.iter().map(|row| row.split(',').next().unwrap().to_owned()));
            cursor = text.lines().last().unwrap().strip_prefix("More: cursor=").map(str::to_owned);
            if cursor.is_none() || seen.len() > 300 {
                break;
            }
        }
        let total = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), total, "{tool}");
        assert!(total > 90, "{tool}: {total}");
    }
}
