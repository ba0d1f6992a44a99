//! Messages of the HTTP sink, from the program's outside.

use std::path::Path;
use std::process::Command;

use observer_testing::http::HttpReceiver;
use serde_json::Value;

use crate::support::{OBSERVER, Observer, text_of};

fn event(number: usize, branch: &str) -> String {
    format!(
        r#"{{"source":"ci","event_kind":"tests_failed","ok":false,"cycle_id":"c-{number}",
            "labels":{{"branch":"{branch}"}},"cost_usd":{number}}}"#
    )
}

#[tokio::test]
async fn digest_has_the_events_that_pass_the_filter_in_one_message() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), HttpReceiver::start());
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n\
         [sinks.slack]\ntype = \"http\"\nurl = \"{}\"\nbody = \"slack\"\ncheck = \"off\"\n\
         filter = {{ labels = {{ branch = \"main\" }}, not = {{ cost_usd = {{ min = 5 }} }} }}\n\
         batch = {{ max_events = 30, linger = \"2s\" }}\n",
        receiver.url("/hook")
    );
    let observer = Observer::start(dir.path(), &config);
    for (number, branch) in [(1, "main"), (2, "dev"), (3, "main"), (5, "main"), (4, "main")] {
        assert_eq!(observer.post(event(number, branch)).await.status, 200);
    }
    observer.wait_until_caught_up().await;
    let requests = receiver.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    let body: Value = serde_json::from_str(request.text()).unwrap();
    let line = |number| format!("ci failed: tests_failed · cycle c-{number} · ${number}.00");
    let expected = ["3 events, 3 failed".to_owned(), line(1), line(3), line(4)].join("\n");
    assert_eq!(body["text"], expected);
}

fn check(dir: &Path, config: &str) -> (Option<i32>, String) {
    std::fs::write(dir.join("observer.toml"), config).unwrap();
    let output = Command::new(OBSERVER).arg("check").current_dir(dir).output().unwrap();
    (output.status.code(), text_of(&output))
}

#[test]
fn check_refuses_a_template_that_makes_no_json_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[sinks.hook]\ntype = \"http\"\nurl = \"http://127.0.0.1:1\"\n\
                  body.template = \"\"\"\n{\n  \"text\": {{ event.source }}\n  \"ok\": true\n}\"\"\"\n";
    let (code, output) = check(dir.path(), config);
    assert_eq!(code, Some(2), "{output}");
    let expected = "sinks.hook.body.template";
    assert!(output.contains(expected) && output.contains("at line 3"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_warns_of_signatures_that_libraries_cannot_verify() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), HttpReceiver::start());
    let config = format!(
        "[sinks.hook]\ntype = \"http\"\nurl = \"{}\"\ncompression = \"gzip\"\n\
         signing = {{ secrets = [\"whsec_bmV3\"] }}\n",
        receiver.url("/hook")
    );
    let (code, output) =
        tokio::task::spawn_blocking(move || check(dir.path(), &config)).await.unwrap();
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("warning  sinks.hook: `signing` covers the compressed"), "{output}");
}
