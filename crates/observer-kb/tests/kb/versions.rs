//! Files of older versions.

use rusqlite::Connection;

use super::support::{DAY, Kb, START, outcome, with};

/// Takes a file back to version 2, which had neither the ids nor the errors of attempts.
fn take_back(kb: &Kb) {
    let conn = Connection::open(kb.path()).unwrap();
    conn.execute_batch(
        "DROP VIEW attempts;
         ALTER TABLE attempt DROP COLUMN id;
         ALTER TABLE attempt DROP COLUMN text;
         PRAGMA user_version = 2;",
    )
    .unwrap();
}

fn version(kb: &Kb) -> i64 {
    let conn = Connection::open(kb.path()).unwrap();
    conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn failure(error: &str) -> String {
    with(&outcome("p", "m", false), &format!(r#""extra":{{"error":"{error}"}}"#))
}

#[tokio::test]
async fn history_of_an_older_file_is_the_same_before_and_after_the_migration() {
    let mut kb = Kb::new();
    let ids = kb.send(&[failure("no such table"), outcome("p", "n", true), failure("boom")]).await;
    kb.at(START + DAY);
    let correction = format!(
        concat!(
            r#"{{"source":"bot","cycle_id":"v","event_kind":"wrong","ok":false,"replaces":"{}","#,
            r#""extra":{{"error":"wrong table"}}}}"#
        ),
        ids[1]
    );
    kb.send(&[correction]).await;
    let expected = kb.problem("p").await;
    let texts: Vec<_> =
        expected.history.iter().flatten().map(|attempt| attempt.text.as_deref()).collect();
    assert_eq!(texts, [Some("boom"), Some("wrong table"), Some("no such table")]);
    kb.sink_close().await;

    take_back(&kb);
    kb.reopen();
    assert_eq!(kb.problem("p").await, expected, "before the migration");
    assert_eq!(version(&kb), 2, "a query changes nothing");
    kb.sink_flush().await;
    let events = [failure("after the migration"), outcome("p", "m", true)];
    let new = kb.send(&events).await;
    assert_eq!(version(&kb), 3);
    let history = kb.problem("p").await.history.unwrap();
    assert_eq!(history[2..], expected.history.unwrap()[..], "after the migration");
    assert_eq!((history[0].event, history[1].event), (new[1], new[0]));
    assert_eq!(history[1].text.as_deref(), Some("after the migration"));
}

#[tokio::test]
async fn attempts_of_an_older_file_can_be_corrected_and_moved() {
    let mut kb = Kb::new();
    let ids = kb.send(&[failure("first"), failure("second")]).await;
    kb.sink_close().await;
    take_back(&kb);
    kb.reopen();
    let correction = |id: &str, sig_hash: &str, error: &str| {
        with(
            &outcome(sig_hash, "m", false),
            &format!(r#""replaces":"{id}","extra":{{"error":"{error}"}}"#),
        )
    };
    kb.at(START + DAY);
    let sent = kb
        .send(&[
            correction(&ids[0].to_string(), "p", "corrected"),
            correction(&ids[1].to_string(), "q", "moved"),
        ])
        .await;
    for (sig_hash, at, text) in [("p", 0, "corrected"), ("q", 1, "moved")] {
        let history = kb.problem(sig_hash).await.history.unwrap();
        assert_eq!(history.len(), 1, "{sig_hash}");
        assert_eq!(history[0].text.as_deref(), Some(text));
        assert_eq!((history[0].event, history[0].corrects), (sent[at], Some(ids[at])));
    }
}
