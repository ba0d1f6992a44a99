use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use insta::assert_snapshot;
use observer_core::{
    AnyOf, Batch, BatchSettings, BuildError, EventSink, Receipt, SinkConfig, SinkContext,
    SinkError, SinkPart, Start,
};
use serde::Deserialize;

use super::{BuiltSink, Registry};
use crate::config::{Config, ConfigError};

struct Discard;

#[async_trait]
impl EventSink for Discard {
    async fn deliver(&self, _: &Batch) -> Result<Receipt, SinkError> {
        Ok(Receipt::accepted())
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiscardConfig {
    url: String,
    #[serde(default)]
    rotate: Rotate,
    #[serde(default)]
    signals: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rotate {
    max_size: u64,
}

impl SinkConfig for DiscardConfig {
    const TYPE: &'static str = "nowhere";

    fn build(self, _: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        if self.rotate.max_size == 13 {
            return Err(BuildError::new("rotate.max_size", "must not be 13"));
        }
        if !self.url.starts_with("http") {
            return Err(BuildError::new("url", format!("has no scheme: {}", self.url)));
        }
        let batch = BatchSettings {
            max_events: NonZeroUsize::new(7),
            max_bytes: Some(8),
            ..BatchSettings::default()
        };
        let whole = || SinkPart::whole(Arc::new(Discard)).with_batch(batch);
        if self.signals.is_empty() {
            return Ok(vec![whole()]);
        }
        Ok(self
            .signals
            .into_iter()
            .map(|signal| SinkPart { name: Some(signal.into()), ..whole() })
            .collect())
    }
}

fn build(text: &str) -> Result<Vec<BuiltSink>, ConfigError> {
    let registry =
        Registry::new().with::<DiscardConfig>().with_builder(|_: Other, _context: &SinkContext| {
            Ok(vec![SinkPart::whole(Arc::new(Discard))])
        });
    registry.build_all(&Config::parse(text)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Other {}

impl SinkConfig for Other {
    const TYPE: &'static str = "other";

    fn build(self, _: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        unreachable!("the registry has a custom build function")
    }
}

fn problems(text: &str) -> String {
    let message = build(text).unwrap_err().to_string();
    assert!(!message.contains("hunter2"), "a secret shows in {message}");
    message
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(problems(text), format!("configuration: {expected}"));
}

#[test]
fn table_becomes_a_sink_with_its_settings() {
    let sinks = build(
        r#"
        [sinks.a]
        type = "nowhere"
        url = "http://x"
        start = "earliest"
        batch = { max_events = 3, linger = "2s" }
        filter = { ok = false, source = ["bot", "scenario"], event_kind = "tests_failed" }
        [sinks.b]
        type = "nowhere"
        url = "http://x"
        signals = ["logs", "traces"]
        [sinks.c]
        type = "other"
        "#,
    )
    .unwrap();
    let names: Vec<_> = sinks.iter().map(|sink| (sink.name.as_str(), sink.type_name)).collect();
    assert_eq!(
        names,
        [("a", "nowhere"), ("b/logs", "nowhere"), ("b/traces", "nowhere"), ("c", "other")]
    );
    let settings = &sinks[0].settings;
    assert_eq!(settings.start, Start::Earliest);
    assert_eq!(settings.filter.ok, Some(false));
    assert_eq!(
        settings.filter.source,
        Some(AnyOf::Many(vec!["bot".to_owned(), "scenario".to_owned()]))
    );
    assert_eq!(settings.filter.event_kind, Some(AnyOf::One("tests_failed".to_owned())));
    assert_eq!(settings.batch.max_events, NonZeroUsize::new(3), "the configured value");
    assert_eq!(settings.batch.max_bytes, Some(8), "the default of the sink");
    assert_eq!(settings.batch.linger.unwrap().as_secs(), 2);
}

#[test]
fn fingerprint_changes_with_the_keys_of_the_sink_alone() {
    let of = |keys: &str| {
        let built = build(&format!("[sinks.a]\ntype = \"nowhere\"\n{keys}"));
        built.unwrap().remove(0).fingerprint
    };
    let first = of("url = \"http://x\"");
    assert!(first.len() == 8 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    assert_eq!(first, of("timeout = \"3s\"\nurl = \"http://x\"\nstart = \"earliest\""));
    assert_ne!(first, of("url = \"http://y\""));
}

#[test]
fn unknown_type_lists_the_known_types() {
    check(
        "sinks.x.type = 'nowere'",
        "sinks.x.type: unknown type \"nowere\"; known types: nowhere, other; did you mean \
         `nowhere`?",
    );
    check(
        "sinks.x.type = 'nats'",
        r#"sinks.x.type: unknown type "nats"; known types: nowhere, other"#,
    );
    check("sinks.x.type = 3", "sinks.x.type: expected a string; known types: nowhere, other");
    check(
        "sinks.x.url = 'http://x'",
        "sinks.x: the key `type` is missing; known types: nowhere, other",
    );
    check(
        "sinks.x.type = '${NO_SUCH_VARIABLE:-hunter2}'",
        "sinks.x.type: invalid value (hidden, since it was substituted)",
    );
}

#[test]
fn unknown_key_suggests_keys_of_the_sink_and_common_keys() {
    let check = |line: &str, expected: &str| {
        let common = "[sinks.x]\ntype = 'nowhere'\nurl = 'http://x'";
        check(&format!("{common}\n{line}"), expected);
    };
    check("ulr = 1", "sinks.x.ulr: unknown key; did you mean `url`?");
    check("time_out = 1", "sinks.x.time_out: unknown key; did you mean `timeout`?");
    check(
        "colour = 1",
        "sinks.x.colour: unknown key; known keys: `url`, `rotate`, `signals`, `filter`, `batch`, \
         `retry`, `timeout`, `required`, `start`, \
         `max_dead_letters`",
    );
    check("rotate.max_sice = 1", "sinks.x.rotate.max_sice: unknown key; did you mean `max_size`?");
    check("rotate.retry = 1", "sinks.x.rotate.retry: unknown key; known keys: `max_size`");
    check(
        "batch.max_event = 1",
        "sinks.x.batch.max_event: unknown key; did you mean `max_events`?",
    );
    check(
        "filter.source = 1",
        "sinks.x.filter.source: expected a string or a list of at least one string",
    );
    check("filter.ok = 'no'", r#"sinks.x.filter.ok: expected true or false, found "no""#);
}

#[test]
fn build_errors_name_the_key() {
    check("sinks.x.type = 'nowhere'", "sinks.x: the key `url` is missing");
    check(
        "sinks.x = { type = 'nowhere', url = 'http://x', rotate.max_size = 13 }",
        "sinks.x.rotate.max_size: must not be 13",
    );
    check("sinks.x = { type = 'nowhere', url = 'x' }", "sinks.x.url: has no scheme: x");
    check(
        "sinks.x = { type = 'nowhere', url = '${NO_SUCH_VARIABLE:-hunter2}' }",
        "sinks.x.url: invalid value (hidden, since it was substituted)",
    );
    check(
        "[sinks.x]\ntype = 'nowhere'\nurl = 'http://x'\n\
         signals = '${NO_SUCH_VARIABLE:-hunter2}'",
        "sinks.x.signals: expected a list (the value is hidden, since it was substituted)",
    );
    let text = "
        [sinks.x]
        type = 'nowhere'
        url = 1
        retry = { initial = '0s' }
        timeout = '0s'
        [sinks.y]
        type = 'z'
    ";
    assert_snapshot!(problems(text), @r#"
    configuration: 4 problems
      sinks.x.timeout: must be longer than 0s
      sinks.x.retry.initial: must be longer than 0s
      sinks.x.url: expected a string, found 1
      sinks.y.type: unknown type "z"; known types: nowhere, other
    "#);
}

#[test]
fn default_sinks_are_built_from_the_built_in_types() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = prometheus::Registry::new();
    let registry = super::with_defaults(&metrics);
    assert_eq!(registry.types().collect::<Vec<_>>(), ["file", "http", "kb", "otlp", "prometheus"]);
    let sinks = registry.build_all(&Config::in_dir(folder.path())).unwrap();
    let required: Vec<_> =
        sinks.iter().map(|sink| (sink.name.as_str(), sink.settings.required)).collect();
    assert_eq!(required, [("archive", true), ("kb", false), ("prometheus", false)]);
    assert!(sinks.iter().all(|sink| sink.settings.start == Start::Earliest));
    let stores: Vec<_> = sinks.iter().filter(|sink| sink.store.is_some()).collect();
    assert!(matches!(stores[..], [kb] if kb.name == "kb"), "{stores:?}");
}

#[test]
fn second_sink_that_answers_queries_is_a_problem() {
    let registry = super::with_defaults(&prometheus::Registry::new());
    let sink = |name: &str| format!("[sinks.{name}]\ntype = \"kb\"\npath = \"{name}\"\n");
    let config = Config::parse(&[sink("a"), sink("b")].concat()).unwrap();
    assert_snapshot!(
        registry.build_all(&config).unwrap_err(),
        @"configuration: sinks.b.type: only one sink can answer queries, and `sinks.a` does; remove one"
    );
}
