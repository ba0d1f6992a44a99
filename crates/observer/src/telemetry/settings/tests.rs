use std::ffi::OsString;

use insta::assert_snapshot;
use reqwest::header::AUTHORIZATION;

use super::*;
use crate::Config;

fn resolve(telemetry: &str, variables: &[(&str, &str)]) -> Settings {
    let config = Config::parse(&format!("[telemetry]\n{telemetry}")).unwrap();
    let environment = |name: &str| -> Option<OsString> {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    };
    Settings::resolve(&config.telemetry, &environment)
}

fn urls(settings: &Settings) -> Vec<String> {
    settings.targets.values().map(|target| target.url.to_string()).collect()
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/otlp/");

#[test]
fn telemetry_is_off_by_default() {
    assert_eq!(resolve("", &[]).targets.len(), 0);
    assert_eq!(
        resolve("protocol = 'grpc'\nsample = 0.5", &[("OTEL_SERVICE_NAME", "x")]).targets.len(),
        0
    );
    assert_eq!(
        resolve("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).targets.len(),
        0,
        "an empty variable counts as unset"
    );
}

#[test]
fn signal_paths_are_appended_over_http_only() {
    let expected = ["traces", "metrics", "logs"]
        .map(|signal| format!("http://collector:4318/otlp/v1/{signal}"));
    assert_eq!(urls(&resolve("", &[ENDPOINT])), expected);
    assert_eq!(urls(&resolve("endpoint = 'http://collector:4318/otlp'", &[])), expected);
    assert_eq!(
        urls(&resolve("endpoint = 'http://h:4317'\nprotocol = 'grpc'\nsignals = ['logs']", &[])),
        ["http://h:4317/"]
    );
    let traces_endpoint = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h/spans");
    assert_eq!(
        urls(&resolve("", &[traces_endpoint])),
        ["http://h/spans"],
        "the other signals have no endpoint"
    );
    assert_eq!(
        urls(&resolve("signals = ['traces']", &[traces_endpoint, ENDPOINT])),
        ["http://h/spans"]
    );
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let bare = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "collector:4317");
    assert_eq!(urls(&resolve("", &[grpc, bare])), ["https://collector:4317/"]);
    assert_eq!(
        urls(&resolve("", &[grpc, bare, ("OTEL_EXPORTER_OTLP_INSECURE", "true")])),
        ["http://collector:4317/"]
    );
}

#[test]
fn grpc_port_in_the_file_implies_grpc() {
    let protocol = |telemetry: &str, variables: &[(&str, &str)]| {
        resolve(telemetry, variables).targets[&Signal::Traces].protocol
    };
    assert_eq!(protocol("endpoint = 'http://h:4317'", &[]), Protocol::Grpc);
    assert_eq!(
        protocol("endpoint = 'http://h:4317'\nprotocol = 'http/protobuf'", &[]),
        Protocol::Http
    );
    let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    assert_eq!(protocol("endpoint = 'http://h:4317'", &[http]), Protocol::Http);
    assert_eq!(protocol("endpoint = 'http://h'", &[]), Protocol::Http);
    let variable = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4317");
    assert_eq!(protocol("", &[variable]), Protocol::Http, "the default of the specification");
}

#[test]
fn key_overrides_only_its_own_variable() {
    let variables = [
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t0p,x-team=a"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "3000"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_SERVICE_NAME", "mine"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=other,team=a%2Cb,deployment.environment.name=test",
        ),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
    ];
    let settings = resolve("", &variables);
    let target = &settings.targets[&Signal::Traces];
    assert_eq!((target.protocol, target.compression), (Protocol::Grpc, Compression::Gzip));
    assert_eq!(target.headers[AUTHORIZATION], "Bearer t0p");
    assert_eq!(target.headers["x-team"], "a");
    assert_eq!(
        (target.timeout, settings.interval),
        (Duration::from_secs(3), Duration::from_secs(5))
    );
    assert_eq!(format!("{:?}", settings.sampler), "AlwaysOff");
    assert_eq!(
        (settings.resource["service.name"].as_str(), settings.resource["team"].as_str()),
        ("mine", "a,b")
    );
    assert_eq!((settings.max_spans, settings.max_logs), (10, QUEUE_CAPACITY));
    assert!(!format!("{settings:?}").contains("t0p"));

    let file = "
        endpoint = 'https://other'
        protocol = 'http/protobuf'
        headers = { x-team = 'b' }
        compression = 'none'
        interval = '7s'
        sample = 0.25
        resource = { 'deployment.environment.name' = 'prod' }
    ";
    let settings = resolve(file, &variables);
    let target = &settings.targets[&Signal::Traces];
    assert_eq!((target.url.as_str(), target.protocol), ("https://other/v1/traces", Protocol::Http));
    assert_eq!(target.headers["x-team"], "b");
    assert_eq!(target.headers.len(), 1, "the key `headers` replaces the whole variable");
    assert_eq!((target.compression, target.timeout), (Compression::None, Duration::from_secs(3)));
    assert_eq!(settings.interval, Duration::from_secs(7));
    assert_eq!(format!("{:?}", settings.sampler), "ParentBased(TraceIdRatioBased(0.25))");
    let resource = ["service.name", "deployment.environment.name", "team"]
        .map(|key| settings.resource[key].as_str());
    assert_eq!(resource, ["mine", "prod", "a,b"]);
    assert_eq!(settings.warnings, Vec::<String>::new());
}

#[test]
fn variable_of_a_signal_overrides_the_general_one() {
    let settings = resolve(
        "",
        &[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "b=2"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ],
    );
    assert_eq!(
        settings.to_string(),
        "metrics to http://collector:4318 (grpc); logs to http://collector:4318 (http/protobuf)"
    );
    assert_eq!(settings.targets[&Signal::Metrics].timeout, Duration::from_millis(1));
    assert!(settings.targets[&Signal::Metrics].headers.contains_key("a"));
    let logs = &settings.targets[&Signal::Logs].headers;
    assert_eq!(logs["b"], "2");
    assert_eq!(logs.len(), 1);
}

#[test]
fn sdk_disabled_turns_telemetry_off() {
    assert_eq!(resolve("endpoint = 'http://h'", &[("OTEL_SDK_DISABLED", "True")]).targets.len(), 0);
    assert_eq!(resolve("endpoint = 'http://h'", &[("OTEL_SDK_DISABLED", "no")]).targets.len(), 3);
}

#[test]
fn tls_files_come_from_variables_without_a_key() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://h"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "cert.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key.pem"),
    ];
    let tls = |telemetry: &str| resolve(telemetry, &variables).targets[&Signal::Logs].tls.clone();
    let Tls { ca, cert, key, .. } = tls("");
    assert_eq!([ca, cert, key], ["ca.pem", "cert.pem", "key.pem"].map(|path| Some(path.into())));
    let Tls { ca, cert, .. } = tls("tls = { ca = 'other.pem' }");
    assert_eq!([ca, cert], [Some("other.pem".into()), None]);
}

#[test]
fn invalid_variable_is_ignored_with_a_warning_that_hides_its_value() {
    let settings = resolve(
        "",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://hidden@h"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://h"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hidden"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ("OTEL_RESOURCE_ATTRIBUTES", "=x"),
        ],
    );
    assert_eq!(settings.targets.keys().collect::<Vec<_>>(), [&Signal::Logs]);
    assert_eq!(settings.targets[&Signal::Logs].timeout, TIMEOUT);
    let warnings = settings.warnings.join("\n");
    assert!(!warnings.contains("hidden"), "{warnings}");
    assert_snapshot!(warnings, @r#"
    the environment variable OTEL_EXPORTER_OTLP_PROTOCOL is ignored: it must be "http/protobuf" or "grpc"
    the environment variable OTEL_EXPORTER_OTLP_COMPRESSION is ignored: it must be "gzip" or "none"
    the environment variable OTEL_EXPORTER_OTLP_ENDPOINT is ignored: it must not hold a user or a password; use `headers` for credentials
    the environment variable OTEL_EXPORTER_OTLP_TIMEOUT is ignored: it must be a whole number of at least 1
    the environment variable OTEL_EXPORTER_OTLP_HEADERS is ignored: it must be a comma-separated list of NAME=VALUE with percent-encoded special characters
    the environment variable OTEL_METRIC_EXPORT_INTERVAL is ignored: it must be a whole number of at least 1
    the environment variable OTEL_TRACES_SAMPLER_ARG is ignored: it must be between 0.0 and 1.0
    the environment variable OTEL_TRACES_SAMPLER is ignored: it must be "always_on", "always_off" or "traceidratio", optionally with the prefix "parentbased_"
    the environment variable OTEL_RESOURCE_ATTRIBUTES is ignored: it must be a comma-separated list of KEY=VALUE
    "#);
    let without_endpoint = resolve(
        "",
        &[("OTEL_TRACES_SAMPLER", "jaeger_remote"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")],
    );
    assert_eq!(
        without_endpoint.warnings,
        Vec::<String>::new(),
        "without an endpoint other variables are not validated"
    );
    assert_eq!(resolve("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")]).warnings.len(), 1);
}
