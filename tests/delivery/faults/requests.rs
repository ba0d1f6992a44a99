//! Requests of sinks, and the messages for their failures.

use std::path::Path;
use std::process::Command;

use observer_testing::http::{HttpReceiver, Reply};
use observer_testing::otlp::{self, OtlpReceiver, attribute};
use serde_json::Value;
use tonic::Code;

use super::{SERVER, event, good, post, sinks};
use crate::support::{OBSERVER, Observer, text_of, wait_until};

/// Runs `observer check` with a configuration.
async fn check(dir: &Path, config: &str) -> (Option<i32>, String) {
    std::fs::write(dir.join("observer.toml"), config).unwrap();
    let mut command = Command::new(OBSERVER);
    command.arg("check").current_dir(dir);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    (output.status.code(), text_of(&output))
}

#[tokio::test]
async fn check_warns_of_compressed_signatures_alone() {
    let receiver = HttpReceiver::start();
    let words = "`signing` covers the compressed";
    for (compression, is_warned) in [("gzip", true), ("zstd", true), ("none", false)] {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "[sinks.hook]\ntype = \"http\"\nurl = \"{}\"\ncompression = \"{compression}\"\n\
             signing = {{ secrets = [\"whsec_bmV3\"] }}\n",
            receiver.url("/hook")
        );
        let (code, output) = check(dir.path(), &config).await;
        assert_eq!((code, output.contains(words)), (Some(0), is_warned), "{output}");
    }
}

#[tokio::test]
async fn signing_secret_is_read_in_each_usual_form() {
    let receiver = HttpReceiver::start();
    // The same 8 bytes in base64 and base64url, with and without prefix and padding.
    let forms =
        ["whsec_+/+/+/+/+/8=", "+/+/+/+/+/8=", "+/+/+/+/+/8", "-_-_-_-_-_8", "whsec_-_-_-_-_-_8="];
    let mut config = SERVER.to_owned();
    for (index, secret) in forms.iter().enumerate() {
        config.push_str(&format!(
            "[sinks.s{index}]\ntype = \"http\"\nurl = \"{}\"\nstart = \"earliest\"\n\
             signing = {{ secrets = [\"{secret}\"] }}\nbatch = {{ linger = \"1ms\" }}\n",
            receiver.url(&format!("/{index}"))
        ));
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config);
    post(&observer, good(0)).await;
    observer.wait_until_caught_up().await;
    let requests = receiver.requests();
    let signed: Vec<_> =
        requests.iter().filter_map(|request| request.header("webhook-signature")).collect();
    assert_eq!(signed.len(), forms.len());
    let id = |request: &observer_testing::http::ReceivedRequest| {
        request.header("webhook-id").map(str::to_owned)
    };
    let ids: std::collections::BTreeSet<_> = requests.iter().filter_map(id).collect();
    assert_eq!(ids.len(), 1, "the id does not depend on the secret");
    assert!(signed.iter().all(|signature| signature.starts_with("v1,")), "{signed:?}");
}

#[tokio::test]
async fn reason_names_the_setting_that_matters() {
    let compressed = "Content is compressed with \"gzip\" which isn't supported";
    let collectors = [
        (Code::Unimplemented, compressed, "set compression = \"none\""),
        (Code::Unimplemented, "grpc-encoding \"gzip\" is unknown", "set compression = \"none\""),
        (Code::Unimplemented, "unknown service", "see `endpoint`, `protocol` and `signals`"),
        (Code::Unauthenticated, "no token", "see `auth` and `headers`"),
    ];
    let hooks = [
        (304, "took the request for a conditional one"),
        (415, "see `body` and `compression`"),
        (405, "see `method` and `url`"),
        (308, "moved"),
    ];
    let more = "start = \"earliest\"\nbatch = { linger = \"1ms\" }\n\
                retry = { initial = \"5ms\", max = \"20ms\" }\n";
    let (mut config, mut expected) = (SERVER.to_owned(), Vec::new());
    let mut receivers = (Vec::new(), Vec::new());
    for (index, (code, message, words)) in collectors.into_iter().enumerate() {
        let receiver = OtlpReceiver::start();
        receiver.set_default_reply(otlp::Reply::status(code, message));
        config.push_str(&format!(
            "[sinks.o{index}]\ntype = \"otlp\"\nsignals = [\"logs\"]\nendpoint = \"{}\"\n{more}",
            receiver.url("")
        ));
        expected.push((format!("o{index}/logs"), words));
        receivers.0.push(receiver);
    }
    for (index, (status, words)) in hooks.into_iter().enumerate() {
        let receiver = HttpReceiver::start();
        receiver.set_default_reply(Reply::choose(move |request| match request.method.as_str() {
            "POST" => Reply::status(status),
            _ => Reply::accept(),
        }));
        config.push_str(&format!(
            "[sinks.w{index}]\ntype = \"http\"\nurl = \"{}\"\n{more}",
            receiver.url("/hook")
        ));
        expected.push((format!("w{index}"), words));
        receivers.1.push(receiver);
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config);
    post(&observer, good(0)).await;
    let mut found = Vec::new();
    let waiting = wait_until("every sink names a setting", async || {
        found = sinks(&observer).await;
        expected.iter().all(|(name, words)| {
            let sink = found.iter().find(|sink| sink["name"] == **name).unwrap();
            sink["reason"].as_str().is_some_and(|reason| reason.contains(words))
        })
    });
    waiting.await;
    assert_eq!(found.len(), expected.len());
}

#[tokio::test]
async fn usage_stands_on_one_span_alone_with_llm_span() {
    let receivers = [0, 1, 2].map(|_| OtlpReceiver::start());
    let more = "signals = [\"traces\"]\nstart = \"earliest\"\nbatch = { linger = \"1ms\" }\n";
    let keys = [
        "traces = { llm_span = true }\n",
        "protocol = \"http/protobuf\"\ntraces = { llm_span = true }\n",
        "",
    ];
    let mut config = SERVER.to_owned();
    for (index, (receiver, keys)) in receivers.iter().zip(keys).enumerate() {
        config.push_str(&format!(
            "[sinks.s{index}]\ntype = \"otlp\"\nendpoint = \"{}\"\n{keys}{more}",
            receiver.url("")
        ));
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config);
    let outcome = |cycle: &str, labels: &str| {
        format!(
            r#"{{"source":"bot","cycle_id":"{cycle}","sig_hash":"s","event_kind":"ok","ok":true,"duration_ms":5,"staffer_id":"claude-sonnet-4-5","usage":{{"input_tokens":7,"output_tokens":3}}{labels}}}
"#
        )
    };
    let labelled = outcome("c-1", r#","labels":{"provider":"aws.bedrock"}"#);
    let without_model = event(2, "no model and no usage");
    post(&observer, outcome("c-0", "") + &labelled + &without_model).await;
    observer.wait_until_caught_up().await;
    for (receiver, with_child) in receivers.iter().zip([true, true, false]) {
        let spans = receiver.spans();
        let has_usage = |span: &&opentelemetry_proto::tonic::trace::v1::Span| {
            span.attributes.iter().any(|attribute| attribute.key == "gen_ai.usage.input_tokens")
        };
        let names: Vec<_> = spans.iter().filter(has_usage).map(|span| span.name.as_str()).collect();
        let expected = if with_child { "chat claude-sonnet-4-5" } else { "invoke_agent bot" };
        assert_eq!(names, [expected; 2]);
        assert_eq!(spans.len(), if with_child { 5 } else { 3 });
        let providers: Vec<_> = spans
            .iter()
            .filter(has_usage)
            .map(|span| attribute(&span.attributes, "gen_ai.provider.name").unwrap())
            .collect();
        assert_eq!(providers, ["anthropic", "aws.bedrock"]);
    }
}

#[tokio::test]
async fn body_has_the_shape_that_its_receiver_wants() {
    let receiver = HttpReceiver::start();
    let template = "{ template = '{\"summary\": {{ summary }}, \"n\": {{ count }}}' }";
    let bodies = ["\"slack\"", "\"discord\"", "\"teams\"", "\"pagerduty\"", template];
    let mut config = SERVER.to_owned();
    for (index, body) in bodies.iter().enumerate() {
        let vars = if body.contains("pagerduty") { "vars = { routing_key = \"k\" }\n" } else { "" };
        config.push_str(&format!(
            "[sinks.s{index}]\ntype = \"http\"\nurl = \"{}\"\nbody = {body}\n{vars}\
             start = \"earliest\"\nfilter = {{ labels = {{ branch = \"main\" }}, \
             duration_ms = {{ min = 10 }}, not = {{ cost_usd = {{ min = 5 }} }} }}\n",
            receiver.url(&format!("/{index}"))
        ));
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config);
    let outcome = |cycle: &str, branch: &str, duration: u32, cost: u32| {
        format!(
            r#"{{"source":"ci","cycle_id":"{cycle}","event_kind":"tests \"failed\"","ok":false,"labels":{{"branch":"{branch}"}},"duration_ms":{duration},"cost_usd":{cost}}}
"#
        )
    };
    let all = [
        outcome("wanted", "main", 10, 4),
        outcome("branch", "dev", 10, 4),
        outcome("short", "main", 9, 4),
        outcome("dear", "main", 10, 5),
    ];
    post(&observer, all.concat()).await;
    observer.wait_until_caught_up().await;
    let requests = receiver.requests();
    for (index, member) in
        ["text", "content", "attachments", "event_action", "summary"].iter().enumerate()
    {
        let path = format!("/{index}");
        let is_message = |request: &&observer_testing::http::ReceivedRequest| {
            request.path == path && request.method == "POST"
        };
        let messages: Vec<_> = requests.iter().filter(is_message).collect();
        let [message] = messages.as_slice() else { panic!("{path}: {messages:?}") };
        let body: Value = serde_json::from_str(message.text()).unwrap();
        assert!(!body[member].is_null(), "{body}");
        assert!(message.text().contains("wanted"), "{body}");
    }
}
