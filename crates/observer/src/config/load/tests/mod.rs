//! Tests of loading: `access` has those of who may do what, `errors` those of messages.

mod access;
mod errors;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use insta::assert_snapshot;
use observer_core::{Field, Phases};
use observer_pipeline::Durability;
use observer_server::{Oversize, PartialStatus, Scope, Scopes, TokenDigest};
use observer_sink_otlp::{Compression, Protocol};

use super::from_text;
use crate::config::{Config, ConfigError, TelemetryConfig};

fn environment(name: &str) -> Option<OsString> {
    match name {
        "TOKEN" => Some("hunter2".into()),
        "LISTEN" => Some("[::]:9000".into()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Config, ConfigError> {
    from_text(text, Some("observer.toml".into()), &environment)
}

fn problems(text: &str) -> String {
    let message = read(text).unwrap_err().to_string();
    assert!(!message.contains("hunter2"), "a secret shows in {message}");
    message
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(problems(text), format!("observer.toml: {expected}"));
}

#[test]
fn empty_file_is_the_default_configuration() {
    let config = from_text("", None, &environment).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.validate().map_err(|error| error.to_string()), Ok(()));
    assert_eq!(config.journal.path, Path::new("observer-data/journal"));
    assert_eq!(config.journal.segment_size, 64 << 20);
    assert_eq!(config.ingest.require["bot"], [Field::CycleId, Field::SigHash]);
    let archive = toml::to_string(&config.sinks["archive"].table).unwrap();
    assert_snapshot!(archive, @r#"
    path = "observer-data/events/{date}.jsonl"
    required = true
    start = "earliest"
    type = "file"
    "#);
}

#[test]
fn keys_are_read() {
    let config = read(
        r#"
        data_dir = "/var/lib/observer"
        [server]
        listen = "${LISTEN}"
        max_body = "64KiB"
        body_timeout = "1s"
        min_body_rate = "2KiB"
        write_timeout = "4s"
        header_timeout = "2s"
        ingest_timeout = "3s"
        shutdown_timeout = "0s"
        max_connections = 7
        max_requests_in_flight = 8
        max_queries_in_flight = 9
        max_streams = 10
        max_bytes_in_flight = "20MiB"
        hosts = "observer.example"
        cors_origins = ["https://grafana.example", "http://localhost:3000"]
        [access]
        anonymous = ["ingest"]
        [access.tokens.ops]
        sha256 = ["b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799"]
        scopes = ["read", "admin"]
        rate = { per_second = 5 }
        [ingest]
        dedup = { window = "1h", max_keys = 10 }
        require = { scenario = ["usage"] }
        phases = ["queued"]
        strict = true
        oversize = "reject"
        partial_status = 200
        [journal]
        durability = "write"
        max_size = "80MiB"
        retain = "0s"
        [sinks.hooks]
        type = "http"
        token = "${TOKEN}"
        "#,
    )
    .unwrap();
    assert_eq!(config.server.listen, [SocketAddr::from(([0; 16], 9000))]);
    assert_eq!(config.server.max_body, 64 << 10);
    assert_eq!(config.server.ingest_timeout, Duration::from_secs(3));
    assert_eq!((config.ingest.dedup.window.as_secs(), config.ingest.dedup.max_keys), (3600, 10));
    assert_eq!(
        (config.server.max_connections.get(), config.server.max_requests_in_flight.get()),
        (7, 8)
    );
    assert_eq!(config.server.max_queries_in_flight.get(), 9);
    assert_eq!(config.server.max_streams.get(), 10);
    assert_eq!((config.server.min_body_rate, config.server.write_timeout.as_secs()), (2048, 4));
    assert_eq!((config.server.max_bytes_in_flight, config.server.hosts.len()), (20 << 20, 1));
    assert_eq!(config.server.cors_origins.len(), 2);
    let access = config.access.resolve();
    let rate = access.tokens[0].rate.unwrap();
    assert_eq!((&*access.tokens[0].name, rate.per_second.get(), rate.burst.get()), ("ops", 5, 50));
    assert_eq!(access.tokens[0].digests, [TokenDigest::of("swordfish")]);
    assert_eq!(access.tokens[0].scopes, Scopes::from_iter([Scope::Read, Scope::Admin]));
    assert_eq!(access.anonymous, Scopes::from_iter([Scope::Ingest]));
    assert_eq!(config.ingest.require.keys().collect::<Vec<_>>(), ["bot", "scenario"]);
    assert_eq!(config.ingest.phases, Phases::new(["queued"]));
    assert_eq!((config.ingest.strict, config.ingest.oversize), (true, Oversize::Reject));
    assert_eq!(config.ingest.partial_status, PartialStatus::Ok);
    assert_eq!(config.journal.path, Path::new("/var/lib/observer/journal"));
    assert_eq!(config.journal.durability, Durability::Write);
    assert_eq!(config.journal.segment_size, 10 << 20, "one eighth of a small journal");
    assert_eq!(config.state_dir("hooks"), Path::new("/var/lib/observer/sinks/hooks"));
    assert_eq!(config.sinks.len(), 1, "configured sinks replace the default ones");
    assert_eq!(config.sinks["hooks"].table["token"].as_str(), Some("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn telemetry_defaults_to_off_and_invalid_values_are_rejected() {
    assert_eq!(read("").unwrap().telemetry, TelemetryConfig::default());
    let written = "
        [telemetry]
        endpoint = 'https://collector.example.com:4317'
        protocol = 'grpc'
        signals = ['metrics']
        headers = { x-team = '${TOKEN}' }
        compression = 'gzip'
        tls = { ca = 'ca.pem' }
        interval = '15s'
        sample = 0.1
        resource = { 'deployment.environment.name' = 'prod' }
    ";
    let telemetry = read(written).unwrap().telemetry;
    assert_eq!(
        (telemetry.protocol, telemetry.compression),
        (Some(Protocol::Grpc), Some(Compression::Gzip))
    );
    assert_eq!((telemetry.interval, telemetry.sample), (Some(Duration::from_secs(15)), Some(0.1)));
    assert!(!format!("{telemetry:?}").contains("hunter2"));
    check("telemetry.endpont = 'x'", "telemetry.endpont: unknown key; did you mean `endpoint`?");
    check(
        "telemetry.protocol = 'http'",
        r#"telemetry.protocol: unknown name "http"; did you mean `http/protobuf`?"#,
    );
    check(
        "telemetry.signals = ['spans']",
        r#"telemetry.signals[0]: unknown name "spans"; known names: `traces`, `metrics`, `logs`"#,
    );
    check(
        "telemetry.endpoint = 'https://me:${TOKEN}@h'",
        "telemetry.endpoint: must not hold a user or a password; use `headers` for credentials",
    );
    let text = r#"
        [telemetry]
        endpoint = "127.0.0.1:4318"
        signals = []
        interval = "0s"
        sample = 2
        headers = { "a b" = "", c = "${TOKEN}\n" }
    "#;
    assert_snapshot!(problems(text), @r#"
    observer.toml: 6 problems
      telemetry.endpoint: must be a URL, such as "http://127.0.0.1:4318"
      telemetry.signals: must name at least one signal: "traces", "metrics" or "logs"
      telemetry.interval: must be longer than 0s
      telemetry.sample: must be between 0.0 (no trace) and 1.0 (every trace)
      telemetry.headers."a b": is not a valid header name
      telemetry.headers.c: holds a character that is invalid in a header, such as a line feed
    "#);
    check(
        "telemetry = { endpoint = 'http://h', tls = { ca = 'ca.pem' } }",
        "telemetry.tls: is for https, and `endpoint` begins with http://",
    );
    check(
        "telemetry.tls = { cert = 'cert.pem' }",
        "telemetry.tls.cert: needs its private key in `tls.key`",
    );
}
