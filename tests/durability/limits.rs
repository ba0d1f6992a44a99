//! Limits of the system for the size of a file.

use std::process::Command;

use crate::support::{DEFAULTS, OBSERVER, Observer, wait_until};

/// Limit in units of 512 bytes, as a shell takes it.
const LIMIT: &str = "256";

#[tokio::test]
async fn file_size_limit_is_reported_and_the_observer_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit -f {LIMIT}; exec {OBSERVER} \"$@\""), "observer"])
        .current_dir(dir.path());
    let mut observer = Observer::launch(dir.path(), DEFAULTS, shell, &[]);
    let event = format!(
        r#"{{"source":"job","event_kind":"ok","ok":true,"extra":{{"text":"{}"}}}}"#,
        "x".repeat(20_000)
    );
    let mut accepted = 0;
    let mut refused = 0;
    // Several files of the largest size.
    for _ in 0..40 {
        match observer.post(event.clone()).await.status {
            200 => accepted += 1,
            status => {
                assert_eq!(status, 503);
                refused += 1;
            }
        }
    }
    assert!(accepted >= 20 && refused > 0, "{accepted} accepted, {refused} refused");
    let entry = observer
        .wait_for_log("the journal accepts no records; producers have to retry, readers continue");
    let reason = entry["reason"].as_str().unwrap();
    assert!(reason.contains("raise the file size limit of the process"), "{reason}");
    observer.kill();

    let again = Observer::start(dir.path(), DEFAULTS);
    let head = async || again.get("/v1/sinks").await.json()["head"].clone();
    wait_until("the journal is open", async || {
        head().await.as_str().is_some_and(|head| head.ends_with(&format!("-{accepted}")))
    })
    .await;
}
